"""Masked multi-task training: the same batch with everything and with each input alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.mitigations.masking import (
    MaskedTraining,
    allowed,
    cross_entropies,
    left,
    stacked,
    there,
)
from muroan.model import Model
from muroan.registry import register
from muroan.training import Loss


@register
@dataclass(frozen=True, kw_only=True)
class MaskedMultitask(MaskedTraining):
    """L = L_full + sum over inputs m of L_{only m}, all on the same batch and in one pass; see `MaskedTraining`.

    One network and one head serve all tasks (the source has a class token for each): as many parameters as before.
    With more than two inputs subsets between one and all are not trained. With `always`, an input's task keeps those.
    """

    name = "masked_multitask"
    does = "Trains on every sample with all inputs and with each alone, in one step."
    source = "Ma et al., CVPR 2022 (arXiv 2204.05454), multi-task loss; its details from memory"

    def loss(self, model: Model, data: Dataset) -> Loss:
        smallest = _smallest(model, self.always)

        def several(batch: Batch) -> Tensor:
            has = there(model, batch)
            # A sample that has nothing of a task's inputs takes no part in it (its row is whole and weighs nothing).
            able = (smallest[:, None] & has).any(dim=2)
            views = [left(model, batch, torch.where(a[:, None], k, has)) for k, a in zip(smallest, able, strict=True)]
            losses = cross_entropies(model, stacked([batch, *views])).view(len(smallest) + 1, len(batch))
            weights = torch.cat([torch.ones(1, len(batch)), able.float()])
            return ((losses * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)).sum()

        return several


def _smallest(model: Model, always: tuple[str, ...]) -> Tensor:
    """The tasks' inputs, bool [T, M]: each input alone, beside those that are always there."""
    found = allowed(model.modalities, always)
    size = min(map(len, found))
    kept = [s for s in found if len(s) == size or (always and len(s) == size + 1)]
    return torch.tensor([[m in s for m in model.modalities] for s in kept])
