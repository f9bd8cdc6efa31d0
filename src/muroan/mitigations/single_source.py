"""Adversaries of one input at a time, and training on them.

A single-source adversary changes one of k inputs and leaves the rest alone. Each is made against the whole model as it
is at that step, detectors and fusion included; none is kept for later, when the model would have moved on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.budget import Budget
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import direction
from muroan.mitigation import Retraining, members
from muroan.mitigations.adversarial_training import attacked, budgets
from muroan.modality import concatenate, where
from muroan.model import Capability, Model
from muroan.registry import register
from muroan.training import Loss, Trainer

SHARE = 0.25
"""Radius of kinds without a usual one, in standard deviations of the training data over all values of the input."""
SEEN = 512
"""Training samples that the standard deviation is taken from."""


def allowed_of(data: Dataset, model: Model, radii: tuple[tuple[str, float], ...], words: int) -> dict[str, Budget]:
    """Modality -> budget: given radii over the usual ones of its kind, over a quarter of a standard deviation."""
    found = budgets(data.schema, model, radii, words)
    given = dict(radii)
    rest = [m for m in model.modalities if data.schema.modalities[m].continuous and m not in found and m not in given]
    if rest:
        batch = data.load(range(min(len(data), SEEN))).batch
        if batch is not None:
            found |= {m: Budget(radius=SHARE * float(batch.inputs[m].double().std())) for m in rest}
    return {m: found[m] for m in model.modalities if m in found}


def single_source(
    model: Model, batch: Batch, allowed: Mapping[str, Budget], *, steps: int, seed: int = 0
) -> tuple[Batch, Tensor]:
    """A copy of the batch for each input of `allowed`, in which that input alone is attacked.

    Returns the copies one after another, and which input each row has changed, an index into `model.modalities`. What
    is raised is the cross-entropy of the targets, over all `steps`, from a random point of the ball; continuous inputs
    move together, each in its own copy, so that one backward pass serves all of them.
    """
    n = len(batch)
    moving = {m: b for m, b in allowed.items() if batch.modalities[m].continuous}
    spoken = [m for m in allowed if m not in moving]
    copies: list[Batch] = []
    if moving:
        copies.append(_ascended(model, batch, moving, steps))
    copies += [attacked(model, batch, {m: allowed[m]}, steps, seed) for m in spoken]
    index = [model.modalities.index(m) for m in (*moving, *spoken)]
    inputs = {m: concatenate([c.inputs[m] for c in copies]) for m in batch.inputs}
    times = len(index)
    rows = Batch(
        modalities=batch.modalities,
        inputs=inputs,
        targets=batch.targets.repeat(times),
        ids=[f"{i}, {k}" for k in index for i in batch.ids],
        present={m: p.repeat(times) for m, p in batch.present.items()},
    )
    return rows, torch.tensor(index).repeat_interleave(n)


def _ascended(model: Model, batch: Batch, moving: Mapping[str, Budget], steps: int) -> Batch:
    n, times = len(batch), len(moving)
    origin = {m: batch.inputs[m].repeat(times, *[1] * (batch.inputs[m].ndim - 1)) for m in moving}
    still = {m: concatenate([v] * times) for m, v in batch.inputs.items() if m not in moving and m in model.modalities}
    targets = batch.targets.repeat(times)
    mine = {m: slice(k * n, (k + 1) * n) for k, m in enumerate(moving)}
    x = {m: v.clone() for m, v in origin.items()}
    for m, b in moving.items():
        here = x[m][mine[m]]
        drawn = here + b.radius * (2 * torch.rand_like(here) - 1)
        x[m][mine[m]] = _inside(batch, m, drawn, b)
    for _ in range(steps):
        leaves = {m: v.detach().requires_grad_() for m, v in x.items()}
        with torch.enable_grad():
            loss = functional.cross_entropy(model.predict({**still, **leaves}), targets, reduction="sum")
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        for (m, b), g in zip(moving.items(), gradients, strict=True):
            step = 2.5 * b.radius / steps * direction(g[mine[m]], b.p)
            x[m] = leaves[m].detach().clone()
            x[m][mine[m]] = _inside(batch, m, x[m][mine[m]] + step, b)
    changed: dict[str, Tensor] = x
    ids = [f"{i} {k}" for k in range(times) for i in batch.ids]
    return Batch(modalities=batch.modalities, inputs={**still, **changed}, targets=targets, ids=ids)


def _inside(batch: Batch, m: str, x: Tensor, budget: Budget) -> Tensor:
    inside = batch.modalities[m].project(x, batch.inputs[m], budget.p, budget.radius)
    kept: Tensor = where(batch.present[m], inside, batch.inputs[m]) if m in batch.present else inside
    return kept


def task_loss(model: Model, batch: Batch, changed: Batch) -> Tensor:
    """Cross-entropy on the samples themselves plus the sum over inputs of that on their copies."""
    copies = len(changed) // max(1, len(batch))
    hard = functional.cross_entropy(model.predict(changed.inputs), changed.targets)
    return functional.cross_entropy(model.predict(batch.inputs), batch.targets) + copies * hard


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

    radii: tuple[tuple[str, float], ...] = ()
    words: int = 0
    steps: int = 5
    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3

    def applies(self, model: Model, schema: Schema) -> str | None:
        return no_input(model, schema, self.words)

    def train(self, model: Model, data: Splits, trainer: Trainer, *, seed: int) -> tuple[str, ...]:
        fit_on = members(data, self.name)
        allowed = allowed_of(fit_on, model, self.radii, self.words)
        schedule = self.schedule(self.epochs)
        done = trainer.named(self.name).fit(
            model.trainable(), self.loss(model, allowed, seed), fit_on, schedule, seed=seed
        )
        return (done.note,)

    def loss(self, model: Model, allowed: Mapping[str, Budget], seed: int) -> Loss:
        def worst(batch: Batch) -> Tensor:
            changed, _ = single_source(model, batch, allowed, steps=self.steps, seed=seed)
            return task_loss(model, batch, changed)

        return worst


def no_input(model: Model, schema: Schema, words: int) -> str | None:
    """Why nothing can be attacked here, if so."""
    if any(schema.modalities[m].continuous for m in model.modalities) or words:
        return None
    return "all inputs are texts: say how many words may be replaced (words: 1)"


def vectors(model: Model, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
    """Codes [N, D] by input; raises `AskedWrongly` where a code is no vector."""
    out = {}
    for m in names:
        code = model.encode(m, batch.inputs[m])
        if not isinstance(code, Tensor) or code.ndim != 2:
            shape = tuple(code.shape) if isinstance(code, Tensor) else "a tuple"
            raise AskedWrongly(f"codes of {m} are {shape}; this defence compares codes that are vectors [N, D]")
        out[m] = code
    return out
