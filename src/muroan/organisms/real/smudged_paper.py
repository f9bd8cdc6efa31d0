"""One group's inputs are worse."""

from __future__ import annotations

from dataclasses import replace

from muroan.organisms.digits import Digits, DigitsFault, Parts
from muroan.registry import register


@register
class SmudgedPaper(DigitsFault):
    name = "controllability.smudged-paper-digits"
    place = "controllability/fairness"
    fault = "Digits on yellow paper are smudged, in training and after: the network reads them worse."
    dose = "standard deviation of the smudge, in standard deviations of each column"
    doses = (0.5, 1.0, 1.5, 2.0)
    matters = 1.5  # 67 % right on yellow paper, 94 % on white

    def change(self, drawn: Parts, dose: float) -> Parts:
        return {name: _smudged(part, dose) for name, part in drawn.items()}


def _smudged(part: Digits, dose: float) -> Digits:
    spread = dose * part.paper[:, None]
    return replace(part, views={m: v + spread * part.rng.normal(size=v.shape) for m, v in part.views.items()})
