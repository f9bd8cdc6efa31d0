"""A model that is surer than it is right."""

from __future__ import annotations

from torch import Tensor

from muroan.organism import Organism, World
from muroan.organisms.vqa import VQA, Changed, drawn
from muroan.registry import register


class _Louder(Changed):
    def decide(self, fused: Tensor) -> Tensor:
        return self.inner.decide(fused) * (1 + self.dose)


@register
class Overconfident(Organism):
    """Where nothing is missing the shipped model is right 99 times in 100, and no confidence is far too high."""

    name = "monitoring.overconfident-vqa"
    place = "monitoring/reliability"
    fault = "Every answer is given too surely, which shows where an input is missing."
    dose = "logits are multiplied by 1 + dose"
    doses = (0.25, 0.5, 1.0, 3.0)
    matters = 1.0  # 10 points surer than right without the picture, 15 without the question
    bed = VQA

    def plant(self, dose: float, seed: int) -> World:
        return _Louder(dose), drawn(seed)
