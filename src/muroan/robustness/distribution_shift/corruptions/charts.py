"""Charts of one modality's perturbations."""

from __future__ import annotations

import numpy as np

from muroan.estimate import Estimate
from muroan.finding import Cell, Chart, Line, LineChart, MatrixChart, TableChart
from muroan.robustness.distribution_shift.corruptions.findings import spoken
from muroan.robustness.distribution_shift.corruptions.sides import Side, average
from muroan.rows import Floats


def charts(side: Side, alike: float) -> list[Chart]:
    """Accuracy by severity; what each perturbation costs at each severity, as a matrix and in numbers; the judge's."""
    m, levels, clean = side.modality, side.severities, side.rows["clean_correct"]
    names = ["perturbation", "severity", "accuracy", "lost", "low", "high", "inputs changed", "samples"]
    table: list[list[Cell]] = []
    judged: list[list[Cell]] = []
    for c, o in side.of.items():
        for k, s in enumerate(o.severities):
            right = o.right[:, k].astype(np.float64)
            drop = side.rows.lost(clean, right)
            lost, changed = [drop.value, drop.low, drop.high], float(o.changed[:, k].mean())
            table.append([c, s, float(right.mean()), *lost, changed, len(right)])
            if o.judged is not None:
                cosine, tries = o.judged.similarity[:, k], float(o.judged.tries[:, k].mean())
                judged.append([c, s, float(cosine.mean()), tries, float((cosine < alike).mean()), len(right)])
    drops = [[None if (r := o.at(s)) is None else float((clean - r).mean()) for s in levels] for o in side.of.values()]
    drawn: list[Chart] = [
        _by_severity(side),
        MatrixChart(
            title=f"Accuracy lost by perturbation of the {m} and severity",
            rows=[spoken(c) for c in side.of],
            columns=[str(s) for s in levels],
            values=drops,
        ),
        TableChart(title=f"Perturbations of the {m}, each paired with clean inputs", columns=names, rows=table),
    ]
    if judged:
        names = ["perturbation", "severity", "cosine", "tries", "out of tries", "samples"]
        title = f"Is the meaning of the {m} kept, by the judge named"
        drawn.append(TableChart(title=title, columns=names, rows=judged))
    return drawn


def _by_severity(side: Side) -> LineChart:
    """A line a family of perturbations, from clean inputs on, beside the null change."""

    def at(values: Floats) -> Estimate:
        return side.rows.mean(values, (0, 1))

    lines = []
    for family in dict.fromkeys(o.family for o in side.of.values()):
        members = [o for o in side.of.values() if o.family == family]
        levels = sorted({s for o in members for s in o.severities})
        means = [average([r for o in members if (r := o.at(s)) is not None]) for s in levels]
        lines.append(Line.of(family, [0, *levels], [at(v) for v in (side.rows["clean_correct"], *means)]))
    every = [0.0, *map(float, side.severities)]
    null = Line(label="null change", x=every, y=[float(side.rows["correct"].mean())] * len(every), control=True)
    return LineChart(
        title=f"Accuracy under perturbations of the {side.modality}",
        x_label="severity",
        y_label="accuracy",
        lines=[*lines, null],
        y_range=(0, 1),
    )
