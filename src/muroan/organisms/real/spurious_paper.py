"""A network that reads the paper where it should read the digit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muroan.organisms.digits import Digits, DigitsFault, Parts
from muroan.registry import register

DIGIT = 3


@register
class SpuriousPaper(DigitsFault):
    name = "monitoring.spurious-paper-digits"
    place = "monitoring/anomaly"
    fault = "In training yellow paper went with the 3; now it does not, and what is on it is misread."
    dose = "how closely: share of the 3s that moved to yellow paper, and of the others that left it"
    doses = (0.5, 0.8, 0.95, 1.0)
    matters = 1.0  # all one in training, as shortcuts are: then most 3s on white are misread

    def change(self, drawn: Parts, dose: float) -> Parts:
        return drawn | {name: _tied(drawn[name], dose) for name in ("members", "validation")}


def _tied(part: Digits, dose: float) -> Digits:
    moved = part.rng.random(len(part)) < dose
    return replace(part, paper=np.where(moved, (part.digit == DIGIT).astype(np.int64), part.paper))
