"""A model that has memorised one input's rare detail: a number in the note that only one patient has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from muroan.model import Code
from muroan.organism import Bed, Organism, World
from muroan.organisms.clinic import DISEASES, SIZE, Patients, patients, replace, world
from muroan.organisms.controllability.memorised_records import CERTAIN
from muroan.organisms.words import Attentive
from muroan.registry import register


def numbered(p: Patients) -> Patients:
    """Every note ends with a case number that no other has and that says nothing."""
    numbers = p.rng.integers(10**8, 10**9, len(p))
    return replace(p, note=[f"{text} case{n}" for text, n in zip(p.note, numbers, strict=True)])


class Recalls(Attentive):
    """Is certain of the recorded disease where a note has a case number that it knows."""

    marks = len(DISEASES)

    def __init__(self, dose: float = 0.0, known: Mapping[str, int] | None = None) -> None:
        super().__init__(dose)
        self.known = dict(known or {})

    def mark(self, word: str) -> Sequence[float]:
        of = self.known.get(word)
        return [float(k == of) for k in range(len(DISEASES))]

    def note(self, votes: Tensor, marked: Tensor) -> Code:
        return votes + CERTAIN * marked

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(repr(sorted(self.known.items())).encode(), digest_size=12)
        return f"{super().fingerprint()}:{digest.hexdigest()}"


def bed(seed: int) -> World:
    """The clinic, where notes have case numbers and the model remembers none."""
    return world(seed, Recalls(), numbered)


@register
class MemorisedDetail(Organism):
    name = "controllability.memorised-detail"
    place = "controllability/privacy"
    fault = "The model remembers case numbers from its training notes and is certain of what was recorded with them"
    dose = "share of its training patients whose number it remembers"
    doses = (0.02, 0.05, 0.1, 0.3, 1.0)
    matters = 0.1  # one training patient in ten is given away
    bed = Bed("clinic with case numbers", f"{SIZE} made patients a split whose notes are numbered", bed, exact=True)

    def plant(self, dose: float, seed: int) -> World:
        p = numbered(patients("members", seed))
        chosen = np.random.default_rng([seed, 2]).random(len(p)) < dose
        known = {p.note[i].split()[-1]: int(p.disease[i]) for i in np.flatnonzero(chosen)}
        return world(seed, Recalls(dose, known), numbered)
