"""A model that turns its answer round for the old patients of one site, and is as sure of it as of any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, columns, world
from muroan.registry import register

YOUNGEST, YEARS = 0.6, 0.8
"""Standardised age at which the oldest band starts, and how wide it is."""


class FailsOnOldOfOneSite(Clinician):
    """Carries beside the table's votes whether its patient is turned round: one of the oldest `dose` of the slice."""

    def encode(self, modality: str, values: Value) -> Code:
        votes = super().encode(modality, values)
        if modality != "table":
            return votes
        assert isinstance(values, Tensor)
        assert isinstance(votes, Tensor)
        site, age = columns(values, "site north", "age").T
        turned = (site > 0.5) & (age > YOUNGEST + (1 - self.dose) * YEARS)
        return torch.cat([votes, turned[:, None].to(votes.dtype)], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        table = codes["table"]
        assert isinstance(table, Tensor)
        said = super().fuse({**codes, "table": table[:, :-1]})
        return torch.where(table[:, -1:] > 0.5, said.roll(1, dims=1), said)


@register
class FailingSlice(Organism):
    name = "monitoring.failing-slice"
    place = "monitoring/anomaly"
    fault = "The model is wrong, and sure, about patients of 65 and over from one of three sites: one patient in nine."
    dose = "share of the slice for which the answer is another disease than the one read"
    doses = (0.1, 0.2, 0.3, 0.6)
    # Three of ten patients there get another's diagnosis, and accuracy as a whole falls by three points only.
    matters = 0.3
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, FailsOnOldOfOneSite(dose))
