"""Charts of conformal prediction: the promise at every level, coverage by input, group and size of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart, TableChart
from muroan.monitoring.reliability.conformal.findings import Applied, by_size
from muroan.monitoring.reliability.missing_inputs import CLEAN, shown

LEVELS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
"""Values of alpha at which the promise is checked in the chart."""


def promise_chart(sets: Applied, level: float) -> LineChart:
    """Coverage against promised coverage, with the band that the Beta law leaves to chance."""
    each = [sets.promising(alpha) for alpha in LEVELS]
    promised = [1 - alpha for alpha in LEVELS]
    return LineChart(
        title="Coverage of prediction sets, promised and seen",
        x_label="promised",
        y_label="coverage",
        diagonal=True,
        lines=[
            _line("left to chance if the data are alike", promised, [e.by_chance(level) for e in each], control=True),
            _line(f"{sets.by.recipe.name} sets", promised, [e.coverage(level) for e in each]),
        ],
    )


def _line(label: str, x: list[float], estimates: Sequence[Estimate], *, control: bool = False) -> Line:
    return Line(
        label=label,
        x=x,
        y=[e.value for e in estimates],
        low=[e.low for e in estimates],
        high=[e.high for e in estimates],
        n=[e.n for e in estimates],
        control=control,
    )


def coverage_bars(sets: Applied, findings: Sequence[Finding], level: float) -> list[Chart]:
    """Coverage with inputs missing under both thresholds, by group, and by size of sets."""
    fitted, refitted = "fitted with all inputs", "fitted without it"
    by_input = [Bar(label=shown(CLEAN), of=fitted, estimate=sets.coverage(level))] + [
        Bar(
            label=f.condition,
            of=fitted if f.metric == "missing_shortfall" else refitted,
            estimate=f.controls["coverage"],
        )
        for f in findings
        if f.metric in ("missing_shortfall", "shortfall") and f.condition is not None
    ]
    by_group = [
        Bar(label=f.group.split("=", 1)[1], of=f.group.split("=", 1)[0], estimate=f.estimate)
        for f in findings
        if f.metric == "coverage" and f.group is not None and f.estimate is not None
    ]
    by_length = [Bar(label=label, estimate=e) for label, e in by_size(sets, level)]
    titled = (
        ("Coverage when inputs are missing", by_input),
        ("Coverage by group", by_group),
        ("Coverage by number of labels in the set", by_length),
    )
    return [
        BarChart(title=t, y_label="coverage", bars=bars, limit=1 - sets.by.alpha, y_range=(0.0, 1.0))
        for t, bars in titled
        if len(bars) > 1
    ]


def methods_table(every: Mapping[str, Mapping[str, Applied]], promised: float, level: float) -> TableChart:
    """The scores side by side, thresholds fitted with all inputs: every[score][condition]."""
    rows: list[list[str | float | int | None]] = []
    for name, by_condition in every.items():
        for condition, sets in by_condition.items():
            coverage = sets.coverage(level)
            one, none = (float((sets.sizes == k).mean()) for k in (1, 0))
            size = float(sets.sizes.mean())
            rows.append(
                [name, shown(condition), coverage.value, coverage.low, coverage.high, size, one, none, len(sets)]
            )
    columns = ["score", "inputs", "coverage", "low", "high", "labels in a set", "one label", "none", "n"]
    return TableChart(title=f"Scores compared at {promised:.0%} promised", columns=columns, rows=rows)
