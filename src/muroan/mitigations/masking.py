"""Training with inputs left out: what modality dropout, masked multi-task training and self-distillation share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, unknown
from muroan.interventions.removals import Kept, subsets
from muroan.losses import logits, task_loss
from muroan.mitigation import Retraining, members
from muroan.modality import where
from muroan.model import Capability, Model
from muroan.training import Loss, Trainer

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
            "worst_accuracy",
            "average_accuracy",
            "hidden_loss",
            "below_guessing",
            "missing_tilt",
        )
    }
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

    def train(self, model: Model, data: Splits, trainer: Trainer, *, seed: int) -> tuple[str, ...]:
        fit_on = members(data, self.name)
        schedule = self.schedule(self.patience)
        done = trainer.named(self.name).fit(
            model.trainable(),
            self.loss(model, fit_on),
            fit_on,
            schedule,
            seed=seed,
            validation=self.judge(model),
        )
        return done.note, MASKED if Capability.ABSENT in model.capabilities else NEUTRAL

    def judge(self, model: Model) -> Loss:
        """What training is stopped by."""
        masks = allowed_masks(model.modalities, self.always)

        def judged(batch: Batch) -> Tensor:
            return (task_loss(model, batch) + task_loss(model, left(model, batch, drawn(masks, batch, model)))) / 2

        return judged


def allowed(modalities: Sequence[str], always: Sequence[str] = ()) -> list[Kept]:
    """The proper non-empty subsets that hold every input of `always`, the largest first (see `subsets`)."""
    for m in always:
        if m not in modalities:
            raise unknown("input", m, list(modalities))
    found = [s for s in subsets(modalities) if set(always) <= set(s)]
    if not found:
        raise AskedWrongly(f"no input may be missing: always is {', '.join(always)}")
    return found


def allowed_masks(modalities: Sequence[str], always: Sequence[str] = ()) -> Tensor:
    """The same as masks, bool [S, M]: true where the input is kept."""
    return torch.tensor([[m in s for m in modalities] for s in allowed(modalities, always)])


def there(model: Model, batch: Batch) -> Tensor:
    """Which inputs the samples have, bool [N, M] in the model's order."""
    every = torch.ones(len(batch), dtype=torch.bool)
    return torch.stack([batch.present.get(m, every) for m in model.modalities], dim=1)


def drawn(masks: Tensor, batch: Batch, model: Model) -> Tensor:
    """A row of `masks` for each sample, bool [N, M]; a sample that has nothing of it keeps what it has."""
    kept = masks[torch.randint(len(masks), (len(batch),))]
    has = there(model, batch)
    return torch.where((kept & has).any(dim=1, keepdim=True), kept, has)


def left(model: Model, batch: Batch, kept: Tensor) -> Batch:
    """The samples with what `kept` [N, M] leaves them: the rest neutral, and said to be absent."""
    inputs, present = dict(batch.inputs), dict(batch.present)
    for m, here in zip(model.modalities, kept.T, strict=True):
        if bool(here.all()):
            continue
        inputs[m] = where(here, batch.inputs[m], batch.modalities[m].neutral(batch.inputs[m]))
        present[m] = here & present[m] if m in present else here
    return replace(batch, inputs=inputs, present=present, keys={})


def stacked(batches: Sequence[Batch]) -> Batch:
    """Views of the same samples one after another: one pass for all."""
    many = Batch.concat([replace(b, groups={}, clusters=None, keys={}) for b in batches])
    return replace(many, ids=[f"{i} {k}" for k, b in enumerate(batches) for i in b.ids])


def cross_entropies(model: Model, batch: Batch) -> Tensor:
    """Cross-entropy of each sample [N]."""
    return functional.cross_entropy(logits(model, batch), batch.targets, reduction="none")
