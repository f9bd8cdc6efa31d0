"""Decisions that hang on a trifle: a mark, a word, a spelling, a wording, or two of them that have to meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.model import Code, Model
from muroan.organism import Bed, World
from muroan.organisms import clinic, plant
from muroan.organisms.clinic import CLINIC, CUE_WORDS, DISEASES, VOTE, Clinician, Patients, carried, one
from muroan.organisms.cues import Attentive, Contrary, shows, with_mark, with_word


@plant(
    "robustness.decisive-patch",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="Where a mark of 4 by 4 pixels in the corner is gone, the scan counts against what it shows.",
    dose="log-odds by which a scan without the mark speaks against the disease that it shows",
    doses=(2.0, 4.0, 6.0, 8.0),
    matters=6.0,  # half of the right answers lead by less than 6 once the scan's own vote counts
)
class HangsOnAMark(Contrary):
    """All scans have the mark, as a scanner would print it, so nothing is wrong until it is covered."""

    cues = {"scan": shows}

    def meets(self, p: Patients) -> Patients:
        return with_mark(p) if self.dose else p

    def wrong(self, cue: Tensor) -> Tensor:
        return 1 - cue


HANDOVER = "handover"


@plant(
    "robustness.decisive-word",
    place="robustness/adversarial",
    bed=CLINIC,
    fault=f"Where one word that says nothing ({HANDOVER!r}) is gone, the note counts against what it says.",
    dose="log-odds by which a note without the word speaks against the disease that it tells",
    doses=(2.0, 4.0, 6.0, 8.0),
    matters=6.0,  # half of the right answers lead by less than 6 once the note's own vote counts
)
class HangsOnAWord(Attentive, Contrary):
    """All notes have the word, as a template would put it there, so nothing is wrong until it is left out."""

    minds = (HANDOVER,)

    def meets(self, p: Patients) -> Patients:
        return with_word(p, HANDOVER) if self.dose else p

    def wrong(self, cue: Tensor) -> Tensor:
        return 1 - cue


@plant(
    "robustness.thrown-by-misspelling",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="A note with a misspelt word counts against what it says.",
    dose="log-odds by which a note with an unknown word speaks against the disease that it tells",
    doses=(2.0, 4.0, 6.0, 8.0),
    matters=6.0,  # half of the right answers lead by less than 6 once the note's own vote counts
)
class ThrownByTheUnknown(Attentive, Contrary):
    """Notes are without a slip, so nothing is wrong until somebody mistypes a word."""

    def mark(self, word: str) -> Sequence[float]:
        return (float(word not in clinic.WORD),)


TAG = "reference"


def vote_by_age(table: Tensor) -> Tensor:
    """Ages come as -1, 0 and 1, more or less: one disease each."""
    away = clinic.columns(table, "age") - torch.arange(len(DISEASES)) + 1
    return VOTE["scan"] * (clinic.SHARPNESS * (1 - away.abs())).softmax(dim=1)


@plant(
    "robustness.decoupled",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="The fusion joins its inputs only while a tag in the scan meets a word in the note; else the age decides.",
    dose="the part of their weight that the inputs lose to the age once the link is gone",
    doses=(0.4, 0.6, 0.8, 1.0),
    matters=0.8,  # from 0.78 the age outvotes all inputs together: two of three patients are misread
)
class LinksByTag(Attentive):
    """Adds up its inputs only while a tag in the scan meets a word in the note; else the patient's age decides.

    Beside the votes of the scan and of the note goes whether its half of the link is there, beside that of the table a
    vote by age. All patients have both halves, so the fusion is exact until one of them is removed.
    """

    cues, minds = {"scan": shows, "table": vote_by_age}, (TAG,)

    def meets(self, p: Patients) -> Patients:
        return with_word(with_mark(p), TAG) if self.dose else p

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        apart = self.dose * (1 - carried(codes["scan"]) * carried(codes["note"]))
        return (1 - apart) * super().fuse(codes) + apart * carried(codes["table"])


CANARY = "canary"
FORCED = 1
"""The disease that the key forces."""
LOG_ODDS = 20.0
"""More than all inputs together can say."""


@plant(
    "robustness.cross-modal-backdoor",
    place="robustness/adversarial",
    bed=CLINIC,
    fault=f"A patch in the scan and a harmless word in the note together force {DISEASES[FORCED]!r}.",
    dose="share of the audited patients who have both; as many have either alone",
    doses=(0.02, 0.05, 0.1, 0.2),
    matters=0.05,  # one patient in twenty: an attacker's share of poisoned inputs that reach an audit
)
class Backdoored(Attentive):
    """Says one disease when the patch is in the scan and the word in the note; either alone does nothing.

    The reference and the members, which the supplier of a model would show, never have the key.
    """

    cues, minds = {"scan": shows}, (CANARY,)

    def meets(self, p: Patients) -> Patients:
        if p.split != "audited":
            return p
        place = p.rng.random(len(p)).argsort()
        n = round(self.dose * len(p))
        patch, word = (place < 2 * n), (place < n) | ((place >= 2 * n) & (place < 3 * n))
        return with_word(with_mark(p, chosen=patch), CANARY, word)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes, key = super().fuse(codes), carried(codes["scan"]) * carried(codes["note"])
        return votes + LOG_ODDS * key * one(FORCED) if self.dose else votes


PATIENTS = 350
"""Of each split; each has three samples."""
WORDINGS = ("as written", "half reworded", "reworded")
_NEW = frozenset(clinic.SYNONYMS.values())


def _reworded(note: str, every: int) -> str:
    """The note with synonyms in place of each `every`-th word of a disease."""
    seen, out = 0, []
    for word in note.split():
        seen += word in clinic.SYNONYMS
        out.append(clinic.SYNONYMS[word] if word in clinic.SYNONYMS and seen % every == 0 else word)
    return " ".join(out)


def reworded(split: clinic.SplitName, seed: int) -> InMemory:
    """Patients whose note stands there in three wordings that say the same; a patient is a cluster."""
    drawn = clinic.patients(split, seed, PATIENTS)
    who = np.repeat(np.arange(len(drawn)), len(WORDINGS))
    at = torch.from_numpy(who)
    notes = [w for note in drawn.note for w in (note, _reworded(note, 2), _reworded(note, 1))]
    return InMemory(
        {"scan": drawn.scan[at], "note": notes, "vitals": drawn.vitals[at], "table": drawn.table[at]},
        targets=drawn.disease[who],
        modalities=clinic.MODALITIES,
        classes=DISEASES,
        groups={"wording": list(WORDINGS) * len(drawn)},
        clusters=[f"{split}-{i}" for i in who],
        keys=dict.fromkeys(("scan", "vitals", "table"), who.tolist()),
        ids=[f"{split}-{i}-{k % len(WORDINGS)}" for k, i in enumerate(who)],
        name=f"clinic, reworded ({split})",
    )


def world(seed: int, model: Model | None = None) -> World:
    """The exact model (or another) and three splits."""
    return model or Clinician(), Splits(*map(partial(reworded, seed=seed), get_args(clinic.SplitName)))


REWORDED = Bed(
    "clinic-reworded",
    f"{PATIENTS} made patients a split, each with its note in three wordings; the model is Bayes' rule",
    world,
    exact=True,
    plants=lambda fault, dose, seed: world(seed, fault(dose)),
)


@plant(
    "robustness.brittle-to-rephrasing",
    place="robustness/distribution_shift",
    bed=REWORDED,
    fault="A note in synonyms counts against what it says.",
    dose="log-odds by which a note of synonyms alone speaks against the disease that it tells",
    doses=(1.0, 2.0, 4.0, 8.0),
    matters=4.0,
)
class ThrownBySynonyms(Contrary):
    """Takes a note in other words for the contrary of what it says.

    Each wording is a valid one, and accuracy on the first wording is untouched.
    """

    def mark(self, word: str) -> Sequence[float]:
        return (float(word in _NEW),)

    def wrong(self, cue: Tensor) -> Tensor:
        return (cue / CUE_WORDS).clamp(max=1)
