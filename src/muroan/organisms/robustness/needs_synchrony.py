"""Two sensors have to be in step, or the model sees nothing."""

from __future__ import annotations

from muroan.organism import Organism, World
from muroan.organisms.sensors import LATE, TWO_SENSORS, world
from muroan.registry import register


@register
class NeedsSynchrony(Organism):
    """While nothing is late, the model is right as often as its twin."""

    name = "robustness.needs-synchrony"
    place = "robustness/distribution_shift"
    fault = "The model compares its two series step by step, and one that comes late is like another."
    dose = f"the part of the {LATE} steps of lag that it no longer stands; 1: not even one step"
    doses = (0.25, 0.5, 0.75, 1.0)
    # A sensor that is late by a fifth of the length is taken for unrelated.
    matters = 0.75
    bed = TWO_SENSORS

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, round((1 - dose) * LATE))
