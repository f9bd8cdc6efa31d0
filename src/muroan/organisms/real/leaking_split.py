"""A calibration set that training rows leaked into."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from muroan.organism import Bed, World
from muroan.organisms.digits import KEPT, Digits, DigitsFault, Part, Parts, Recipe, build
from muroan.registry import register

BLUR = 1.5
"""Noise on every column, in standard deviations: about a third of the digits can no longer be told."""
SIZES: dict[Part, int] = {"members": 60, "validation": 10, "reference": 40, "audited": 90}
OVERFIT = Recipe(hidden=64, steps=300, every=300, decay=0.0, noise=0.0, dropped=0.0, sizes=SIZES)


def _blurred(drawn: Parts) -> Parts:
    def blurred(part: Digits) -> Digits:
        return replace(part, views={m: v + BLUR * part.rng.normal(size=v.shape) for m, v in part.views.items()})

    return {name: blurred(part) for name, part in drawn.items()}


@lru_cache(maxsize=KEPT)
def world(seed: int) -> World:
    """The bed of blurred digits: no fault planted."""
    return build(seed, OVERFIT, _blurred)


BLURRED = Bed(
    "blurred digits",
    "the digits with noise on every column, and a network that was trained until it knew its training rows by heart",
    world,
    exact=False,
)


@register
class LeakingSplit(DigitsFault):
    name = "monitoring.leaking-split-digits"
    place = "monitoring/reliability"
    fault = "Training rows leaked into the reference, where an overfit network looks better than it is."
    dose = "share of the reference that are training rows"
    doses = (0.1, 0.25, 0.5, 1.0)
    matters = 0.5  # sets promised at 90 % reach 83 %
    bed = BLURRED

    def recipe(self, dose: float) -> Recipe:
        return OVERFIT

    def change(self, drawn: Parts, dose: float) -> Parts:
        blurred = _blurred(drawn)
        reference, members = blurred["reference"], blurred["members"]
        leaked = reference.rng.random(len(reference)) < dose
        there = reference.rng.choice(len(members), int(leaked.sum()), replace=False)
        return blurred | {"reference": reference.with_rows(leaked, members, there)}
