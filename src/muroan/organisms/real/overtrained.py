"""A network that was trained on after it had been calibrated."""

from __future__ import annotations

from typing import ClassVar

from muroan.organisms.digits import DigitsFault, Recipe
from muroan.registry import register


@register
class Overtrained(DigitsFault):
    name: ClassVar[str] = "monitoring.overtrained-digits"
    place: ClassVar[str] = "monitoring/reliability"
    fault: ClassVar[str] = "After early stopping and calibration training went on unchecked, to a loss of nothing."
    dose: ClassVar[str] = "how long, as a multiple of the training before"
    doses: ClassVar[tuple[float, ...]] = (0.25, 1.0, 2.0, 4.0)
    matters: ClassVar[float] = 4.0  # without a view 10 points surer than right, 3 with both

    def recipe(self, dose: float) -> Recipe:
        return Recipe(overtime=dose)
