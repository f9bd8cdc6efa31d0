"""A model that fills in a missing input from the others and then believes it as if it had been read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, VOTE, Clinician, world
from muroan.registry import register


class FillsIn(Clinician):
    """Imputation across modalities: an input that says nothing is given the vote that the others lead to expect.

    What was filled in tells nothing new, but is counted as evidence. (Mere rescaling of the votes that are there, as
    attention over what is present does, costs this model 4 points without the scan: below the default limit.)
    """

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        said = super().fuse(codes)
        expected = said.softmax(dim=1)
        filled = []
        for m in self.modalities:
            votes = codes[m]
            assert isinstance(votes, Tensor)
            silent = 1 - (votes.amax(dim=1) - votes.amin(dim=1)) / VOTE[m]
            filled.append(silent[:, None] * self.vote(m, expected))
        return said + self.dose * torch.stack(filled).sum(dim=0)


@register
class SureWithoutInput(Organism):
    name = "monitoring.sure-without-input"
    place = "monitoring/reliability"
    fault = "The model is as sure as ever when an input is missing: it fills it in from the others and believes that."
    dose = "how much of a vote an input counts that was filled in; 1: as much as one that was read"
    doses = (0.25, 0.5, 1.0, 2.0)
    # What is filled in counts as if it had been read: without a scan 97 % sure and 86 % right.
    matters = 1.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, FillsIn(dose))
