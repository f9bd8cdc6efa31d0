"""What all attacks on a decision by gradients share: starts, the drop of what is decided, the worst case."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Best, Inputs, Objective, Room, Seen, Walk, ascend
from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Codes, Metered
from muroan.model import Capability

Goal = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits [R, K], labels [R] to leave, sample [R] whose rows they are) -> what is climbed, [R]."""
ROWS = 512
"""Rows that are worked on at once: bounds the memory of the backward pass."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """Ascends a loss of the model's own decision inside every modality's ball, from one or more starts.

    The result of a sample is the worst case over all steps and starts: the first point that changes the decision, else
    the one of highest loss. A sample that is decided is dropped from the steps that remain and from all other starts.

    `trace`: loss_first, loss_best [N], steps [N] until success (−1: none), zero_gradient [N] (no attacked value had a
    gradient at the first step); promised [N]: how much the first step from the sample itself should raise the loss,
    by its gradient there; kept [N]: how much it did; passes [N]: forward and backward passes spent on the sample.

    steps: of the ascent. restarts: starts, the first being the sample itself, the others random points of the balls.
    stacked: all starts in one batch, which an accelerator with room to spare does in the time of one; on a processor it
    costs more than it saves, since every start attacks what the first would have decided. What succeeds is the same.
    """

    needs = frozenset({Capability.SCORES, Capability.GRADIENTS})

    steps: int = 15
    restarts: int = 2
    stacked: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise AskedWrongly(f"{self.name} needs at least one step and start, got {self.steps} and {self.restarts}")

    @abstractmethod
    def walk(self, rows: int) -> Walk:
        """How `rows` rows move."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What is climbed, [R], of logits [R, K]; labels [R]: the decisions to leave."""
        return loss_of(logits, labels)

    def goals(self, clean: Tensor, labels: Tensor) -> list[Goal]:
        """What is climbed one after another, each from every start; clean [N, K]: logits of the samples themselves.

        Values of several goals are compared: the worst case is the highest of any.
        """
        return [lambda logits, labels, sample: self.loss(logits, labels)]

    def run(
        self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0, begin: Batch | None = None
    ) -> Attacked:
        """Attack every sample; begin: the same samples where an attack on less left them, for the first start."""
        model.require(*self.needs)
        moving = attackable(model, batch, budgets)
        n = len(batch)
        if not moving or n == 0:
            return untouched(model, batch)
        size = max(1, ROWS // (self.restarts if self.stacked else 1))
        parts = [
            self._some(
                model,
                batch.take(range(k, min(k + size, n))) if n > size else batch,
                moving,
                seed,
                None if begin is None else {m: begin.inputs[m][k : k + size] for m in moving},
            )
            for k in range(0, n, size)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    def _some(
        self, model: Metered, batch: Batch, moving: Mapping[str, Budget], seed: int, begin: Inputs | None
    ) -> Attacked:
        codes, index = model.codes(batch)
        clean = model.logits(codes, index, batch.present or None)
        labels = clean.argmax(dim=1)
        still = {m: codes[m].take(index[m]) for m in model.modalities if m not in moving}
        goals = self.goals(clean, labels)
        best = Best.at(batch, moving, goals[0](clean, labels, torch.arange(len(batch))).detach(), clean)
        every = range(self.restarts)
        for goal, starts in product(goals, [list(every)] if self.stacked else [[k] for k in every]):
            left = best.left
            if len(left):
                objective = self._objective(model, batch, still, labels, goal)
                sample = left.repeat(len(starts))
                room = Room.around(batch, moving, sample)
                x = self._starts(batch, room, left, starts, seed, begin)
                itself = (torch.tensor(starts).repeat_interleave(len(left)) == 0) & (begin is None and goal is goals[0])
                walk = self.walk(len(sample))
                ascend(model, objective, walk, room, x, sample, best, steps=self.steps, itself=itself)
        trace = {"loss_first": best.first, "loss_best": best.loss, "steps": best.steps, "zero_gradient": best.zero}
        trace |= {"promised": best.promised, "kept": best.kept, "passes": best.passes}
        return Attacked(batch.with_inputs(**best.inputs), best.steps >= 0, best.outcome, trace)

    def _objective(
        self, model: Metered, batch: Batch, still: Mapping[str, Codes], labels: Tensor, goal: Goal
    ) -> Objective:
        def objective(x: Inputs, sample: Tensor) -> Seen:
            fixed = {m: c.take(sample) for m, c in still.items()}
            logits = model.differentiable({**fixed, **x}, {m: p[sample] for m, p in batch.present.items()})
            mine = labels[sample]
            return Seen(goal(logits, mine, sample), logits.detach().argmax(dim=1) != mine, logits.detach())

        return objective

    def _starts(
        self, batch: Batch, room: Room, left: Tensor, starts: list[int], seed: int, begin: Inputs | None
    ) -> Inputs:
        """Where the rows begin: the samples themselves or `begin` (start 0), or random points of their balls."""
        out: Inputs = {}
        for m, origin in room.origin.items():
            parts = []
            for k, start in enumerate(starts):
                rows = torch.zeros(len(origin), dtype=torch.bool)
                rows[k * len(left) : (k + 1) * len(left)] = True
                here = room.take(rows)
                ids = [batch.ids[i] for i in left.tolist()]
                if start:
                    parts.append(here.drawn(m, ids, seed, self.name, m, start))
                else:
                    parts.append(here.origin[m] if begin is None else here.clip(m, begin[m][left]))
            out[m] = torch.cat(parts)
        return out


def attackable(model: Metered, batch: Batch, budgets: Budgets) -> dict[str, Budget]:
    """The continuous modalities with a radius to move in."""
    return {
        m: budgets[m]
        for m in model.modalities
        if m in budgets and budgets[m].radius > 0 and batch.modalities[m].continuous
    }


def untouched(model: Metered, batch: Batch) -> Attacked:
    """The result where there is nothing to move."""
    n = len(batch)
    logits = model.of(batch)
    flat = loss_of(logits, logits.argmax(dim=1))
    trace = {"loss_first": flat, "loss_best": flat, "steps": torch.full((n,), -1), "zero_gradient": torch.zeros(n) > 0}
    trace |= {"promised": torch.zeros_like(flat), "kept": torch.zeros_like(flat), "passes": torch.zeros(n).long()}
    return Attacked(batch, torch.zeros(n, dtype=torch.bool), logits, trace)


def joined(parts: list[Attacked]) -> Attacked:
    """The results of several batches one after another."""
    return Attacked(
        Batch.concat([p.batch for p in parts]),
        torch.cat([p.success for p in parts]),
        torch.cat([p.logits for p in parts]),
        {k: torch.cat([p.trace[k] for p in parts]) for k in parts[0].trace},
    )
