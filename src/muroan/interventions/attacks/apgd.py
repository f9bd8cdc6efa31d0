"""Auto-PGD: gradient descent that finds its own step length, on any number of inputs at once; and towards one class.

Source: Croce & Hein, ICML 2020, algorithm 1, per sample: a step with momentum; at checkpoints, a sample whose loss has
not risen often enough, or whose best has not moved since the last one, halves its step and goes back to its best point.
Section 4: towards one other class after another (targeted DLR, AutoAttack's APGD-T with its nine targets).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from muroan.budget import Budget
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs, Room, Walk, direction
from muroan.interventions.attacks.gradient_attack import Goal, GradientAttack
from muroan.interventions.attacks.losses import loss_of, ratio, targeted_ratio
from muroan.modality import rowwise, where
from muroan.registry import register

RISING = 0.75
"""Share of a period's steps on which the loss has to rise for the step to stay as long as it is."""
AHEAD = 0.75
"""Weight of the gradient's step beside the momentum's."""
MOST_TARGETS = 9


def periods(steps: int) -> Iterator[int]:
    """Steps between checkpoints: 22 % of all, each period 3 % shorter than the one before, at least 6 %.

    For 100 steps: 22, 19, 16, 13, 10, 7, 6, 6, ...
    """
    length, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    while True:
        yield length
        length = max(length - less, least)


class Adaptive(Walk):
    """Each row's own step, as a share of the radii: twice the radius at first."""

    def __init__(self, rows: int, steps: int, first: float) -> None:
        self.share, self.rises = torch.full((rows,), first), torch.zeros(rows)
        self.halved = torch.zeros(rows, dtype=torch.bool)
        self.last, self.before = torch.zeros(rows, dtype=torch.double), Inputs()
        self._periods = periods(steps)
        self._length = self._next = next(self._periods)

    def move(self, t: int, room: Room, x: Inputs, gradients: Inputs, loss: Tensor) -> Inputs:
        self._note(t, x, gradients, loss)
        if t == self._next:
            x, gradients = self._checkpoint(x, gradients)
        ahead = super().move(t, room, x, gradients, loss)
        if t:
            mixed = {m: v + AHEAD * (ahead[m] - v) + (1 - AHEAD) * (v - self.before[m]) for m, v in x.items()}
            ahead = {m: room.clip(m, v) for m, v in mixed.items()}
        self.before = x
        return ahead

    def ahead(self, m: str, x: Tensor, gradient: Tensor, budget: Budget) -> Tensor:
        return x + rowwise((self.share * budget.radius).to(x.dtype), x) * direction(gradient, budget.p)

    def _note(self, t: int, x: Inputs, gradients: Inputs, loss: Tensor) -> None:
        """Rises, and the best point with its gradient."""
        if t == 0:
            self.best_x, self.best_gradient, self.before = dict(x), dict(gradients), dict(x)
            self.best, self.marked = loss.clone(), loss.clone()
        else:
            self.rises = self.rises + (loss > self.last)
            better = loss > self.best
            self.best_x = {m: where(better, v, self.best_x[m]) for m, v in x.items()}
            self.best_gradient = {m: where(better, g, self.best_gradient[m]) for m, g in gradients.items()}
            self.best = torch.maximum(self.best, loss)
        self.last = loss

    def _checkpoint(self, x: Inputs, gradients: Inputs) -> tuple[Inputs, Inputs]:
        """Where to go on from: rows that did not get on halve their step and go back to their best point."""
        seldom = self.rises <= RISING * self._length
        back = seldom | (~self.halved & (self.best <= self.marked))
        self.share = torch.where(back, self.share / 2, self.share)
        self.halved, self.marked, self.rises = back, self.best.clone(), torch.zeros_like(self.rises)
        self._length = next(self._periods)
        self._next += self._length
        # Momentum starts anew at the best point: what led away from it is not to be gone again.
        self.before = {m: where(back, self.best_x[m], self.before[m]) for m in x}
        x = {m: where(back, self.best_x[m], v) for m, v in x.items()}
        return x, {m: where(back, self.best_gradient[m], g) for m, g in gradients.items()}


@dataclass(frozen=True, kw_only=True)
class _Adaptive(GradientAttack):
    """What APGD and its targeted version share. first: the first step as a share of the radius (AutoAttack takes 2,
    attacks on vision-language models 1)."""

    steps: int = 50
    restarts: int = 1
    first: float = 2.0

    def walk(self, rows: int) -> Walk:
        return Adaptive(rows, self.steps, self.first)


@register
@dataclass(frozen=True, kw_only=True)
class APGD(_Adaptive):
    """Nothing to tune but the number of steps: the attack that robustness is usually claimed against.

    objective: "odds" climbs cross-entropy on a scale that does not saturate, "ratio" the difference of logits ratio,
    which no scaling of the logits can hide.
    """

    name = "apgd"
    source = "Croce & Hein, ICML 2020, algorithm 1; multi-input: survey equation 1"

    objective: Literal["odds", "ratio"] = "odds"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in ("odds", "ratio"):
            raise AskedWrongly(f"apgd climbs 'odds' or 'ratio', not {self.objective!r}")

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (loss_of if self.objective == "odds" else ratio)(logits, labels)


@register
@dataclass(frozen=True, kw_only=True)
class APGDTargeted(_Adaptive):
    """APGD on the targeted difference of logits ratio, towards each of the runner-up classes in turn.

    An attack that only leaves the decision climbs towards whichever class lies nearest at each step, and can be led
    astray between them; towards a class that is fixed it cannot. A sample that is decided, by whichever class, is not
    attacked towards the others. targets: how many runners-up, the classes that come next in the scores of the sample
    itself, at most nine (fewer where there are fewer classes). steps, restarts: per target. Where the sample itself is
    the first start, AutoAttack begins at a random point; a second start does that here.
    """

    name = "apgd_targeted"
    source = "Croce & Hein, ICML 2020, section 4 (targeted DLR); multi-input: survey equation 1"

    targets: int = MOST_TARGETS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.targets <= MOST_TARGETS:
            raise AskedWrongly(f"apgd_targeted has 1 to {MOST_TARGETS} targets, not {self.targets}")

    def goals(self, clean: Tensor, labels: Tensor) -> list[Goal]:
        runners_up = clean.scatter(1, labels[:, None], -float("inf")).argsort(dim=1, descending=True, stable=True)
        many = min(self.targets, clean.shape[1] - 1)
        return [partial(_towards, runners_up[:, k]) for k in range(many)]


def _towards(targets: Tensor, logits: Tensor, labels: Tensor, sample: Tensor) -> Tensor:
    return targeted_ratio(logits, labels, targets[sample])
