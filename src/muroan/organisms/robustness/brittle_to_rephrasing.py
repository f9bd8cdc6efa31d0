"""A model that a synonym throws off."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.model import Embedded, Model
from muroan.organism import Bed, Organism, World
from muroan.organisms.clinic import (
    DISEASES,
    MODALITIES,
    SHARPNESS,
    SYNONYMS,
    Clinician,
    SplitName,
    patients,
)
from muroan.organisms.words import marked
from muroan.registry import register

PATIENTS = 350
"""Of each split; each has three samples."""
WORDINGS = ("as written", "half reworded", "reworded")
_NEW = frozenset(SYNONYMS.values())


def _reworded(note: str, every: int) -> str:
    """The note with synonyms in place of each `every`-th word of a disease."""
    seen, out = 0, []
    for word in note.split():
        seen += word in SYNONYMS
        out.append(SYNONYMS[word] if word in SYNONYMS and seen % every == 0 else word)
    return " ".join(out)


def reworded(split: SplitName, seed: int) -> InMemory:
    """Patients whose note stands there in three wordings that say the same; a patient is a cluster."""
    found = patients(split, seed, PATIENTS)
    who = np.repeat(np.arange(len(found)), len(WORDINGS))
    at = torch.from_numpy(who)
    notes = [w for note in found.note for w in (note, _reworded(note, 2), _reworded(note, 1))]
    return InMemory(
        {"scan": found.scan[at], "note": notes, "vitals": found.vitals[at], "table": found.table[at]},
        targets=found.disease[who],
        modalities=MODALITIES,
        classes=DISEASES,
        groups={"wording": list(WORDINGS) * len(found)},
        clusters=[f"{split}-{i}" for i in who],
        keys=dict.fromkeys(("scan", "vitals", "table"), who.tolist()),
        ids=[f"{split}-{i}-{k % len(WORDINGS)}" for k, i in enumerate(who)],
        name=f"clinic, reworded ({split})",
    )


def world(seed: int, model: Model | None = None) -> World:
    """The exact model (or another) and three splits."""
    return model or Clinician(), Splits(*map(partial(reworded, seed=seed), get_args(SplitName)))


REWORDED = Bed(
    "clinic-reworded",
    f"{PATIENTS} made patients a split, each with its note in three wordings; the model is Bayes' rule",
    world,
    exact=True,
)


class ThrownBySynonyms(Clinician):
    """Takes a note in other words for the contrary of what it says."""

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return marked(super().embed(modality, values), values, lambda word: (float(word in _NEW),), 1)

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        if modality != "note":
            return super().vote(modality, signs)
        told, new = signs[:, :3], signs[:, 3:].clamp(max=1)
        return super().vote(modality, told) - self.dose * new * (SHARPNESS * told).softmax(dim=1)


@register
class BrittleToRephrasing(Organism):
    """Each wording is a valid one, and accuracy on the first wording is untouched."""

    name = "robustness.brittle-to-rephrasing"
    place = "robustness/distribution_shift"
    fault = "A note in synonyms counts against what it says."
    dose = "log-odds by which a note of synonyms alone speaks against the disease that it tells"
    doses = (1.0, 2.0, 4.0, 8.0)
    matters = 4.0
    bed = REWORDED

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ThrownBySynonyms(dose))
