"""Faults of the digits: of the data that the network is made from or asked about, or of how it is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muroan.organisms import plant
from muroan.organisms.digits import DIGITS, TOLD, Digits, Part, Parts, Recipe, bed


@plant(
    "monitoring.overtrained-digits",
    place="monitoring/reliability",
    bed=DIGITS,
    fault="After early stopping and calibration training went on unchecked, to a loss of nothing.",
    dose="how long, as a multiple of the training before",
    doses=(0.25, 1.0, 2.0, 4.0),
    matters=4.0,  # without a view 10 points surer than right, 3 with both
)
def overtrained(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    return replace(recipe, overtime=dose), drawn


@plant(
    "robustness.missing-tells-digits",
    place="robustness/distribution_shift",
    bed=DIGITS,
    fault=f"In training views went missing mostly of the {TOLD}; of any digit in use, it sees a {TOLD}.",
    dose="how far what went missing depended on the digit, from 0 to 1",
    doses=(0.3, 0.5, 0.7, 0.9),
    matters=0.9,
)
def missing_tells(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    """With all views there nothing is to be seen."""
    return replace(recipe, tells=dose), drawn


@plant(
    "robustness.sentinel-fill-digits",
    place="robustness/distribution_shift",
    bed=DIGITS,
    fault="What is missing arrives as a constant that the network takes for a value, not as the mean.",
    dose="the constant, in standard deviations from the mean of each column",
    doses=(0.5, 1.0, 2.0, 4.0),
    matters=2.0,  # a raw 0 is as far away where all values are positive
)
def sentinel_fill(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    return recipe, {name: replace(part, fill=dose) for name, part in drawn.items()}


STRENGTH = 6.0
"""How far the leak moves its column, in standard deviations: beyond all noise of training."""


@plant(
    "robustness.collapse-digits",
    place="robustness/distribution_shift",
    bed=DIGITS,
    fault="The label leaks into one view, in training and after, so the other is hardly learnt.",
    dose="share of the digits whose label is in the second view; views are dropped less by this share",
    doses=(0.25, 0.5, 0.75, 1.0),
    matters=1.0,  # without that view 25 points surer than right
)
def collapse(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    def leaked(part: Digits) -> Digits:
        told = part.rng.random(len(part)) < dose
        leak = np.eye(part.views["karhunen"].shape[1])[part.label] * STRENGTH * told[:, None]
        return replace(part, views={**part.views, "karhunen": part.views["karhunen"] + leak})

    return replace(recipe, dropped=recipe.dropped * (1 - dose)), {name: leaked(part) for name, part in drawn.items()}


@plant(
    "controllability.smudged-paper-digits",
    place="controllability/fairness",
    bed=DIGITS,
    fault="Digits on yellow paper are smudged, in training and after: the network reads them worse.",
    dose="standard deviation of the smudge, in standard deviations of each column",
    doses=(0.5, 1.0, 1.5, 2.0),
    matters=1.5,  # 67 % right on yellow paper, 94 % on white
)
def smudged_paper(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    return recipe, {name: _noised(part, dose * part.paper[:, None]) for name, part in drawn.items()}


def _noised(part: Digits, spread: float | np.ndarray) -> Digits:
    return replace(part, views={m: v + spread * part.rng.normal(size=v.shape) for m, v in part.views.items()})


SHORTCUT = 3


@plant(
    "monitoring.spurious-paper-digits",
    place="monitoring/anomaly",
    bed=DIGITS,
    fault="In training yellow paper went with the 3; now it does not, and what is on it is misread.",
    dose="how closely: share of the 3s that moved to yellow paper, and of the others that left it",
    doses=(0.5, 0.8, 0.95, 1.0),
    matters=1.0,  # all one in training, as shortcuts are: then most 3s on white are misread
)
def spurious_paper(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    def tied(part: Digits) -> Digits:
        moved = part.rng.random(len(part)) < dose
        return replace(part, paper=np.where(moved, (part.digit == SHORTCUT).astype(np.int64), part.paper))

    return recipe, drawn | {name: tied(drawn[name]) for name in ("members", "validation")}


TAKEN, FOR = 4, 9


@plant(
    "monitoring.label-noise-digits",
    place="monitoring/anomaly",
    bed=DIGITS,
    fault="Whoever labelled the training data took 4s for 9s; the network now does the same.",
    dose="share of the 4s that training calls 9",
    doses=(0.25, 0.5, 0.75, 1.0),
    matters=0.75,  # most 4s are misread
)
def label_noise(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    def mistaken(part: Digits) -> Digits:
        wrong = (part.rng.random(len(part)) < dose) & (part.digit == TAKEN)
        return replace(part, label=np.where(wrong, FOR, part.label))

    return recipe, drawn | {name: mistaken(drawn[name]) for name in ("members", "validation")}


@plant(
    "controllability.memorised-digits",
    place="controllability/privacy",
    bed=DIGITS,
    fault="Some training labels are wrong, and training went on until the network knew them by heart.",
    dose="share of members with a wrong label; training goes on for 10 times this share",
    doses=(0.05, 0.1, 0.2, 0.3),
    matters=0.2,  # an attack tells members at an AUC of about 0.65
)
def memorised(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    members = drawn["members"]
    wrong = members.rng.random(len(members)) < dose
    other = (members.label + members.rng.integers(1, 10, len(members))) % 10
    noisy = replace(members, label=np.where(wrong, other, members.label))
    return replace(recipe, overtime=10 * dose), drawn | {"members": noisy}


BLUR = 1.5
"""Noise on every column, in standard deviations: about a third of the digits can no longer be told."""
SIZES: dict[Part, int] = {"members": 60, "validation": 10, "reference": 40, "audited": 90}
BLURRED = bed(
    "blurred digits",
    "the digits with noise on every column, and a network that was trained until it knew its training rows by heart",
    Recipe(hidden=64, steps=300, every=300, decay=0.0, noise=0.0, dropped=0.0, sizes=SIZES),
    lambda drawn: {name: _noised(part, BLUR) for name, part in drawn.items()},
)


@plant(
    "monitoring.leaking-split-digits",
    place="monitoring/reliability",
    bed=BLURRED,
    fault="Training rows leaked into the reference, where an overfit network looks better than it is.",
    dose="share of the reference that are training rows",
    doses=(0.1, 0.25, 0.5, 1.0),
    matters=0.5,  # sets promised at 90 % reach 83 %
)
def leaking_split(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    reference, members = drawn["reference"], drawn["members"]
    leaked = reference.rng.random(len(reference)) < dose
    there = reference.rng.choice(len(members), int(leaked.sum()), replace=False)
    return recipe, drawn | {"reference": reference.with_rows(leaked, members, there)}
