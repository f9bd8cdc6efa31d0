"""Inputs that go missing in one class or one group alone, and what a model takes from it that they are missing.

Missing at random is the mildest case. Where an input is missing in class c alone, at rate eta, accuracy in that class
is (1 − eta) · full + eta · without it, from the same outcomes: exact, straight, and no further answers are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.estimate import Estimate, proportion
from muroan.estimate.totals import totals, worst
from muroan.finding import Chart, Finding, LineChart
from muroan.robustness.distribution_shift.missing_modality.grid import MOST_CLASSES, Grid

Floats = NDArray[np.float64]
Members = dict[str, NDArray[np.bool_]]

FEWEST = 10
"""Samples below which a class or group is not judged on its own."""
SHOWN = 6
"""Classes in the chart, those that fare worst."""


class DependentFindings:
    """Findings, charts and notes of a grid where what is missing depends on the class or the group."""

    def __init__(self, grid: Grid, probe: str) -> None:
        self.grid, self.probe = grid, probe
        self.level, self.seed = grid.about.level, grid.about.seed
        targets = grid.frame["target"].to_numpy()
        names = grid.about.classes
        classes = {names[k]: targets == k for k in range(len(names))}
        # With one class in the data, missing in that class alone is missing everywhere.
        asked = len(names) <= MOST_CLASSES and len(np.unique(targets)) > 1
        self.classes = _large(classes if asked else {})
        self.groups: Members = {}
        for g, values in grid.about.groups.items():
            of = grid.frame[f"group.{g}"].to_numpy()
            self.groups |= _large({f"{g}: {v}": of == v for v in values})

    def findings(self) -> list[Finding]:
        """The tilt, then the worst class and the worst group."""
        classes = self._worst("class", "classes", self.classes)
        return [*self._tilt(), *classes, *self._worst("group", "groups", self.groups)]

    def _found(self, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _share(self, hits: Floats, rows: NDArray[np.bool_]) -> Estimate:
        by = self.grid.by
        return proportion(hits[rows], None if by is None else np.asarray(by)[rows].tolist(), level=self.level)

    def _tilt(self) -> list[Finding]:
        """How much more probable a class becomes on average; 0 in expectation where missing says nothing.

        By the law of total expectation the mean probability of a class is its share, whatever a calibrated model sees;
        paired with everything there, so that a model that is wrong about the shares throughout is not blamed here.
        """
        rises = self.grid.tilts()
        # With one class in the data its share is 1, and there is nothing that "missing" could be mistaken for.
        if not rises or self.grid.frame["target"].n_unique() < 2:
            return []
        names = list(rises)
        estimate, m, c = self._most(rises)
        share = float((self.grid.frame["target"].to_numpy() == c).mean())
        title = "How much more probable the class {!r} becomes without the {}"
        said = self.grid.about.classes
        out = [
            self._found(
                "missing_tilt",
                title.format(said[c], m),
                estimate,
                note=f"{share:.1%} of the samples are of this class. The most of {len(names)} inputs and {len(said)} "
                "classes, with an interval that holds for all of them at once.",
            )
        ]
        for m in names:
            one, _, k = self._most({m: rises[m]})
            out.append(self._found("missing_tilt", title.format(said[k], m), one, modality=m, judged=False))
        return out

    def _most(self, rises: Mapping[str, Floats]) -> tuple[Estimate, str, int]:
        """The largest mean rise, of which input and which class."""
        columns = np.concatenate(list(rises.values()), axis=1)
        n, k = columns.shape
        sums = totals(np.column_stack([np.ones(n), columns]), self.grid.by, [[1] + [1] * k, [1] + [-1] * k])
        found = worst(sums, lambda t: t[:, 1:] / t[:, :1], bounds=(-1, 1), level=self.level, seed=self.seed)
        per = k // len(rises)
        return found.estimate, list(rises)[found.at // per], found.at % per

    def _worst(self, kind: str, plural: str, members: Members) -> list[Finding]:
        """Accuracy in the class or group that fares worst at rate 1, and on average over rates."""
        if not members:
            return []
        grid = self.grid
        last = {m: grid.correct[grid.without(m)] for m in grid.names}
        area = {m: (grid.full + x) / 2 for m, x in last.items()}
        out = []
        for metric, columns, how in (
            ("accuracy", last, "is always missing there and nowhere else"),
            ("area", area, "is missing there alone, on average over rates"),
        ):
            estimate, at, m = self._least(members, columns)
            out.append(
                self._found(
                    f"worst_{kind}_{metric}",
                    f"Accuracy in {kind} {at!r} if the {m} {how}",
                    estimate,
                    controls={"there, nothing missing": self._share(grid.full, members[at])},
                    note=f"The least of {len(members)} {plural} and {len(columns)} inputs, with an interval that holds "
                    "for all of them at once.",
                )
            )
        return out

    def _least(self, members: Members, columns: Mapping[str, Floats]) -> tuple[Estimate, str, str]:
        """The smallest accuracy over members and inputs with a simultaneous interval, and where it is."""
        k, inputs = len(members), list(columns)
        inside = np.stack(list(members.values()), axis=1).astype(np.float64)
        hits = np.concatenate([inside * columns[m][:, None] for m in inputs], axis=1)
        ways = [np.concatenate([row, *[hit * row] * len(inputs)]) for row in np.eye(k) for hit in (0.0, 1.0)]
        found = worst(
            totals(np.concatenate([inside, hits], axis=1), self.grid.by, ways),
            lambda t: t[:, k:] / np.tile(t[:, :k], (1, len(inputs))),
            largest=False,
            bounds=(0, 1),
            level=self.level,
            seed=self.seed,
        )
        return found.estimate, list(members)[found.at % k], inputs[found.at // k]

    def charts(self) -> list[Chart]:
        """Accuracy in the classes that fare worst, against the rate at which the input is missing in them alone."""
        if not self.classes:
            return []
        grid = self.grid
        _, _, m = self._least(self.classes, {m: grid.correct[grid.without(m)] for m in grid.names})
        curve, gone = grid.curve(m), grid.correct[grid.without(m)]
        lowest = sorted(self.classes, key=lambda c: gone[self.classes[c]].mean())[:SHOWN]
        return [
            LineChart(
                title=f"Accuracy by class if the {m} goes missing in that class alone",
                x_label=f"share without the {m}",
                y_label="accuracy in the class",
                lines=[self.grid.line(c, curve, self.classes[c]) for c in lowest],
                y_range=(0, 1),
            )
        ]

    def notes(self) -> list[str]:
        """What was asked of classes and groups, and what was not."""
        out = []
        many = len(self.grid.about.classes)
        if many > MOST_CLASSES:
            out.append(f"Missing in one class alone was not asked: {many} classes are more than {MOST_CLASSES}.")
        elif self.classes:
            out.append(
                f"Missing in one class or group alone is asked of those with {FEWEST} samples or more; no limit is set "
                "on what is left there, since a class that only one input tells is lost without it for any model."
            )
        return out


def _large(members: Members) -> Members:
    return {name: rows for name, rows in members.items() if rows.sum() >= FEWEST}
