"""A network that was trained on after it had been calibrated."""

from __future__ import annotations

from muroan.organisms.digits import DigitsFault, Recipe
from muroan.registry import register


@register
class Overtrained(DigitsFault):
    name = "monitoring.overtrained-digits"
    place = "monitoring/reliability"
    fault = "After early stopping and calibration training went on unchecked, to a loss of nothing."
    dose = "how long, as a multiple of the training before"
    doses = (0.25, 1.0, 2.0, 4.0)
    matters = 4.0  # without a view 10 points surer than right, 3 with both

    def recipe(self, dose: float) -> Recipe:
        return Recipe(overtime=dose)
