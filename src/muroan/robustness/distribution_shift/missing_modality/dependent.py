"""Inputs that go missing in one class or one group alone, and what a model takes from it that they are missing.

Missing at random is the mildest case. Where an input is missing in class c alone, at rate eta, accuracy in that class
is (1 − eta) · full + eta · without it, from the same outcomes: exact, straight, and no further answers are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.finding import Chart, LineChart
from muroan.robustness.distribution_shift.missing_modality.grid import MOST_CLASSES, Grid
from muroan.rows import SMALLEST_GROUP, Floats, Worst
from muroan.say import Say

Members = dict[str, NDArray[Any]]
SHOWN = 6
"""Classes in the chart, those that fare worst."""


def tilt(say: Say, grid: Grid) -> None:
    """How much more probable a class becomes on average; 0 in expectation where missing says nothing.

    By the law of total expectation the mean probability of a class is its share, whatever a calibrated model sees;
    paired with everything there, so that a model that is wrong about the shares throughout is not blamed here.
    """
    tilts = grid.tilts()
    # With one class in the data its share is 1, and there is nothing that "missing" could be mistaken for.
    if not tilts or not grid.several:
        return
    classes = grid.about.classes
    title = "How much more probable the class {!r} becomes without the {}"
    columns = {(m, k): of[:, k] for m, of in tilts.items() for k in range(len(classes))}
    most, (m, k) = grid.rows.worst(columns, (-1, 1))
    share = float((grid.rows.column("target") == k).mean())
    note = f"{share:.1%} of the samples are of this class. The most of {len(tilts)} inputs and {len(classes)} classes, "
    note += "with an interval that holds for all of them at once."
    say("missing_tilt", title.format(classes[k], m), most, note=note)
    for m in tilts:
        most, (_, k) = grid.rows.worst({at: of for at, of in columns.items() if at[0] == m}, (-1, 1))
        say.detail("missing_tilt", title.format(classes[k], m), most, modality=m)


def worst_members(say: Say, grid: Grid) -> None:
    """Accuracy in the class and the group that fare worst at rate 1, and on average over rates."""
    last = {m: grid.right[m,] for m in grid.names}
    area = {m: (grid.rows["full"] + right) / 2 for m, right in last.items()}
    for kind, plural, members in (("class", "classes", _classes(grid)), ("group", "groups", _groups(grid))):
        for metric, columns, how in (
            ("accuracy", last, "is always missing there and nowhere else"),
            ("area", area, "is missing there alone, on average over rates"),
        ):
            if members:
                least, (m, at) = _least(grid, members, columns)
                title = f"Accuracy in {kind} {at!r} if the {m} {how}"
                controls = {"there, nothing missing": grid.rows.where(members[at]).share("full")}
                note = f"The least of {len(members)} {plural} and {len(columns)} inputs, with an interval that holds "
                note += "for all of them at once."
                say(f"worst_{kind}_{metric}", title, least, controls=controls, note=note)


def charts(grid: Grid) -> list[Chart]:
    """Accuracy in the classes that fare worst, against the rate at which the input is missing in them alone."""
    classes = _classes(grid)
    if not classes:
        return []
    m, _ = _least(grid, classes, {m: grid.right[m,] for m in grid.names}).name
    lowest = sorted(classes, key=lambda c: grid.right[m,][classes[c]].mean())[:SHOWN]
    title = f"Accuracy by class if the {m} goes missing in that class alone"
    lines = [grid.line(c, grid.curve(m), classes[c]) for c in lowest]
    return [LineChart.of_shares(title, f"share without the {m}", "accuracy in the class", lines)]


def notes(grid: Grid) -> list[str]:
    """What was asked of classes and groups, and what was not."""
    many = len(grid.about.classes)
    if many > MOST_CLASSES:
        return [f"Missing in one class alone was not asked: {many} classes are more than {MOST_CLASSES}."]
    if not _classes(grid):
        return []
    return [
        f"Missing in one class or group alone is asked of those with {SMALLEST_GROUP} samples or more; no limit is set "
        "on what is left there, since a class that only one input tells is lost without it for any model."
    ]


def _least(grid: Grid, members: Members, columns: Mapping[str, Floats]) -> Worst[tuple[str, str]]:
    """The smallest accuracy over inputs and members with a simultaneous interval, and where it is."""
    k, inside = len(members), list(members.values())
    # A sample is of one class, so an imaginary one is, too.
    ways = [[*one, *np.tile(hit * one, len(columns))] for one in np.eye(k) for hit in (0.0, 1.0)]
    sums = grid.rows.totals([*inside, *(of * here for of in columns.values() for here in inside)], ways)
    cells = [(m, at) for m in columns for at in members]
    return grid.rows.worst_of(
        sums, cells, lambda t: t[:, k:] / np.tile(t[:, :k], (1, len(columns))), (0, 1), largest=False
    )


def _classes(grid: Grid) -> Members:
    # With one class in the data, missing in that class alone is missing everywhere.
    if len(grid.about.classes) > MOST_CLASSES or not grid.several:
        return {}
    return _large({c: grid.rows.column("target") == k for k, c in enumerate(grid.about.classes)})


def _groups(grid: Grid) -> Members:
    of = {g: grid.rows.column(f"group.{g}") for g in grid.about.groups}
    return _large({f"{g}: {v}": of[g] == v for g, values in grid.about.groups.items() for v in values})


def _large(members: Members) -> Members:
    return {name: inside for name, inside in members.items() if inside.sum() >= SMALLEST_GROUP}
