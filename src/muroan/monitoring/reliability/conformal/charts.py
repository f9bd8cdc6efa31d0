"""Charts of conformal prediction: the promise at every level, coverage by input, group and size of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart, TableChart
from muroan.interventions.removals import CLEAN
from muroan.monitoring.reliability.conformal.findings import by_size
from muroan.monitoring.reliability.conformal.thresholds import Threshold
from muroan.monitoring.reliability.scored import shown
from muroan.rows import Rows

LEVELS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
"""Values of alpha at which the promise is checked in the chart."""


def promise_chart(by: Threshold, sets: Rows) -> LineChart:
    """Coverage against promised coverage, with the band that the Beta law leaves to chance."""
    each = [replace(by, alpha=alpha) for alpha in LEVELS]
    promised = [1 - alpha for alpha in LEVELS]
    chance, seen = [t.by_chance(sets) for t in each], [sets.share(sets["score"] <= t.value) for t in each]
    return LineChart(
        title="Coverage of prediction sets, promised and seen",
        x_label="promised",
        y_label="coverage",
        diagonal=True,
        lines=[
            Line.of("left to chance if the data are alike", promised, chance, control=True),
            Line.of(f"{by.recipe.name} sets", promised, seen),
        ],
    )


def coverage_bars(by: Threshold, sets: Rows, findings: Sequence[Finding]) -> list[Chart]:
    """Coverage with inputs missing under both thresholds, by group, and by size of sets."""
    series = {"missing_shortfall": "fitted with all inputs", "shortfall": "fitted without it"}
    by_input = [Bar(label=shown(CLEAN), of=series["missing_shortfall"], estimate=sets.share("hit"))] + [
        Bar(label=f.condition, of=series[f.metric], estimate=f.controls["coverage"])
        for f in findings
        if f.metric in series and f.condition is not None
    ]
    by_group = [
        Bar(label=f.group.split("=", 1)[1], of=f.group.split("=", 1)[0], estimate=f.estimate)
        for f in findings
        if f.metric == "coverage" and f.group is not None and f.estimate is not None
    ]
    by_length = [Bar(label=label, estimate=rows.share("hit")) for label, rows in by_size(sets).items()]
    titled = (
        ("Coverage when inputs are missing", by_input),
        ("Coverage by group", by_group),
        ("Coverage by number of labels in the set", by_length),
    )
    return [
        BarChart(title=t, y_label="coverage", bars=bars, limit=1 - by.alpha, y_range=(0.0, 1.0))
        for t, bars in titled
        if len(bars) > 1
    ]


def methods_table(every: Mapping[str, Mapping[str, Rows]], promised: float) -> TableChart:
    """The scores side by side, thresholds fitted with all inputs: every[score][condition]."""
    table: list[list[str | float | int | None]] = []
    for name, by_condition in every.items():
        for condition, sets in by_condition.items():
            coverage, size = sets.share("hit"), sets["size"]
            of_size = [float(size.mean()), *(float((size == k).mean()) for k in (1, 0))]
            table.append([name, shown(condition), coverage.value, coverage.low, coverage.high, *of_size, len(sets)])
    columns = ["score", "inputs", "coverage", "low", "high", "labels in a set", "one label", "none", "n"]
    return TableChart(title=f"Scores compared at {promised:.0%} promised", columns=columns, rows=table)
