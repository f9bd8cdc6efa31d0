"""Adversarial training: learning on the worst that an attack within the budgets makes of each batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.budget import Budget, usual
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.meter import Metered
from muroan.mitigation import Retraining, members
from muroan.model import Capability, Model
from muroan.registry import register
from muroan.training import Loss, Trainer


def budgets(schema: Schema, model: Model, radii: tuple[tuple[str, float], ...], words: int) -> dict[str, Budget]:
    """Modality -> what an attacker may change: given radii over the usual ones of its kind, `words` of each text."""
    unknown = sorted({m for m, _ in radii} - set(schema.modalities))
    if unknown:
        raise AskedWrongly(f"radii name {unknown[0]!r}, which is no modality of the data")
    return usual({m: schema.modalities[m].kind for m in model.modalities}, radii=radii, words=words)


@register
@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Retraining):
    """Minimises the loss on attacked inputs: projected gradient descent on continuous ones, replaced words in texts.

    Each step attacks its batch anew (all modalities together, the words first where `words` is not 0) and takes the
    loss on it, mixed with the loss on the untouched batch. radii: by modality name, over the usual ones of its kind;
    other continuous modalities are not attacked. clean: weight of the untouched batch. steps: of the inner attack.
    """

    name = "adversarial_training"
    does = "Trains on the worst case within a budget per modality, against gradient and word attacks."
    source = "Madry et al., ICLR 2018, equation 2.1; multi-input: survey equation 1"
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.TRAIN})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}

    removes = ("robustness.frail-tower-digits",)

    radii: tuple[tuple[str, float], ...] = ()
    words: int = 0
    steps: int = 4
    clean: float = 0.3
    epochs: int = 6

    def applies(self, model: Model, schema: Schema) -> str | None:
        if not budgets(schema, model, self.radii, self.words):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

    def train(self, model: Model, data: Splits, trainer: Trainer, *, seed: int) -> tuple[str, ...]:
        fit_on = members(data, self.name)
        allowed = budgets(fit_on.schema, model, self.radii, self.words)
        loss = self.loss(model, allowed, seed)
        schedule = self.schedule()
        done = trainer.named(self.name).fit(model.trainable(), loss, fit_on, schedule, seed=seed)
        return (done.note,)

    def loss(self, model: Model, allowed: Mapping[str, Budget], seed: int) -> Loss:
        """The mean of the worst case's and the untouched batch's cross-entropy."""

        def worst(batch: Batch) -> Tensor:
            changed = attacked(model, batch, allowed, self.steps, seed)
            hard = functional.cross_entropy(model.predict(changed.inputs), batch.targets)
            if not self.clean:
                return hard
            return (1 - self.clean) * hard + self.clean * functional.cross_entropy(
                model.predict(batch.inputs), batch.targets
            )

        return worst


def attacked(model: Model, batch: Batch, allowed: Mapping[str, Budget], steps: int, seed: int) -> Batch:
    """The worst of a batch that a short attack finds, as inputs without a graph; in the model's present mode."""
    metered = Metered(model, batch.modalities)
    texts = {m: b for m, b in allowed.items() if b.words}
    rest = {m: b for m, b in allowed.items() if not b.words}
    with torch.enable_grad():
        if texts:
            batch = WordSubstitution(tries=8).run(metered, batch, texts, seed=seed).batch
        if rest:
            batch = PGD(steps=steps, restarts=1).run(metered, batch, rest, seed=seed).batch
    return batch
