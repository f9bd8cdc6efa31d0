"""Adversaries of one input at a time, and training on them.

A single-source adversary changes one of k inputs and leaves the rest alone. Each is made against the whole model as it
is at that step, detectors and fusion included; none is kept for later, when the model would have moved on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.budget import Budget
from muroan.dataset import Dataset
from muroan.interventions.attacks.ascent import direction
from muroan.losses import task_loss
from muroan.mitigation import Objective, Retraining
from muroan.mitigations.adversarial_training import attacked, budgets
from muroan.modality import Value, concatenate, where
from muroan.model import Capability, Model
from muroan.registry import register

SHARE = 0.25
"""Radius of kinds without a usual one, in standard deviations of the training data over all values of the input."""
SEEN = 512
"""Training samples that the standard deviation is taken from."""


def allowed_of(data: Dataset, model: Model, radii: tuple[tuple[str, float], ...], words: int) -> dict[str, Budget]:
    """Modality -> budget: given radii over the usual ones of its kind, over a quarter of a standard deviation."""
    allowed = budgets(data.schema, model, radii, words)
    settled = {*allowed, *dict(radii)}
    rest = [m for m in model.modalities if data.schema.modalities[m].continuous and m not in settled]
    if rest:
        batch = data.first(SEEN)
        allowed |= {m: Budget(radius=SHARE * float(batch.inputs[m].double().std())) for m in rest}
    return {m: allowed[m] for m in model.modalities if m in allowed}


def single_source(
    model: Model, batch: Batch, allowed: Mapping[str, Budget], *, steps: int, seed: int = 0
) -> tuple[Batch, Tensor]:
    """A copy of the batch for each input of `allowed`, in which that input alone is attacked.

    Returns the copies one after another, and which input each row has changed, an index into `model.modalities`. What
    is raised is the cross-entropy of the targets, over all `steps`, from a random point of the ball; continuous inputs
    move together, each in its own copy, so that one backward pass serves all of them.
    """
    moving = {m: b for m, b in allowed.items() if batch.modalities[m].continuous}
    spoken = [m for m in allowed if m not in moving]
    copies = [_ascended(model, batch, moving, steps)] if moving else []
    copies += [attacked(model, batch, {m: allowed[m]}, steps, seed).inputs for m in spoken]
    index = [model.modalities.index(m) for m in (*moving, *spoken)]
    rows = Batch(
        modalities=batch.modalities,
        inputs={m: concatenate([c[m] for c in copies]) for m in model.modalities},
        targets=batch.targets.repeat(len(index)),
        ids=[f"{i}, {k}" for k in index for i in batch.ids],
        present={m: p.repeat(len(index)) for m, p in batch.present.items()},
    )
    return rows, torch.tensor(index).repeat_interleave(len(batch))


def _ascended(model: Model, batch: Batch, moving: Mapping[str, Budget], steps: int) -> Mapping[str, Value]:
    """Inputs of all copies, the k-th of which has the k-th of `moving` attacked."""
    n = len(batch)
    x = {m: concatenate([batch.inputs[m]] * len(moving)) for m in model.modalities}
    targets = batch.targets.repeat(len(moving))
    own = {m: torch.arange(k * n, (k + 1) * n) for k, m in enumerate(moving)}

    def moved(m: str, step: Tensor) -> Value:
        origin, budget = batch.inputs[m], moving[m]
        inside = batch.modalities[m].project(x[m][own[m]] + step, origin, budget.p, budget.radius)
        kept = where(batch.present[m], inside, origin) if m in batch.present else inside
        return x[m].index_copy(0, own[m], kept)

    x |= {m: moved(m, b.radius * (2 * torch.rand_like(batch.inputs[m]) - 1)) for m, b in moving.items()}
    for _ in range(steps):
        leaves = {m: x[m].requires_grad_() for m in moving}
        with torch.enable_grad():
            loss = functional.cross_entropy(model.predict(x), targets, reduction="sum")
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        x |= {m: v.detach() for m, v in leaves.items()}
        for (m, b), g in zip(moving.items(), gradients, strict=True):
            x[m] = moved(m, 2.5 * b.radius / steps * direction(g[own[m]], b.p))
    return x


def copies_loss(model: Model, batch: Batch, changed: Batch) -> Tensor:
    """Cross-entropy on the samples themselves plus the sum over inputs of that on their copies."""
    hard = len(changed) // max(1, len(batch)) * task_loss(model, changed)
    return task_loss(model, batch) + hard


@register
@dataclass(frozen=True, kw_only=True)
class SingleSourceTraining(Retraining):
    """Adversarial training in which one input at a time is attacked: the same network, no new parts.

    What `odd_one_out` is measured against. radii, words: as of adversarial training; a continuous input without a usual
    radius is given a quarter of the standard deviation that its values have in the training data.
    """

    name = "single_source_training"
    does = "Trains on the worst case of each input alone, against attacks on a single input."
    source = "baseline of Yang et al., CVPR 2021 (end-to-end adversarial training)"
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.TRAIN})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}
    stops_early = False

    radii: tuple[tuple[str, float], ...] = ()
    words: int = 0
    steps: int = 5
    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3

    def applies(self, model: Model, schema: Schema) -> str | None:
        return no_input(model, schema, self.words)

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        allowed = allowed_of(data, model, self.radii, self.words)

        def worst(batch: Batch) -> Tensor:
            changed, _ = single_source(model, batch, allowed, steps=self.steps, seed=seed)
            return copies_loss(model, batch, changed)

        return Objective(worst)


def no_input(model: Model, schema: Schema, words: int) -> str | None:
    """Why nothing can be attacked here, if so."""
    if any(schema.modalities[m].continuous for m in model.modalities) or words:
        return None
    return "all inputs are texts: say how many words may be replaced (words: 1)"
