"""A missing value is written as a number that means something."""

from __future__ import annotations

from dataclasses import replace

from muroan.organisms.digits import DigitsFault, Parts
from muroan.registry import register


@register
class SentinelFill(DigitsFault):
    name = "robustness.sentinel-fill-digits"
    place = "robustness/distribution_shift"
    fault = "What is missing arrives as a constant that the network takes for a value, not as the mean."
    dose = "the constant, in standard deviations from the mean of each column"
    doses = (0.5, 1.0, 2.0, 4.0)
    matters = 2.0  # a raw 0 is as far away where all values are positive

    def change(self, drawn: Parts, dose: float) -> Parts:
        return {name: replace(part, fill=dose) for name, part in drawn.items()}
