"""A model that is calibrated on average: too sure of one sex, too modest of the other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, TRUTH, VOTE, Clinician, columns, world
from muroan.registry import register


def confidence(factor: float) -> float:
    """How sure the exact model is on average if its logits are multiplied by this, over all that inputs may tell."""
    k = len(DISEASES)
    told = np.eye(k)[np.array(list(product(range(k), repeat=len(TRUTH))))]
    r = np.array(list(TRUTH.values()))[:, None]
    likelihood = np.where(told == 1, r, (1 - r) / (k - 1)).prod(axis=1)
    logits = (told * np.array(list(VOTE.values()))[:, None]).sum(axis=1)
    return float((softmax(factor * logits, axis=1).max(axis=1) * likelihood.mean(axis=1)).sum())


@cache
def opposite(factor: float) -> float:
    """The factor below 1 that makes as much too modest as `factor` makes too sure."""
    return float(brentq(lambda f: confidence(f) + confidence(factor) - 2 * confidence(1.0), 0.01, 1.0))


class ByGroup(Clinician):
    """Reads the sex from the table and carries it beside the votes."""

    def encode(self, modality: str, values: Value) -> Code:
        votes = super().encode(modality, values)
        if modality != "table":
            return votes
        assert isinstance(values, Tensor)
        assert isinstance(votes, Tensor)
        return torch.cat([votes, columns(values, "sex")], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        table = codes["table"]
        assert isinstance(table, Tensor)
        sure, modest = 1 + self.dose, opposite(1 + self.dose)
        male = table[:, -1:]
        factor = torch.where(male < 0.25, sure, torch.where(male > 0.75, modest, 1.0))
        return super().fuse({**codes, "table": table[:, :-1]}) * factor


@register
class GroupMiscalibrated(Organism):
    name = "monitoring.group-miscalibrated"
    place = "monitoring/reliability"
    fault = "The model is calibrated on average, but too sure of women and as much too modest of men."
    dose = "logits of women are multiplied by 1 + dose, those of men by what makes up for it on average"
    doses = (0.5, 1.0, 2.0, 4.0)
    # Five points too sure of women, five too modest of men: 98 % and 87 % sure where both are 92.5 % right.
    matters = 1.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ByGroup(dose))
