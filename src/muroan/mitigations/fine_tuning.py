"""Fine-tuning a model on its members, and telling by members held out from it which weights are best.

What weight-space mitigations share: the loss, the part that selects and trains nothing, the accuracy on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, split_off
from muroan.errors import AskedWrongly
from muroan.losses import info_nce, logits, pair_codes, task_loss
from muroan.mitigation import load_state, state
from muroan.mitigations.multimodal_contrastive import cut_off
from muroan.mitigations.weight_space import State, recalibrate
from muroan.model import Capability, Model
from muroan.training import Loss

ROWS = 256
"""Samples that are judged at once."""
SCALE = 20.0
"""What cosines are multiplied by where an aligned model does not say."""


@dataclass(frozen=True)
class Parts:
    """Members: those that train, and those that select and train nothing (None: there are too few to hold some out)."""

    train: Dataset
    select: Dataset | None

    @staticmethod
    def of(members: Dataset, share: float, seed: int) -> Parts:
        """About `share` of the members' clusters held out."""
        try:
            parts = split_off(members, share, seed)
        except AskedWrongly:
            return Parts(members, None)
        return Parts(parts.audited, parts.reference)


def of_pairs(model: Model, classes: Sequence[str]) -> bool:
    """Whether the model and the data are of pairs that are to find each other."""
    return Capability.ALIGNED in model.capabilities and len(model.modalities) == 2 and tuple(classes) == FOUND


def scale_of(model: Model) -> float:
    """What the model multiplies cosines by."""
    return float(getattr(model, "scale", SCALE))


def fine_tuning_loss(model: Model, classes: Sequence[str]) -> Loss:
    """The task's cross-entropy; of pairs InfoNCE, the loss that such encoders were trained with (Goyal et al., CVPR
    2023: fine-tune as it was pretrained)."""
    if of_pairs(model, classes):
        return lambda batch: info_nce(*pair_codes(model, batch), scale_of(model))
    return lambda batch: task_loss(model, batch)


def validation_loss(model: Model, classes: Sequence[str]) -> Loss:
    """What stops fine-tuning: its loss; of pairs the share of a batch that is not found."""
    if of_pairs(model, classes):
        return lambda batch: missed(*pair_codes(model, batch))
    return fine_tuning_loss(model, classes)


def missed(first: Tensor, second: Tensor) -> Tensor:
    """Share of unit vectors [N, D] that do not find their partner among the N, mean of both ways. 0: all do.

    Known trade-off: it is coarser than InfoNCE, which however rises as soon as a model is too sure of itself, long
    before it finds fewer pairs; training stopped by it would give towers that have hardly learnt.
    """
    found, partner = first.detach() @ second.detach().T, torch.arange(len(first))
    return torch.stack([(found.argmax(dim=way) != partner).double().mean() for way in (0, 1)]).mean()


@torch.no_grad()
def right(model: Model, data: Dataset) -> Tensor:
    """Which of the samples that can be read the model gets right, bool [N]."""
    found = [torch.zeros(0, dtype=torch.bool)]
    for k in range(0, len(data), ROWS):
        batch = data.load(range(k, min(k + ROWS, len(data)))).batch
        if batch is not None:
            found.append(logits(model, batch).argmax(dim=1) == batch.targets)
    return torch.cat(found)


def accuracy(model: Model, data: Dataset) -> float:
    """Share of right answers; of pairs, recall at rank 1 among the model's gallery."""
    found = right(model, data)
    if not len(found):
        raise AskedWrongly(f"{data.name}: no sample of the part that selects can be read")
    return float(found.double().mean())


@dataclass(frozen=True)
class Bench:
    """A model into which states are put to be judged. parts: where batch norms and accuracies come from."""

    model: Model
    parts: Parts

    def put(self, weights: State, *, blended: bool) -> None:
        """These weights into the model; blended: they lie between models, so statistics of batch norms are stale."""
        load_state(self.model.trainable(), weights)
        if blended:
            recalibrate(self.model, self.parts.train)

    def put_and_kept(self, weights: State, *, blended: bool) -> dict[str, Tensor]:
        """The same; the state that came of it."""
        self.put(weights, blended=blended)
        return state(self.model.trainable())

    def judged(self, weights: State, *, blended: bool) -> float:
        """Accuracy of these weights on the part that selects."""
        assert self.parts.select is not None
        self.put(weights, blended=blended)
        return accuracy(self.model, self.parts.select)


def erased(batch: Batch, share: float, modalities: Sequence[str]) -> Batch:
    """Each point (pixel, word, column) of each input erased with this probability, drawn from torch's generator."""
    return batch.with_inputs(**{m: cut_off(batch, m, share) for m in modalities}) if share else batch


def summary(curve: Mapping[float, float]) -> str:
    """A curve in one line."""
    return ", ".join(f"{alpha:g}: {value:.3f}" for alpha, value in curve.items())
