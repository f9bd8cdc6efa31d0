"""Climbing a loss inside a ball per modality: what every gradient attack does, on decisions, codes or anything else.

`ascend` walks rows of several inputs at once, one backward pass a step for all of them; how a row moves is a `Walk`'s
business, what it climbs an objective's. A row belongs to a sample, and several rows (starts) may belong to one: as
soon as one of them is decided, none of the sample's rows is attacked any further.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.meter import Metered
from muroan.modality import Modality, where
from muroan.randomness import key, sample_keys, uniform

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Seen:
    """What an objective says of R rows: loss [R] with a graph; decided [R]: nothing more to gain; outcome [R, ...]."""

    loss: Tensor
    decided: Tensor
    outcome: Tensor


Objective = Callable[[Inputs, Tensor], Seen]
"""(inputs [R, ...] per moving modality, sample [R] that each row belongs to) -> what it says of them."""


@dataclass
class Room:
    """Where R rows may go: around `origin`, within `budgets`, and nowhere in what a sample does not have."""

    modalities: Mapping[str, Modality]
    budgets: Mapping[str, Budget]
    origin: Inputs
    present: Mapping[str, Tensor] = field(default_factory=dict)
    _bounds: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @staticmethod
    def around(batch: Batch, budgets: Mapping[str, Budget], sample: Tensor) -> Room:
        """The room of the samples `sample` [R] of a batch."""
        origin = {m: batch.inputs[m].index_select(0, sample) for m in budgets}
        return Room(batch.modalities, budgets, origin, {m: p[sample] for m, p in batch.present.items()})

    def clip(self, m: str, ahead: Tensor) -> Tensor:
        """The nearest that modality m may be to `ahead`."""
        b, modality = self.budgets[m], self.modalities[m]
        if b.p == float("inf") and type(modality).project is Modality.project:
            # What `project` does, in one pass over the values instead of four: it is done at every step.
            inside = torch.clamp(ahead, *self._bounded(m, b.radius))
        else:
            inside = modality.project(ahead, self.origin[m], b.p, b.radius)
        # What a sample does not have cannot be attacked: its neutral value stays as it is.
        kept: Tensor = where(self.present[m], inside, self.origin[m]) if m in self.present else inside
        return kept

    def _bounded(self, m: str, radius: float) -> tuple[Tensor, Tensor]:
        """The least and the most that each value may be."""
        if m not in self._bounds:
            x, modality = self.origin[m], self.modalities[m]
            self._bounds[m] = (x - radius).clamp_min(modality.low), (x + radius).clamp_max(modality.high)
        return self._bounds[m]

    def drawn(self, m: str, ids: list[str], seed: int, *purpose: object) -> Tensor:
        """Random points of modality m's balls, one a row, by the samples' ids alone."""
        b, x = self.budgets[m], self.origin[m]
        keys = sample_keys(ids, seed, *purpose)
        if b.p == float("inf"):
            noise = torch.from_numpy(uniform(keys, *x.shape[1:]) * 2 - 1).to(x.dtype) * b.radius
            return self.clip(m, x + noise)
        length = uniform(keys ^ np.uint64(key("length"))) ** (1 / max(1, x[0].numel()))
        far = self.modalities[m].random_change(x, b.p, b.radius, keys)
        return self.clip(m, x + (far - x) * torch.from_numpy(length).to(x.dtype).view(-1, *[1] * (x.ndim - 1)))

    def take(self, rows: Tensor) -> Room:
        """The room of some of the rows."""
        return Room(
            self.modalities,
            self.budgets,
            {m: v[rows] for m, v in self.origin.items()},
            {m: p[rows] for m, p in self.present.items()},
        )


class Walk(ABC):
    """How rows move: keeps what it remembers of them, one entry a row."""

    @abstractmethod
    def move(self, t: int, room: Room, x: Inputs, gradients: Inputs, loss: Tensor) -> Inputs:
        """The next points of all rows after step t, from the points x, the loss [R] there and its gradients."""

    def take(self, rows: Tensor) -> None:
        """Forget all rows but these (a mask)."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.ndim:
                setattr(self, name, value[rows])
            elif isinstance(value, dict):
                setattr(self, name, {m: v[rows] for m, v in value.items()})


