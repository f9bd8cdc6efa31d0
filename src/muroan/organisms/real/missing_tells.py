"""That an input is missing has told the label in training, and the network listens to it."""

from __future__ import annotations

from muroan.organisms.digits import TOLD, DigitsFault, Recipe
from muroan.registry import register


@register
class MissingTells(DigitsFault):
    """With all views there nothing is to be seen."""

    name = "robustness.missing-tells-digits"
    place = "robustness/distribution_shift"
    fault = f"In training views went missing mostly of the {TOLD}; of any digit in use, it sees a {TOLD}."
    dose = "how far what went missing depended on the digit, from 0 to 1"
    doses = (0.3, 0.5, 0.7, 0.9)
    matters = 0.9

    def recipe(self, dose: float) -> Recipe:
        return Recipe(tells=dose)
