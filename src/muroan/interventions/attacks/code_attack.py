"""What attacks on codes share: the clean codes, an ascent of a goal of codes from a random start, the last word.

A distance from the clean code has no gradient at the clean input itself, so the ascent begins at a random point of the
ball; on both sides of it, since a start in [0, radius] alone leaves half of the ball to the steps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.ascent import Best, Inputs, Objective, Room, Seen, ascend
from muroan.interventions.attacks.gradient_attack import attackable, joined
from muroan.interventions.attacks.guided_text import worded
from muroan.interventions.attacks.pgd import Steps
from muroan.meter import Codes, Metered
from muroan.modality import Value, where
from muroan.model import Capability

ROWS = 128
"""Samples that are worked on at once; a step may encode several copies of each."""

Goal = Callable[[Inputs, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(moving inputs [R, ...], sample [R]) -> what is climbed [R], and the codes of the inputs as they are, by modality."""


@dataclass
class Stage:
    """A batch as it stands: inputs; codes[m], row i for sample i; labels [N]: the decisions to leave."""

    model: Metered
    batch: Batch
    codes: dict[str, Codes]
    labels: Tensor

    @staticmethod
    def of(model: Metered, batch: Batch) -> Stage:
        """Nothing changed yet."""
        codes, index = model.codes(batch)
        logits = model.logits(codes, index, batch.present or None)
        return Stage(model, batch, {m: c.take(index[m]) for m, c in codes.items()}, logits.argmax(dim=1))

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Codes as flat vectors [N, D]."""
        return {m: flat(c.data) for m, c in self.codes.items()}

    def present(self, rows: Tensor) -> dict[str, Tensor] | None:
        """Which modalities those samples have."""
        return {m: p[rows] for m, p in self.batch.present.items()} or None

    def logits(self, codes: Mapping[str, Codes], rows: Tensor) -> Tensor:
        """Logits of the samples `rows` with the codes of some modalities, given row by row, in place of their own."""
        still = {m: c.take(rows) for m, c in self.codes.items() if m not in codes}
        return self.model.logits({**still, **codes}, None, self.present(rows))

    def left(self, codes: Mapping[str, Codes], rows: Tensor) -> Tensor:
        """Whether that changes their decision, [R]."""
        return self.logits(codes, rows).argmax(dim=1) != self.labels[rows]

    def spoken(self, texts: Mapping[str, list[str]], codes: Mapping[str, Codes]) -> Stage:
        """The same with other texts."""
        return replace(self, batch=self.batch.with_inputs(**texts), codes={**self.codes, **codes})


def flat(code: object) -> Tensor:
    """A code as one vector a row."""
    if isinstance(code, Tensor):
        return code.flatten(1)
    assert isinstance(code, tuple)
    return torch.cat([flat(c) for c in code], dim=1)


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
        moving, words = attackable(model, batch, budgets), worded(model, batch, budgets)
        n = len(batch)
        parts = [
            self._some(model, batch.take(range(k, min(k + ROWS, n))) if n > ROWS else batch, moving, words, seed)
            for k in range(0, max(n, 1), ROWS)
        ]
        return parts[0] if len(parts) == 1 else joined(parts)

    @abstractmethod
    def _some(
        self, model: Metered, batch: Batch, moving: Mapping[str, Budget], words: Mapping[str, int], seed: int
    ) -> Attacked:
        """Attack samples that fit in memory together; `moving` and `words` may be empty."""

    def _ascent(self, stage: Stage, moving: Mapping[str, Budget], goal: Goal, rows: Tensor, seed: int) -> Best:
        """Climb `goal` for the samples `rows` from the start; what is best, over all samples of the stage."""
        model, batch = stage.model, stage.batch
        nothing = torch.zeros(len(batch), dtype=torch.double)
        best = Best.at(batch, moving, nothing, torch.zeros(len(batch), 0))
        if not moving or not len(rows):
            return best
        best = _Latest(**vars(best)) if self.latest else best
        room = Room.around(batch, moving, rows)
        with torch.no_grad():
            best.loss[rows] = best.first[rows] = goal(dict(room.origin), rows)[0].double()
        ids = [batch.ids[i] for i in rows.tolist()]
        x = {m: self._begin(room, m, ids, seed) for m in moving}
        ascend(model, self._objective(stage, goal), Steps(self.step), room, x, rows, best, steps=self.steps)
        return best

    def _begin(self, room: Room, m: str, ids: list[str], seed: int) -> Tensor:
        origin = room.origin[m]
        if self.start == "sample":
            return origin
        drawn = room.drawn(m, ids, seed, self.name, m)
        return drawn if self.start == "ball" else room.clip(m, origin + (drawn - origin).abs())

    def _objective(self, stage: Stage, goal: Goal) -> Objective:
        def objective(x: Inputs, sample: Tensor) -> Seen:
            value, codes = goal(x, sample)
            if self.stop:
                here = {m: Codes(m, c.detach(), len(sample), True) for m, c in codes.items()}
                decided = stage.left(here, sample)
            else:
                decided = torch.zeros(len(sample), dtype=torch.bool)
            return Seen(value.double(), decided, torch.zeros(len(sample), 0))

        return objective

    def _done(
        self, stage: Stage, original: Batch, best: Best, words: Tensor, tried: Tensor, copies: int = 1
    ) -> Attacked:
        """The result put to the model once more: what counts is the decision on what is handed back."""
        changed: dict[str, Value] = dict(best.inputs)
        texts = {m: v for m, v in stage.batch.inputs.items() if not isinstance(v, Tensor)}
        changed |= {m: v for m, v in texts.items() if list(v) != list(original.inputs[m])}
        batch = original.with_inputs(**changed)
        logits = stage.model.of(batch)
        trace = {"loss_first": best.first, "loss_best": best.loss, "steps": best.steps}
        # The clean input and the result, texts looked at, and the ascent, whose goal is read once before it begins.
        calls = 2 * len(stage.codes) + tried + copies * (best.passes + (best.passes > 0))
        trace |= {"zero_gradient": best.zero, "words": words, "calls": calls}
        return Attacked(batch, logits.argmax(dim=1) != stage.labels, logits, trace)


class _Latest(Best):
    """Keeps the point that was reached last."""

    def keep(self, t: int, sample: Tensor, x: Inputs, seen: Seen) -> None:
        for m, v in self.inputs.items():
            v[sample] = x[m].detach()
        self.loss[sample] = seen.loss.detach()
        self.steps[sample[seen.decided]] = t


def chosen(first: Tensor, a: list[str], b: list[str]) -> list[str]:
    """Texts of `a` where `first` [N], of `b` elsewhere."""
    picked: list[str] = where(first, a, b)
    return picked
