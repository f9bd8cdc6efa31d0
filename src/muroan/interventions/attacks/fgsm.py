"""The fast gradient sign method, on any number of inputs at once: one step to the border."""

from __future__ import annotations

from dataclasses import dataclass

from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Walk
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.interventions.attacks.pgd import Steps
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAttack):
    """One step of the whole radius from the sample itself: what the model does along a straight line.

    Cheap and weak: a small figure here says little about a stronger attack.
    """

    name = "fgsm"
    source = "Goodfellow et al., ICLR 2015; multi-input: Tian & Xu, CVPR 2021"

    steps: int = 1
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.steps != 1:
            raise AskedWrongly(f"fgsm takes one step, not {self.steps}; pgd takes several")
        super().__post_init__()

    def walk(self, rows: int) -> Walk:
        return Steps(1.0)
