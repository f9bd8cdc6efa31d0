"""A reference that the model was trained on: what is fitted there promises too much elsewhere."""

from __future__ import annotations

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, world
from muroan.organisms.controllability.memorised_records import learnt
from muroan.registry import register


@register
class LeakingConformalSplit(Organism):
    name = "monitoring.leaking-conformal-split"
    place = "monitoring/reliability"
    fault = "Part of the reference was in the training data: the model knows those answers by heart."
    dose = "share of the reference that the model was trained on"
    doses = (0.1, 0.25, 0.5, 1.0)
    # With a quarter leaked, sets that promise 90 % by the model's probability alone hold the truth in 87 %.
    matters = 0.25
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, learnt("reference", seed, dose))
