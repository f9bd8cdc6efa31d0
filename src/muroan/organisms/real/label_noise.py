"""A network that was taught a mistake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muroan.organisms.digits import Digits, DigitsFault, Parts
from muroan.registry import register

TAKEN, FOR = 4, 9


@register
class LabelNoise(DigitsFault):
    name = "monitoring.label-noise-digits"
    place = "monitoring/anomaly"
    fault = "Whoever labelled the training data took 4s for 9s; the network now does the same."
    dose = "share of the 4s that training calls 9"
    doses = (0.25, 0.5, 0.75, 1.0)
    matters = 0.75  # most 4s are misread

    def change(self, drawn: Parts, dose: float) -> Parts:
        return drawn | {name: _mistaken(drawn[name], dose) for name in ("members", "validation")}


def _mistaken(part: Digits, dose: float) -> Digits:
    mistaken = (part.rng.random(len(part)) < dose) & (part.digit == TAKEN)
    return replace(part, label=np.where(mistaken, FOR, part.label))
