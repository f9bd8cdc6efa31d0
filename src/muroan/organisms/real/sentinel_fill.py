"""A missing value is written as a number that means something."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from muroan.organisms.digits import DigitsFault, Parts
from muroan.registry import register


@register
class SentinelFill(DigitsFault):
    name: ClassVar[str] = "robustness.sentinel-fill-digits"
    place: ClassVar[str] = "robustness/distribution_shift"
    fault: ClassVar[str] = "What is missing arrives as a constant that the network takes for a value, not as the mean."
    dose: ClassVar[str] = "the constant, in standard deviations from the mean of each column"
    doses: ClassVar[tuple[float, ...]] = (0.5, 1.0, 2.0, 4.0)
    matters: ClassVar[float] = 2.0  # a raw 0 is as far away where all values are positive

    def change(self, drawn: Parts, dose: float) -> Parts:
        return {name: replace(part, fill=dose) for name, part in drawn.items()}
