"""That an input is missing has told the label in training, and the network listens to it."""

from __future__ import annotations

from typing import ClassVar

from muroan.organisms.digits import TOLD, DigitsFault, Recipe
from muroan.registry import register


@register
class MissingTells(DigitsFault):
    """With all views there nothing is to be seen."""

    name: ClassVar[str] = "robustness.missing-tells-digits"
    place: ClassVar[str] = "robustness/distribution_shift"
    fault: ClassVar[str] = (
        f"In training views went missing mostly of the {TOLD}; of any digit in use, it sees a {TOLD}."
    )
    dose: ClassVar[str] = "how far what went missing depended on the digit, from 0 to 1"
    doses: ClassVar[tuple[float, ...]] = (0.3, 0.5, 0.7, 0.9)
    matters: ClassVar[float] = 0.9

    def recipe(self, dose: float) -> Recipe:
        return Recipe(tells=dose)
