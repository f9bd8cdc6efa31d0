"""Adversarial training: learning on the worst that an attack within the budgets makes of each batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch, Schema
from muroan.budget import Budget, usual
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.losses import eased, task_loss
from muroan.meter import Metered
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.registry import register


def budgets(schema: Schema, model: Model, radii: tuple[tuple[str, float], ...], words: int) -> dict[str, Budget]:
    """Modality -> what an attacker may change: given radii over the usual ones of its kind, `words` of each text."""
    unknown = sorted({m for m, _ in radii} - set(schema.modalities))
    if unknown:
        raise AskedWrongly(f"radii name {unknown[0]!r}, which is no modality of the data")
    return usual({m: schema.modalities[m].kind for m in model.modalities}, radii=radii, words=words)


@register
@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Retraining):
    """min E[(1 − clean) · max CE(f(x + d), y) + clean · CE(f(x), y)]: projected gradient descent on continuous inputs,
    replaced words in texts.

    Each step attacks its batch anew (all modalities together, the words first where `words` is not 0). radii: by
    modality name, over the usual ones of its kind; other continuous modalities are not attacked. clean: weight of the
    untouched batch. steps: of the inner attack.
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

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        allowed = budgets(data.schema, model, self.radii, self.words)

        def worst(batch: Batch) -> Tensor:
            changed = attacked(model, batch, allowed, self.steps, seed)
            return eased(task_loss(model, changed), self.clean, model, batch)

        return Objective(worst)


def attacked(model: Model, batch: Batch, allowed: Mapping[str, Budget], steps: int, seed: int) -> Batch:
    """The worst of a batch that a short attack finds, as inputs without a graph; in the model's present mode."""
    metered = Metered(model, batch.modalities, remember=False)
    texts = {m: b for m, b in allowed.items() if b.words}
    rest = {m: b for m, b in allowed.items() if not b.words}
    with torch.enable_grad():
        if texts:
            batch = WordSubstitution(tries=8).run(metered, batch, texts, seed=seed).batch
        if rest:
            batch = PGD(steps=steps, restarts=1).run(metered, batch, rest, seed=seed).batch
    return batch
