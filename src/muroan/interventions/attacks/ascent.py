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
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Metered
from muroan.modality import Modality, rowwise, where
from muroan.randomness import Words, key, sample_keys, uniform

Inputs = dict[str, Tensor]

Objective = Callable[[Inputs, Tensor], Seen]
"""(inputs [R, ...] per moving modality, sample [R] that each row belongs to) -> what it says of them."""


@dataclass
class Room:
    """Where R rows may go: around `origin`, within `budgets`, and nowhere in what a sample does not have.

    sample [R]: which of the batch's samples a row belongs to.
    """

    batch: Batch
    budgets: Mapping[str, Budget]
    sample: Tensor
    origin: Inputs
    present: Mapping[str, Tensor] = field(default_factory=dict)
    _bounds: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @staticmethod
    def around(batch: Batch, budgets: Mapping[str, Budget], sample: Tensor) -> Room:
        """The room of the samples `sample` [R] of a batch."""
        origin = {m: batch.inputs[m].index_select(0, sample) for m in budgets}
        return Room(batch, budgets, sample, origin, {m: p[sample] for m, p in batch.present.items()})

    def clip(self, m: str, ahead: Tensor) -> Tensor:
        """The nearest that modality m may be to `ahead`."""
        b, modality = self.budgets[m], self.batch.modalities[m]
        if b.p == float("inf") and type(modality).project is Modality.project:
            # What `project` does, in one pass over the values instead of four: it is done at every step.
            inside = torch.clamp(ahead, *self._bounded(m))
        else:
            inside = modality.project(ahead, self.origin[m], b.p, b.radius)
        return self.kept(m, inside)

    def kept(self, m: str, x: Tensor) -> Tensor:
        """x, but what a sample does not have cannot be attacked: its neutral value stays as it is."""
        value: Tensor = where(self.present[m], x, self.origin[m]) if m in self.present else x
        return value

    def _bounded(self, m: str) -> tuple[Tensor, Tensor]:
        """The least and the most that each value may be, L∞."""
        if m not in self._bounds:
            x, modality, radius = self.origin[m], self.batch.modalities[m], self.budgets[m].radius
            self._bounds[m] = (x - radius).clamp_min(modality.low), (x + radius).clamp_max(modality.high)
        return self._bounds[m]

    def ends(self, m: str) -> tuple[Tensor, Tensor]:
        """The radius down and the radius up in every value, as far as that is allowed."""
        x, radius = self.origin[m], self.budgets[m].radius
        return self.clip(m, x - radius), self.clip(m, x + radius)

    def keys(self, *purpose: object) -> Words:
        """One random key a row for this purpose, by its sample's id alone."""
        return sample_keys([self.batch.ids[i] for i in self.sample.tolist()], *purpose)

    def drawn(self, m: str, *purpose: object) -> Tensor:
        """Random points of modality m's balls, one a row."""
        b, x, keys = self.budgets[m], self.origin[m], self.keys(*purpose)
        if b.p == float("inf"):
            noise = torch.from_numpy(uniform(keys, *x.shape[1:]) * 2 - 1).to(x.dtype) * b.radius
            return self.clip(m, x + noise)
        length = uniform(keys ^ np.uint64(key("length"))) ** (1 / max(1, x[0].numel()))
        far = self.batch.modalities[m].random_change(x, b.p, b.radius, keys)
        return self.clip(m, x + (far - x) * rowwise(torch.from_numpy(length).to(x.dtype), x))

    def take(self, rows: Tensor) -> Room:
        """The room of some of the rows."""
        origin, present = ({m: v[rows] for m, v in held.items()} for held in (self.origin, self.present))
        return Room(self.batch, self.budgets, self.sample[rows], origin, present)


class Walk(ABC):
    """How rows move: keeps what it remembers of them, one entry a row."""

    def move(self, t: int, room: Room, x: Inputs, gradients: Inputs, loss: Tensor) -> Inputs:
        """The next points of all rows after step t, from the points x, the loss [R] there and its gradients."""
        return {m: room.clip(m, self.ahead(m, v, gradients[m], room.budgets[m])) for m, v in x.items()}

    @abstractmethod
    def ahead(self, m: str, x: Tensor, gradient: Tensor, budget: Budget) -> Tensor:
        """Where one modality's points would go, however far that is."""

    def take(self, rows: Tensor) -> None:
        """Forget all rows but these (a mask)."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.ndim:
                setattr(self, name, value[rows])
            elif isinstance(value, dict):
                setattr(self, name, {m: v[rows] for m, v in value.items()})


@dataclass
class Climb(Worst):
    """The worst case so far, and what the first step said about the gradients.

    zero [N]: no moving input had a gradient at the first step; promised, kept [N]: how much the first step from the
    sample itself should raise the loss by its gradient there, and did.
    """

    def __post_init__(self) -> None:
        self.zero = torch.ones(len(self.batch), dtype=torch.bool)
        self.promised, self.kept = torch.zeros_like(self.loss), torch.zeros_like(self.loss)


def ascend(
    model: Metered,
    objective: Objective,
    walk: Walk,
    room: Room,
    x: Inputs,
    best: Climb,
    *,
    steps: int,
    itself: Tensor | None = None,
) -> None:
    """Walk R rows `steps` steps up the objective from `x`; what is found goes into `best`.

    itself [R]: rows that begin at their sample, on whose first step the gradient's promise is checked. steps + 1
    forward and `steps` backward passes a row that stays undecided.
    """
    itself = torch.zeros(len(room.sample), dtype=torch.bool) if itself is None else itself
    for t in range(steps + 1):
        last, sample = t == steps, room.sample
        leaves = {m: v.detach().requires_grad_(not last) for m, v in x.items()}
        with torch.set_grad_enabled(not last):
            seen = objective(leaves, sample)
        loss = seen.loss.detach()
        best.passes.index_add_(0, sample, torch.ones_like(sample))
        if t == 1 and bool(itself.any()):
            best.kept[sample[itself]] = loss[itself] - best.first[sample[itself]]
        best.keep(t, sample, {m: v.detach() for m, v in leaves.items()}, seen)
        if last or (t and not bool((best.steps[sample] < 0).any())):
            break  # nobody is left who would need the gradient
        gradients = dict(zip(leaves, model.backward(seen.loss.sum(), list(leaves.values()), len(sample)), strict=True))
        best.passes.index_add_(0, sample, torch.ones_like(sample))
        x = walk.move(t, room, {m: v.detach() for m, v in leaves.items()}, gradients, loss)
        if t == 0:
            some = torch.stack([(g != 0).flatten(1).any(dim=1) for g in gradients.values()]).any(dim=0)
            best.zero[sample[some]] = False
            for m, g in gradients.items():
                along = (g.double() * (x[m] - leaves[m].detach()).double()).flatten(1).sum(dim=1)
                best.promised[sample[itself]] += along[itself]
        open_ = best.steps[sample] < 0
        if not bool(open_.any()):
            break
        if not bool(open_.all()):
            itself, room = itself[open_], room.take(open_)
            x = {m: v[open_] for m, v in x.items()}
            walk.take(open_)


def direction(gradient: Tensor, p: float) -> Tensor:
    """Steepest ascent of length 1 in the norm: signs for p = ∞, the normalised gradient for p = 2."""
    if p == float("inf"):
        return gradient.sign()
    return gradient / rowwise(gradient.flatten(1).norm(dim=1).clamp_min(1e-30), gradient)
