"""MASD, modality-augmented self-distillation: with inputs missing, say what the model says with all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import logits
from muroan.mitigations.masking import (
    MaskedTraining,
    allowed_masks,
    drawn,
    left,
    stacked,
)
from muroan.model import Model
from muroan.registry import register
from muroan.training import Loss


@register
@dataclass(frozen=True, kw_only=True)
class Masd(MaskedTraining):
    """L = CE(f(x), y) + weight · KL(p_teacher(x) || p(f(x_e))), e an allowed subset drawn for each sample.

    x has all inputs that training has; no gradient reaches the teacher. teacher: "current", the model itself as it is
    at that step, in evaluation mode; or "frozen", what the model said of each sample before training, asked once. The
    loss and its weight are from memory of the source; which teacher, and evaluation mode, are chosen here.
    """

    name = "masd"
    does = "Trains the model to say with inputs missing what it says itself with all of them."
    source = "McKinzie et al., ICML 2023 (arXiv 2304.04385), MASD; loss and weight from memory"

    weight: float = 1.0
    teacher: Literal["current", "frozen"] = "current"

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise AskedWrongly(f"weight is {self.weight}; at 0 nothing is distilled")
        if self.teacher not in ("current", "frozen"):
            raise AskedWrongly(f"teacher is {self.teacher!r}; it must be 'current' or 'frozen'")

    def loss(self, model: Model, data: Dataset) -> Loss:
        masks = allowed_masks(model.modalities, self.always)
        said = _said(model, data, self.batch) if self.teacher == "frozen" else None

        def distilled(batch: Batch) -> Tensor:
            told = taught(model, batch) if said is None else torch.stack([said[i] for i in batch.ids])
            both = stacked([batch, left(model, batch, drawn(masks, batch, model))])
            whole, less = logits(model, both).chunk(2)
            divergence = functional.kl_div(
                less.log_softmax(dim=1), told.log_softmax(dim=1), log_target=True, reduction="batchmean"
            )
            return functional.cross_entropy(whole, batch.targets) + self.weight * divergence

        return distilled


def _said(model: Model, data: Dataset, rows: int) -> dict[str, Tensor]:
    """What the model says of every sample that can be read, before anything is trained: id -> logits [K]."""
    out: dict[str, Tensor] = {}
    for k in range(0, len(data), rows):
        batch = data.load(range(k, min(k + rows, len(data)))).batch
        if batch is not None:
            out |= dict(zip(batch.ids, taught(model, batch), strict=True))
    return out


def taught(model: Model, batch: Batch) -> Tensor:
    """The teacher's logits [N, K] with everything, in evaluation mode and without a graph."""
    modules = model.trainable()
    modes = {m: m.training for m in modules.modules()}
    modules.eval()
    try:
        with torch.no_grad():
            return logits(model, batch)
    finally:
        for m, was in modes.items():
            m.training = was
