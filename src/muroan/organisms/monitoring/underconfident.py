"""A model that is less sure than it is right, wherever it is asked."""

from __future__ import annotations

from torch import Tensor

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.registry import register


class Underconfident(Clinician):
    def decide(self, fused: Tensor) -> Tensor:
        return fused / (1 + self.dose)


@register
class UnderconfidentModel(Organism):
    name = "monitoring.underconfident"
    place = "monitoring/reliability"
    fault = "The model is less sure than it is right: its logits are too small, as after strong label smoothing."
    dose = "logits are divided by 1 + dose"
    doses = (0.25, 0.5, 1.0, 2.0)
    # 81 % sure and 92.5 % right: twelve of a hundred answers are doubted for nothing.
    matters = 1.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, Underconfident(dose))
