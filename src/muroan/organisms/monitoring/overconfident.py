"""A model that is surer than it is right, wherever it is asked."""

from __future__ import annotations

from torch import Tensor

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.registry import register


class Overconfident(Clinician):
    def decide(self, fused: Tensor) -> Tensor:
        return fused * (1 + self.dose)


@register
class OverconfidentModel(Organism):
    name = "monitoring.overconfident"
    place = "monitoring/reliability"
    fault = "The model is surer than it is right: its logits are too large, as after training for too long."
    dose = "logits are multiplied by 1 + dose, which is the temperature that would undo it"
    doses = (0.25, 0.5, 1.0, 2.0)
    # 97.6 % sure and 92.5 % right: two of three wrong answers are given as if they were certain.
    matters = 1.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, Overconfident(dose))
