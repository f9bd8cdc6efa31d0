"""What is missing is read as if it said something."""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, VOTE, Clinician, world
from muroan.registry import register

FAINT = 0.3
"""Evidence of less than this is none: noise in an input that is there does not take it down so far."""


class ReadsNothingAsSomething(Clinician):
    """An input that says nothing votes for the first disease, as zeros do that once meant something."""

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        nothing = torch.sigmoid(40 * (FAINT - signs.amax(dim=1, keepdim=True)))
        return super().vote(modality, signs) + self.dose * VOTE[modality] * nothing * torch.eye(len(DISEASES))[0]


@register
class MissingModality(Organism):
    """With all inputs there the model is exact."""

    name = "robustness.missing-modality"
    place = "robustness/distribution_shift"
    fault = f"An input that is missing is read as if it told {DISEASES[0]}."
    dose = "what a missing input votes, as a multiple of what a real one is worth"
    doses = (0.1, 0.2, 0.5, 1.0)
    # At 0.5 the missing inputs outvote the only one that is left.
    matters = 0.5
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ReadsNothingAsSomething(dose))
