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
from muroan.budget import Budget, Budgets, movable
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Climb, Inputs, Room, Walk, ascend
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.results import in_parts
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.worst import Seen
from muroan.meter import Metered
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
        moving = movable(model.modalities, budgets)
        size = max(1, ROWS // (self.restarts if self.stacked else 1)) if moving else len(batch)

        def some(part: Batch, at: range) -> Attacked:
            return self._some(Stage.of(model, part), moving, seed, None if begin is None else begin.take(at))

        return in_parts(batch, size, some)

    def _some(self, stage: Stage, moving: Mapping[str, Budget], seed: int, begin: Batch | None) -> Attacked:
        goals = self.goals(stage.logits, stage.predicted)
        first = goals[0](stage.logits, stage.predicted, stage.every).detach()
        best = Climb.at(stage.batch, moving, first, stage.logits)
        every = range(self.restarts)
        for goal, starts in product(goals, [list(every)] if self.stacked else [[k] for k in every]):
            left = best.left
            if not moving or not len(left):
                break
            here = Room.around(stage.batch, moving, left)
            x = {m: torch.cat([self._start(here, m, k, seed, begin) for k in starts]) for m in moving}
            room = here.take(torch.arange(len(left)).repeat(len(starts)))
            itself = torch.tensor(starts).repeat_interleave(len(left)) == 0
            itself &= begin is None and goal is goals[0]

            def objective(x: Inputs, sample: Tensor, goal: Goal = goal) -> Seen:
                logits, mine = stage.differentiable(x, sample), stage.predicted[sample]
                return Seen(goal(logits, mine, sample), logits.detach().argmax(dim=1) != mine, logits.detach())

            walk = self.walk(len(room.sample))
            ascend(stage.model, objective, walk, room, x, best, steps=self.steps, itself=itself)
        trace = {"loss_first": best.first, "loss_best": best.loss, "steps": best.steps}
        trace |= {"zero_gradient": best.zero & bool(moving), "promised": best.promised, "kept": best.kept}
        return best.attacked(trace | {"passes": best.passes})

    def _start(self, room: Room, m: str, start: int, seed: int, begin: Batch | None) -> Tensor:
        """Where rows begin: at their samples or at `begin` (start 0), or at random points of their balls."""
        if start:
            return room.drawn(m, seed, self.name, m, start)
        return room.origin[m] if begin is None else room.clip(m, begin.inputs[m][room.sample])
