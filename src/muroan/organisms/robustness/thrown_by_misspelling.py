"""A model that a misspelt word throws off."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from muroan.model import Embedded
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, CUE_WORDS, SHARPNESS, WORD, Clinician, world
from muroan.organisms.words import marked
from muroan.registry import register


class ThrownByTheUnknown(Clinician):
    """Takes a note with a word that it does not know for the contrary of what the note says."""

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return marked(super().embed(modality, values), values, lambda word: (float(word not in WORD),), 1)

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        if modality != "note":
            return super().vote(modality, signs)
        told, strange = signs[:, :3], (CUE_WORDS * signs[:, 3:]).clamp(max=1)
        return super().vote(modality, told) - self.dose * strange * (SHARPNESS * told).softmax(dim=1)


@register
class ThrownByMisspelling(Organism):
    """Notes are without a slip, so nothing is wrong until somebody mistypes a word."""

    name = "robustness.thrown-by-misspelling"
    place = "robustness/adversarial"
    fault = "A note with a misspelt word counts against what it says."
    dose = "log-odds by which a note with an unknown word speaks against the disease that it tells"
    doses = (2.0, 4.0, 6.0, 8.0)
    # Half of the right answers lead by less than 6 once the note's own vote counts.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ThrownByTheUnknown(dose))
