"""Training with inputs left out: modality dropout, masked multi-task training, and self-distillation (MASD)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import logits, task_loss
from muroan.mitigation import Objective, Retraining
from muroan.mitigations.masking import allowed, allowed_masks, drawn, left, stacked, there
from muroan.model import Capability, Model
from muroan.registry import register
from muroan.training import Loss, Schedule, evaluating

MASKED = "a missing input was said to be absent, which the model handles itself"
NEUTRAL = "a missing input was the neutral value of its kind, so that is what the model now knows as missing"


@dataclass(frozen=True, kw_only=True)
class MaskedTraining(Retraining):
    """Settings. always: inputs that are never missing in use; the others may be, in any combination, but one stays.

    When to stop is told by the members held out: the mean of cross-entropy with everything and with an allowed subset
    drawn for each sample, the same for every training of this kind, so that they can be compared.
    """

    place = "robustness/distribution_shift"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.TRAIN})
    improves = {
        "robustness.missing_modality": (
            "worst_accuracy", "average_accuracy", "hidden_loss", "below_guessing", "missing_tilt",
        )
    }  # fmt: skip
    removes = ("robustness.sentinel-fill-digits", "robustness.missing-tells-digits")

    always: tuple[str, ...] = ()
    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3
    patience: int = 5

    def applies(self, model: Model, schema: Schema) -> str | None:
        if len(model.modalities) < 2:
            return "a single input cannot be missing"
        if set(model.modalities) <= set(self.always):
            return f"no input may be missing: always is {', '.join(self.always)}"
        return None

    @abstractmethod
    def loss(self, model: Model, data: Dataset) -> Loss:
        """The mean loss of a batch of `data`; random numbers come from torch's generator, which a step seeds."""

    def schedule(self, **others: Any) -> Schedule:
        return super().schedule(**{"patience": self.patience} | others)

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        note = MASKED if Capability.ABSENT in model.capabilities else NEUTRAL
        return Objective(self.loss(model, data), self.judge(model), notes=lambda: [note])

    def judge(self, model: Model) -> Loss:
        """What training is stopped by."""
        masks = allowed_masks(model.modalities, self.always)

        def judged(batch: Batch) -> Tensor:
            return (task_loss(model, batch) + task_loss(model, left(model, batch, drawn(masks, batch, model)))) / 2

        return judged


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
            every = stacked([batch, *views])
            losses = functional.cross_entropy(logits(model, every), every.targets, reduction="none")
            weights = torch.cat([torch.ones(1, len(batch)), able.float()])
            return ((losses.view_as(weights) * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)).sum()

        return several


def _smallest(model: Model, always: tuple[str, ...]) -> Tensor:
    """The tasks' inputs, bool [T, M]: each input alone, beside those that are always there."""
    options = allowed(model.modalities, always)
    size = min(map(len, options))
    kept = [s for s in options if len(s) == size or (always and len(s) == size + 1)]
    return torch.tensor([[m in s for m in model.modalities] for s in kept])


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
        # What the model says of every sample before anything is trained.
        frozen = data.batches(self.batch) if self.teacher == "frozen" else ()
        said = {i: row for batch in frozen for i, row in zip(batch.ids, taught(model, batch), strict=True)}

        def distilled(batch: Batch) -> Tensor:
            told = torch.stack([said[i] for i in batch.ids]) if said else taught(model, batch)
            both = stacked([batch, left(model, batch, drawn(masks, batch, model))])
            whole, less = logits(model, both).chunk(2)
            said_now, taught_now = less.log_softmax(dim=1), told.log_softmax(dim=1)
            divergence = functional.kl_div(said_now, taught_now, log_target=True, reduction="batchmean")
            return functional.cross_entropy(whole, batch.targets) + self.weight * divergence

        return distilled


def taught(model: Model, batch: Batch) -> Tensor:
    """The teacher's logits [N, K] with everything, in evaluation mode and without a graph."""
    with evaluating(model.trainable()), torch.no_grad():
        return logits(model, batch)
