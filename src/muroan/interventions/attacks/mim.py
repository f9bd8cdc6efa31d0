"""The momentum iterative method, on any number of inputs at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from muroan.budget import Budget
from muroan.interventions.attacks.ascent import Inputs, Walk, direction
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.modality import rowwise
from muroan.registry import register


class Momentum(Walk):
    """Steps along a decaying sum of gradients, each divided by its mean absolute value so that none drowns the rest."""

    def __init__(self, length: float, decay: float) -> None:
        self.length, self.decay = length, decay
        self.sum: Inputs = {}

    def ahead(self, m: str, x: Tensor, gradient: Tensor, budget: Budget) -> Tensor:
        unit = gradient / rowwise(gradient.abs().flatten(1).mean(dim=1).clamp_min(1e-30), gradient)
        self.sum[m] = self.decay * self.sum[m] + unit if m in self.sum else unit
        return x + self.length * budget.radius * direction(self.sum[m], budget.p)


@register
@dataclass(frozen=True, kw_only=True)
class MIM(GradientAttack):
    """PGD whose direction remembers: less easily caught in a wrinkle of one model, so it transfers better to others.

    With gradients normalised as in Dong et al.; the attack that Tian & Xu's code calls MIM leaves that out. step: as a
    share of the radius over steps. decay: how much of the sum survives a step.
    """

    name = "mim"
    source = "Dong et al., CVPR 2018, algorithm 1; multi-input: Tian & Xu, CVPR 2021"

    steps: int = 10
    restarts: int = 1
    step: float = 1.25
    decay: float = 1.0

    def walk(self, rows: int) -> Walk:
        return Momentum(self.step / self.steps, self.decay)
