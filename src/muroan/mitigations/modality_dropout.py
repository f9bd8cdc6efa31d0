"""Modality dropout: training on samples that lack some of their inputs at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import task_loss
from muroan.mitigations.masking import MaskedTraining, allowed_masks, drawn, left, there
from muroan.model import Model
from muroan.registry import register
from muroan.training import Loss


@register
@dataclass(frozen=True, kw_only=True)
class ModalityDropout(MaskedTraining):
    """At every step each sample keeps a random subset of its inputs, drawn anew; see `MaskedTraining`.

    whole: share of samples that keep everything at a step. The source drops each input independently; here every
    allowed subset is as likely as any other, so that the rare ones (a single input of many) are not left untrained.
    """

    name = "modality_dropout"
    does = "Trains on samples that lack inputs at random, so that what is left is enough to go on."
    source = "Neverova et al., TPAMI 2016 (ModDrop); subsets drawn evenly: chosen here"

    whole: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.whole < 1:
            raise AskedWrongly(f"whole is {self.whole}; it must be at least 0 and below 1")

    def loss(self, model: Model, data: Dataset) -> Loss:
        masks = allowed_masks(model.modalities, self.always)

        def dropped(batch: Batch) -> Tensor:
            full = torch.rand(len(batch), 1) < self.whole
            kept = torch.where(full, there(model, batch), drawn(masks, batch, model))
            return task_loss(model, left(model, batch, kept))

        return dropped
