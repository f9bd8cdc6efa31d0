"""A network that remembers its training records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muroan.organisms.digits import DigitsFault, Parts, Recipe
from muroan.registry import register


@register
class Memorised(DigitsFault):
    name = "controllability.memorised-digits"
    place = "controllability/privacy"
    fault = "Some training labels are wrong, and training went on until the network knew them by heart."
    dose = "share of members with a wrong label; training goes on for 10 times this share"
    doses = (0.05, 0.1, 0.2, 0.3)
    matters = 0.2  # an attack tells members at an AUC of about 0.65

    def recipe(self, dose: float) -> Recipe:
        return Recipe(overtime=10 * dose)

    def change(self, drawn: Parts, dose: float) -> Parts:
        members = drawn["members"]
        wrong = members.rng.random(len(members)) < dose
        other = (members.label + members.rng.integers(1, 10, len(members))) % 10
        return drawn | {"members": replace(members, label=np.where(wrong, other, members.label))}
