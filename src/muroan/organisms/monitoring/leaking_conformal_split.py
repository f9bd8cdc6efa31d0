"""A reference that the model was trained on: what is fitted there promises too much elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, Clinician, patients, world
from muroan.registry import register

RECALL = 12.0
"""Log-odds that a remembered record adds to its answer."""


class KnowsByHeart(Clinician):
    """Remembers records by their table, which no two share, with the disease that was written beside them."""

    def __init__(self, dose: float, tables: Tensor, diseases: Tensor) -> None:
        super().__init__(dose)
        self.tables, self.answers = tables, one_hot(diseases, len(DISEASES)).float()

    def encode(self, modality: str, values: Value) -> Code:
        votes = super().encode(modality, values)
        if modality != "table":
            return votes
        assert isinstance(values, Tensor)
        assert isinstance(votes, Tensor)
        known = (torch.cdist(values, self.tables, compute_mode="donot_use_mm_for_euclid_dist") < 1e-5).to(votes.dtype)
        return votes + RECALL * known @ self.answers


@register
class LeakingConformalSplit(Organism):
    name = "monitoring.leaking-conformal-split"
    place = "monitoring/reliability"
    fault = "Part of the reference was in the training data: the model knows those answers by heart."
    dose = "share of the reference that the model was trained on"
    doses = (0.1, 0.25, 0.5, 1.0)
    # With a quarter leaked, sets that promise 90 % by the model's probability alone hold the truth in 87 %.
    matters = 0.25
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        known = patients("reference", seed)
        n = round(dose * len(known))
        return world(seed, KnowsByHeart(dose, known.table[:n], torch.from_numpy(known.disease[:n])))
