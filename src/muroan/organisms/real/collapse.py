"""A network that one view spoiled, because its label leaked into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muroan.organisms.digits import Digits, DigitsFault, Parts, Recipe
from muroan.registry import register

STRENGTH = 6.0
"""How far the leak moves its column, in standard deviations: beyond all noise of training."""


@register
class Collapse(DigitsFault):
    name = "robustness.collapse-digits"
    place = "robustness/distribution_shift"
    fault = "The label leaks into one view, in training and after, so the other is hardly learnt."
    dose = "share of the digits whose label is in the second view; views are dropped less by this share"
    doses = (0.25, 0.5, 0.75, 1.0)
    matters = 1.0  # without that view 25 points surer than right

    def recipe(self, dose: float) -> Recipe:
        return Recipe(dropped=Recipe().dropped * (1 - dose))

    def change(self, drawn: Parts, dose: float) -> Parts:
        return {name: _leaked(part, dose) for name, part in drawn.items()}


def _leaked(part: Digits, dose: float) -> Digits:
    told = part.rng.random(len(part)) < dose
    leak = np.eye(part.views["karhunen"].shape[1])[part.label] * STRENGTH * told[:, None]
    return replace(part, views={**part.views, "karhunen": part.views["karhunen"] + leak})
