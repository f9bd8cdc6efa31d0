"""Charts of calibration: reliability diagrams, overconfidence by input and group, risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart
from muroan.interventions.removals import CLEAN
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.scored import shown
from muroan.rows import Rows

CURVE = 100
"""Points of a risk-coverage curve."""


def diagram(condition: str, rows: Rows, bins: int) -> LineChart:
    """The reliability diagram, with the very bins that the error is computed over; an empty one has no accuracy."""
    where = ce.equal_width(rows["confidence"], bins)
    r = ce.reliability(rows["confidence"], rows["correct"], where, bins)
    each = [rows.where(where == b).share("correct") if r.n[b] else None for b in range(bins)]
    line = Line(
        label=shown(condition),
        x=[float(r.confidence[b]) if e else (b + 0.5) / bins for b, e in enumerate(each)],
        y=[float(r.accuracy[b]) if e else None for b, e in enumerate(each)],
        low=[e.low if e else None for e in each],
        high=[e.high if e else None for e in each],
        n=r.n.tolist(),
    )
    return LineChart(
        title=f"How often right, by how sure ({line.label})",
        x_label="confidence",
        y_label="accuracy",
        lines=[line],
        diagonal=True,
        y_range=(0.0, 1.0),
    )


def overconfidence_bars(findings: Sequence[Finding]) -> list[Chart]:
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


def risk_chart(audited: Mapping[str, Rows]) -> LineChart:
    """The error rate among the surest answers, for each share of answers that is used."""
    lines = []
    for condition, rows in audited.items():
        risk = selective.risk_at_coverage(rows["sureness"], rows["correct"])
        k = np.unique(np.ceil(np.linspace(0, 1, CURVE + 1)[1:] * len(risk)).astype(int))
        used, at = (k / len(risk)).tolist(), risk[k - 1].tolist()
        lines.append(Line(label=shown(condition), x=used, y=at, n=k.tolist()))
    return LineChart(
        title="Error rate if only the surest answers are used",
        x_label="share of answers used",
        y_label="error rate",
        lines=lines,
    )
