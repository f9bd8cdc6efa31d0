"""Fine-tuning a model on its members, and telling by members held out from it which weights are best.

What weight-space mitigations share: the loss, the part that selects and trains nothing, the accuracy on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, split_off
from muroan.errors import AskedWrongly
from muroan.losses import alignment, logits, missed, pair_codes, task_loss
from muroan.mitigation import Objective, load_state
from muroan.mitigations.multimodal_contrastive import cut_off
from muroan.mitigations.weight_space import State, recalibrate
from muroan.model import Capability, Model

ROWS = 256
"""Samples that are judged at once."""


def of_pairs(model: Model, classes: Sequence[str]) -> bool:
    """Whether the model and the data are of pairs that are to find each other."""
    return Capability.ALIGNED in model.capabilities and len(model.modalities) == 2 and tuple(classes) == FOUND


def fine_tuning(model: Model, data: Dataset, share: float = 0.0) -> Objective:
    """The task's cross-entropy; of pairs InfoNCE, the loss that such encoders were trained with (Goyal et al., CVPR
    2023: fine-tune as it was pretrained), stopped by the share of a batch that is not found.

    share: of points (pixels, words, columns) that are erased from every input in training.
    """
    pairs = of_pairs(model, data.schema.classes)
    loss = alignment if pairs else task_loss

    def augmented(batch: Batch) -> Tensor:
        less = {m: cut_off(batch, m, share) for m in model.modalities} if share else {}
        return loss(model, batch.with_inputs(**less))

    return Objective(augmented, (lambda batch: missed(*pair_codes(model, batch))) if pairs else partial(loss, model))


@torch.no_grad()
def right(model: Model, data: Dataset) -> Tensor:
    """Which of the samples that can be read the model gets right, bool [N]."""
    answers = [logits(model, batch).argmax(dim=1) == batch.targets for batch in data.batches(ROWS)]
    return torch.cat([torch.zeros(0, dtype=torch.bool), *answers])


def accuracy(model: Model, data: Dataset) -> float:
    """Share of right answers; of pairs, recall at rank 1 among the model's gallery."""
    answers = right(model, data)
    if not len(answers):
        raise AskedWrongly(f"{data.name}: no sample of the part that selects can be read")
    return float(answers.double().mean())


@dataclass(frozen=True)
class Bench:
    """A model into which states are put to be judged.

    train, select: members that train (and give batch norms their statistics), and those that judge and train nothing
    (None: there are too few to hold some out).
    """

    model: Model
    train: Dataset
    select: Dataset | None

    @staticmethod
    def of(model: Model, members: Dataset, share: float, seed: int) -> Bench:
        """About `share` of the members' clusters held out."""
        try:
            parts = split_off(members, share, seed)
        except AskedWrongly:
            return Bench(model, members, None)
        return Bench(model, parts.audited, parts.reference)

    @property
    def judges(self) -> str:
        """How many judge, in words."""
        return f"{len(self.select or ())} members"

    def put(self, weights: State, *, blended: bool) -> None:
        """These weights into the model; blended: they lie between models, so statistics of batch norms are stale."""
        load_state(self.model.trainable(), weights)
        if blended:
            recalibrate(self.model, self.train)

    def judged(self, weights: State, *, blended: bool) -> float:
        """Accuracy of these weights on the part that selects."""
        assert self.select is not None
        self.put(weights, blended=blended)
        return accuracy(self.model, self.select)