@dataclass
class Best:
    """The worst case so far, per sample of N, and what the first step said about the gradients.

    inputs[m], loss [N], outcome [N, ...] at the first point that decided the sample, else at the one of highest loss;
    steps [N]: the step that decided it, −1 if none; first [N]: the loss of the sample itself; zero [N]: no moving
    input had a gradient at the first step; promised, kept [N]: how much the first step from the sample itself should
    raise the loss by its gradient there, and did; passes [N]: rows of forward and backward passes spent on the sample.
    """

    inputs: Inputs
    loss: Tensor
    outcome: Tensor
    first: Tensor
    steps: Tensor
    zero: Tensor
    promised: Tensor
    kept: Tensor
    passes: Tensor

    @staticmethod
    def at(batch: Batch, moving: Mapping[str, Budget], loss: Tensor, outcome: Tensor) -> Best:
        """Nothing tried yet: the samples themselves, with their loss and outcome."""
        n = len(batch)
        return Best(
            inputs={m: batch.inputs[m].clone() for m in moving},
            loss=loss.clone(),
            outcome=outcome.clone(),
            first=loss.clone(),
            steps=torch.full((n,), -1),
            zero=torch.ones(n, dtype=torch.bool),
            promised=torch.zeros_like(loss),
            kept=torch.zeros_like(loss),
            passes=torch.zeros(n, dtype=torch.long),
        )

    @property
    def left(self) -> Tensor:
        """Samples that nothing has decided yet, long."""
        return (self.steps < 0).nonzero().flatten()

    def keep(self, t: int, sample: Tensor, x: Inputs, seen: Seen) -> None:
        """Remember the rows that decide their sample, or raise its loss; of several rows of a sample the worst."""
        loss = seen.loss.detach()
        rank = torch.where(seen.decided, torch.inf, loss)
        order = rank.argsort(stable=True)
        order = order[sample[order].argsort(stable=True)]  # by sample, within it the worst last
        ends = torch.ones(len(order), dtype=torch.bool)
        ends[:-1] = sample[order][1:] != sample[order][:-1]
        rows = order[ends]
        rows = rows[seen.decided[rows] | (loss[rows] > self.loss[sample[rows]])]
        chosen = sample[rows]
        for m, v in self.inputs.items():
            v[chosen] = x[m].detach()[rows]
        self.outcome[chosen], self.loss[chosen] = seen.outcome.detach()[rows], loss[rows]
        self.steps[sample[seen.decided]] = t


def ascend(
    model: Metered,
    objective: Objective,
    walk: Walk,
    room: Room,
    x: Inputs,
    sample: Tensor,
    best: Best,
    *,
    steps: int,
    itself: Tensor | None = None,
) -> None:
    """Walk R rows `steps` steps up the objective from `x`; what is found goes into `best`.

    sample [R]: which sample a row belongs to; itself [R]: rows that begin at their sample, on whose first step the
    gradient's promise is checked. steps + 1 forward and `steps` backward passes a row that stays undecided.
    """
    itself = torch.zeros(len(sample), dtype=torch.bool) if itself is None else itself
    for t in range(steps + 1):
        last = t == steps
        leaves = {m: v.detach().requires_grad_(not last) for m, v in x.items()}
        with torch.set_grad_enabled(not last):
            seen = objective(leaves, sample)
        loss = seen.loss.detach()
        best.passes.index_add_(0, sample, torch.ones_like(sample))
        if t == 1 and bool(itself.any()):
            best.kept[sample[itself]] = loss[itself] - best.first[sample[itself]]
        best.keep(t, sample, leaves, seen)
        if last:
            break
        if t and not bool((best.steps[sample] < 0).any()):
            break  # nobody is left who would need the gradient
        wanted = list(leaves.values())
        gradients = dict(zip(leaves, model.backward(seen.loss.sum(), wanted, len(sample)), strict=True))
        best.passes.index_add_(0, sample, torch.ones_like(sample))
        x = walk.move(t, room, {m: v.detach() for m, v in leaves.items()}, gradients, loss)
        if t == 0:
            some = torch.stack([(g != 0).flatten(1).any(dim=1) for g in gradients.values()]).any(dim=0)
            best.zero[sample[some]] = False
            for m, g in gradients.items():
                along = (g.double() * (x[m] - leaves[m].detach()).double()).flatten(1).sum(dim=1)
                best.promised[sample[itself]] += along[itself]
        open_ = best.steps[sample] < 0
        if not bool(open_.all()):
            if not bool(open_.any()):
                break
            sample, itself, room = sample[open_], itself[open_], room.take(open_)
            x = {m: v[open_] for m, v in x.items()}
            walk.take(open_)


def direction(gradient: Tensor, p: float) -> Tensor:
    """Steepest ascent of length 1 in the norm: signs for p = ∞, the normalised gradient for p = 2."""
    if p == float("inf"):
        return gradient.sign()
    norm: Tensor = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient / norm.clamp_min(1e-30)
