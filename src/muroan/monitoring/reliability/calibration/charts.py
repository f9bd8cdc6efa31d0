"""Charts of calibration: reliability diagrams, overconfidence by input and group, risk against coverage."""

from __future__ import annotations

import numpy as np

from muroan.estimate import proportion
from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.missing_inputs import CLEAN, shown
from muroan.monitoring.reliability.scored import Scored

CURVE = 100
"""Points of a risk-coverage curve."""


def diagram(condition: str, s: Scored, *, bins: int, level: float) -> LineChart:
    """The reliability diagram, with the very bins that the error is computed over."""
    where = ce.equal_width(s.confidence, bins)
    r = ce.reliability(s.confidence, s.correct, where, bins)
    x: list[float] = []
    y: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    for b in range(bins):
        if r.n[b] == 0:  # an empty bin has no accuracy; it is not 0
            x.append((b + 0.5) / bins)
            for column in (y, low, high):
                column.append(None)
            continue
        inside = where == b
        e = proportion(s.correct[inside], None if s.clusters is None else s.clusters[inside], level=level)
        x.append(float(r.confidence[b]))
        y.append(float(r.accuracy[b]))
        low.append(e.low)
        high.append(e.high)
    name = shown(condition)
    return LineChart(
        title=f"How often right, by how sure ({name})",
        x_label="confidence",
        y_label="accuracy",
        lines=[Line(label=name, x=x, y=y, low=low, high=high, n=[int(k) for k in r.n])],
        diagonal=True,
        y_range=(0.0, 1.0),
    )


def overconfidence_bars(findings: list[Finding]) -> list[Chart]:
    """Overconfidence with all inputs and without some, and by group."""
    by_input: list[Bar] = []
    by_group: list[Bar] = []
    for f in findings:
        if f.estimate is None or not f.metric.startswith("overconfidence"):
            continue
        if f.group is None:
            by_input.append(Bar(label=shown(f.condition or CLEAN), estimate=f.estimate))
        else:
            name, value = f.group.split("=", 1)
            by_group.append(Bar(label=value, estimate=f.estimate, of=name))
    titled = (("Overconfidence when inputs are missing", by_input), ("Overconfidence by group", by_group))
    return [BarChart(title=t, y_label="confidence − accuracy", bars=b) for t, b in titled if len(b) > 1]


def risk_chart(audited: dict[str, Scored]) -> LineChart:
    """The error rate among the surest answers, for each share of answers that is used."""
    lines = []
    for condition, s in audited.items():
        risk = selective.risk_at_coverage(s.sureness, s.correct)
        k = np.unique(np.ceil(np.linspace(0, 1, CURVE + 1)[1:] * len(risk)).astype(int))
        lines.append(
            Line(
                label=shown(condition),
                x=[float(v) for v in k / len(risk)],
                y=[float(v) for v in risk[k - 1]],
                n=[int(v) for v in k],
            )
        )
    return LineChart(
        title="Error rate if only the surest answers are used",
        x_label="share of answers used",
        y_label="error rate",
        lines=lines,
    )
