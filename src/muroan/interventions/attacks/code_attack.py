"""What attacks on codes share: words, then an ascent of a goal of codes from a random start, and perhaps words again.

A distance from the clean code has no gradient at the clean input itself, so the ascent begins at a random point of the
ball; on both sides of it, since a start in [0, radius] alone leaves half of the ball to the steps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets, movable, worded
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.ascent import Climb, Inputs, Room, ascend
from muroan.interventions.attacks.guided_text import Spoken
from muroan.interventions.attacks.pgd import Steps
from muroan.interventions.attacks.results import in_parts
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.worst import Seen
from muroan.meter import Codes, Metered
from muroan.modality import Value, put
from muroan.model import Capability

ROWS = 128
"""Samples that are worked on at once; a step may encode several copies of each."""

Goal = Callable[[Inputs, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(moving inputs [R, ...], sample [R]) -> what is climbed [R], and the codes of the inputs as they are, by modality."""


@dataclass(frozen=True)
class Plan:
    """What an attack does to one stage. climb: what moving inputs climb beside the new words; said: the new words,
    by modality; again: the words searched anew beside the moved inputs, if at all; holds: those that the inputs were
    moved under stay where they suffice; copies: of an input that a step encodes."""

    climb: Callable[[Stage], Goal]
    said: Mapping[str, Spoken] = field(default_factory=dict)
    again: Callable[[Stage], Mapping[str, Spoken]] | None = None
    holds: bool = True
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class CodeAttack(Attack):
    """Attacks what encoders say; a success is still a changed decision.

    steps: of the ascent; step: each one's length as a share of the radius. start: "ball" anywhere in it, "positive"
    with no value below the sample's (as some published code), "sample" at the sample itself. stop: leave a sample alone
    once its decision has changed; False goes on, as is better for what is meant to work on another model too.

    `trace`: loss_first, loss_best [N]: of what the ascent climbs; steps [N] until the decision changed (-1: never);
    zero_gradient [N]; words [N] replaced; calls [N]: values that were encoded for the sample, forward and backward, if
    it were attacked alone (in a batch equal texts are encoded once).
    """

    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS})

    latest: ClassVar[bool] = False
    """Whether the last point is handed back and not the best: where what is climbed changes from step to step."""

    steps: int = 10
    step: float = 0.125
    start: Literal["ball", "positive", "sample"] = "ball"
    stop: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.step <= 0:
            raise AskedWrongly(f"{self.name} needs at least one step of some length, got {self.steps} of {self.step}")
        if self.start not in ("ball", "positive", "sample"):
            raise AskedWrongly(f"{self.name} starts in the 'ball', 'positive' or at the 'sample', not {self.start!r}")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        if not model.apart:
            raise NotApplicable(f"{self.name} attacks codes, which calls of the whole model do not give")
        moving, words = movable(model.modalities, budgets), worded(model.modalities, budgets)
        return in_parts(batch, ROWS, lambda part, at: self._some(Stage.of(model, part), moving, words, seed))

    @abstractmethod
    def plan(self, clean: Stage, moving: Budgets, words: Budgets, seed: int) -> Plan:
        """What to do to these samples; `moving` and `words` may be empty."""

    def _some(self, clean: Stage, moving: Budgets, words: Budgets, seed: int) -> Attacked:
        """Attack samples that fit in memory together."""
        plan, model, n = self.plan(clean, moving, words, seed), clean.model, len(clean.batch)
        said = dict(plan.said)
        stage = clean.changed({m: s.texts for m, s in said.items()}, {m: s.codes for m, s in said.items()})
        open_ = (~stage.left({}, stage.every)).nonzero().flatten() if self.stop and words else stage.every
        best = self._ascent(stage, moving, plan.climb(stage), open_, seed)
        if plan.again and moving and words:
            moved = {m: model.encode(m, v, anew=True) for m, v in best.inputs.items()}
            stays = stage.left(moved, stage.every) if plan.holds else torch.zeros(n, dtype=torch.bool)
            said = {m: s.unless(stays, said[m]) for m, s in plan.again(clean.changed({}, moved)).items()}
        texts = {m: s.texts for m, s in said.items() if s.texts != list(clean.batch.inputs[m])}
        batch = clean.batch.with_inputs(**best.inputs, **texts)
        # What counts is the decision on what is handed back.
        logits = model.of(batch)
        trace = {"loss_first": best.first, "loss_best": best.loss, "steps": best.steps, "zero_gradient": best.zero}
        # The clean input and the result, texts looked at, and the ascent, whose goal is read once before it begins.
        tried = sum((s.tried for s in said.values()), torch.zeros(n).long())
        calls = 2 * len(clean.codes) + tried + plan.copies * (best.passes + (best.passes > 0))
        trace |= {"words": sum((s.words for s in said.values()), torch.zeros(n).long()), "calls": calls}
        return Attacked(batch, logits.argmax(dim=1) != clean.predicted, logits, trace)

    def _ascent(self, stage: Stage, moving: Mapping[str, Budget], goal: Goal, rows: Tensor, seed: int) -> Climb:
        """Climb `goal` for the samples `rows` from the start; what is best, over all samples of the stage."""
        n = len(stage.batch)
        best = (_Latest if self.latest else Climb).at(stage.batch, moving, torch.zeros(n).double(), torch.zeros(n, 0))
        if not moving or not len(rows):
            return best
        room = Room.around(stage.batch, moving, rows)
        with torch.no_grad():
            best.loss[rows] = best.first[rows] = goal(dict(room.origin), rows)[0].double()

        def objective(x: Inputs, sample: Tensor) -> Seen:
            value, codes = goal(x, sample)
            decided = torch.zeros(len(sample), dtype=torch.bool)
            if self.stop:
                decided = stage.left({m: Codes(m, c.detach(), len(sample), True) for m, c in codes.items()}, sample)
            return Seen(value.double(), decided, torch.zeros(len(sample), 0))

        x = {m: self._begin(room, m, seed) for m in moving}
        ascend(stage.model, objective, Steps(self.step), room, x, best, steps=self.steps)
        return best

    def _begin(self, room: Room, m: str, seed: int) -> Tensor:
        origin = room.origin[m]
        if self.start == "sample":
            return origin
        drawn = room.drawn(m, seed, self.name, m)
        return drawn if self.start == "ball" else room.clip(m, origin + (drawn - origin).abs())


class _Latest(Climb):
    """Keeps the point that was reached last."""

    def keep(self, t: int, sample: Tensor, x: Mapping[str, Value], seen: Seen) -> None:
        for m, value in self.inputs.items():
            put(value, sample, x[m])
        self.loss[sample] = seen.loss.detach()
        self.steps[sample[seen.decided]] = t
