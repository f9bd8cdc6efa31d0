"""Codes of different inputs pushed apart, so that they share fewer weak directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import decided, vectors
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.registry import register


def mean_cosine(codes: Sequence[Tensor]) -> Tensor:
    """The cosine of every pair of inputs' codes [N, D], over pairs and samples. 1: alike; 0: at right angles."""
    if len({c.shape[1] for c in codes}) > 1:
        lengths = ", ".join(str(c.shape[1]) for c in codes)
        raise AskedWrongly(f"codes of lengths {lengths} have no cosine with each other; this needs codes of one length")
    return torch.stack([functional.cosine_similarity(a, b, dim=1).mean() for a, b in combinations(codes, 2)]).mean()


@register
@dataclass(frozen=True, kw_only=True)
class Dissimilarity(Retraining):
    """min CE(f(x), y) + weight · the mean cosine of the inputs' codes.

    weight: 1 in the source. Its encoders end in codes of one length, as they must here. An attacker who
    knows the defence raises the model's loss all the same: the term is of training alone. Measured on digits in three
    views (reproduction R13), old examples make it look 22 points safer, and an attack on it finds no gain.
    """

    name = "dissimilarity"
    does = "Pushes the codes of different inputs apart, against weaknesses that they share."
    source = "Tian & Xu, CVPR 2021 (defence, first part)"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.TRAIN})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}
    stops_early = False

    weight: float = 1.0
    batch: int = 64

    def applies(self, model: Model, schema: Schema) -> str | None:
        return "a single input has no other to differ from" if len(model.modalities) < 2 else None

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        def apart(batch: Batch) -> Tensor:
            codes = vectors(model, batch)
            task = functional.cross_entropy(decided(model, codes, batch.present), batch.targets)
            return task + self.weight * mean_cosine(list(codes.values()))

        return Objective(apart)
