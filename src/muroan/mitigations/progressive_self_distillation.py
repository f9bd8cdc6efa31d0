"""Progressive self-distillation: pairs that do not belong together teach less once the encoders know something.

Our reading of Andonian, Chen & Hamid (CVPR 2022), whose code and schedule are not public: not the authors' algorithm.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import info_nce, missed, pair_codes, scale_of
from muroan.mitigation import Objective, Retraining
from muroan.mitigations.fine_tuning import of_pairs
from muroan.model import Capability, Model
from muroan.registry import register
from muroan.training import evaluating, standing_in

Falls = Literal["cosine", "linear"]
Teacher = Literal["now", "mean"]


def distilled(
    first: Tensor, second: Tensor, scale: float, alpha: float, taught: tuple[Tensor, Tensor], *, swapped: bool = True
) -> Tensor:
    """The loss of N pairs of unit vectors [N, D]; the first round(alpha · N) rows have their partner as target.

    The other rows have the teacher's own distribution over the batch, made of its codes `taught` ([N, D] twice, no
    gradient). For row i of the first side that is, if `swapped`, whom partner i of the second side would have chosen
    (softmax of scale · second_i · firstᵀ), else whom row i itself would have. Mean over rows with hard targets plus
    mean over those with soft ones, both ways, halved: alpha 1 is symmetric InfoNCE.
    """
    n = len(first)
    hard = round(alpha * n)
    found = scale * first @ second.T
    own = scale * taught[0].detach() @ taught[1].detach().T
    right = torch.arange(hard)
    total = torch.zeros(())
    for logits, same, other in ((found, own, own.T), (found.T, own.T, own)):
        if hard:
            total = total + functional.cross_entropy(logits[:hard], right)
        if hard < n:
            soft = (other if swapped else same).softmax(dim=1)
            total = total + functional.cross_entropy(logits[hard:], soft[hard:])
    return total / 2


def falling(done: float, last: float, hold: float, falls: Falls) -> float:
    """Alpha when this share of the training is done: 1 for the first `hold` of it, then down to `last`."""
    way = max(0.0, done - hold) / (1 - hold)
    return last + (1 - last) * ((1 + math.cos(math.pi * way)) / 2 if falls == "cosine" else 1 - way)


class MovingMean(nn.Module):
    """The mean of a model's weights over the steps so far, older ones counting less. Buffers of its own, so that an
    unfinished training keeps it."""

    def __init__(self, modules: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._followed = list(modules.parameters())
        for k, p in enumerate(self._followed):
            self.register_buffer(str(k), p.detach().clone())

    @torch.no_grad()
    def follow(self) -> None:
        """One step nearer to the model."""
        for mean, p in zip(self.buffers(), self._followed, strict=True):
            mean.lerp_(p, 1 - self.decay)

    def instead(self) -> AbstractContextManager[None]:
        """Meanwhile the model has these weights."""
        return standing_in(self._followed, self.buffers())


@register
@dataclass(frozen=True, kw_only=True)
class ProgressiveSelfDistillation(Retraining):
    """Trains two encoders on pairs; a part of each batch that grows is taught by the model itself.

    last: alpha at the end, the share of a batch that keeps its partners as targets. hold: share of the training in
    which alpha stays 1, since a teacher that knows nothing teaches that all are alike. falls: how alpha goes down after
    it. swapped: soft targets come from the other side (see `distilled`). teacher: the model as it is ("now") or the
    moving mean of its weights ("mean", by `decay` a step), in evaluation mode and without a gradient, at the price of
    one more forward pass a step. Validation is by the share of held-out pairs that do not find each other in their
    batch, and training does not stop before alpha has fallen to its end. last 1: plain InfoNCE, the control.

    What it is for shows in training data whose pairs do not all belong together. Nothing is promised: on small towers
    with 30 % of the captions shuffled it was not told apart from InfoNCE (reproductions/r09.py).
    """

    name = "progressive_self_distillation"
    does = "Trains aligned encoders partly on their own soft matches, against mismatched training pairs."
    place = "robustness/distribution_shift"
    source = "our reading of Andonian, Chen & Hamid, CVPR 2022 (arXiv 2204.04588); schedule: chosen here"
    needs = frozenset({Capability.SCORES, Capability.ALIGNED, Capability.TRAIN})
    stops_early = False

    last: float = 0.2
    hold: float = 0.2
    falls: Falls = "cosine"
    swapped: bool = True
    teacher: Teacher = "now"
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.last <= 1 or not 0 <= self.hold < 1 or not 0 <= self.decay < 1:
            raise AskedWrongly("progressive_self_distillation needs last between 0 and 1, hold and decay below 1")
        if self.falls not in ("cosine", "linear") or self.teacher not in ("now", "mean"):
            raise AskedWrongly("progressive_self_distillation: falls is cosine or linear, teacher is now or mean")

    def applies(self, model: Model, schema: Schema) -> str | None:
        wrong = "it needs two modalities and data of pairs that belong together"
        return None if of_pairs(model, schema.classes) else wrong

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        mean = MovingMean(model.trainable(), self.decay) if self.teacher == "mean" else None
        done = 0.0

        def on_step(share: float) -> None:
            nonlocal done
            done = share
            if mean is not None:
                mean.follow()

        return Objective(
            lambda batch: self.loss(model, batch, done, mean),
            lambda batch: missed(*pair_codes(model, batch)),
            beside={} if mean is None else {"mean": mean},
            on_step=on_step,
        )

    def loss(self, model: Model, batch: Batch, done: float, mean: MovingMean | None = None) -> Tensor:
        """The loss of a batch when this share of the training is done."""
        first, second = pair_codes(model, batch)
        alpha = falling(done, self.last, self.hold, self.falls)
        if alpha == 1:
            return info_nce(first, second, scale_of(model))
        taught = self.taught(model, batch, mean)
        return distilled(first, second, scale_of(model), alpha, taught, swapped=self.swapped)

    @torch.no_grad()
    def taught(self, model: Model, batch: Batch, mean: MovingMean | None) -> tuple[Tensor, Tensor]:
        """The teacher's codes of a batch."""
        with evaluating(model.trainable()), nullcontext() if mean is None else mean.instead():
            return pair_codes(model, batch)
