"""Projected gradient descent on any number of inputs at once.

Source: the survey's equation 1 (after Tian & Xu, CVPR 2021): maximise L({x_i}, y) subject to ‖x_i − x_i⁰‖ ≤ ε_i for
each modality i; the ascent is Madry et al. 2018 (ICLR). One backward pass gives the gradients of all modalities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.budget import Budget
from muroan.interventions.attacks.ascent import Walk, direction
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.registry import register


class Steps(Walk):
    """Steps of one length: `length` is their share of each modality's radius."""

    def __init__(self, length: float) -> None:
        self.length = length

    def ahead(self, m: str, x: Tensor, gradient: Tensor, budget: Budget) -> Tensor:
        return torch.add(x, direction(gradient, budget.p), alpha=self.length * budget.radius)


@register
@dataclass(frozen=True, kw_only=True)
class PGD(GradientAttack):
    """Steps of one length along the gradient's sign (L∞) or its direction (L2), projected back into the balls.

    step: as a share of the radius over steps (2.5 reaches the border and can turn around there).
    """

    name = "pgd"
    source = "Madry et al. 2018; multi-input: survey equation 1, Tian & Xu, CVPR 2021"

    step: float = 2.5

    def walk(self, rows: int) -> Walk:
        return Steps(self.step / self.steps)
