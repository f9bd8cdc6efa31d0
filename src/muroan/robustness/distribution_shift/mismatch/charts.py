"""Charts and notes of the mismatch probe."""

from __future__ import annotations

import polars as pl

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Line, LineChart
from muroan.interventions.swaps import REAL, SHIFTS, Matched, Shift, Stale
from muroan.robustness.distribution_shift.mismatch.view import View, done
from muroan.rows import Rows
from muroan.say import Say


def _right(rows: Rows) -> Estimate:
    return done(rows).share("right")


def charts(say: Say, view: View) -> list[Chart]:
    """Accuracy by input and condition, whom the model follows, and what delays cost."""
    bars = [
        Bar(label=change.says, estimate=_right(cells[change.name]), of=m, control=change is Matched)
        for m, cells in view.cells.items()
        for change in REAL
        if change.name in cells
    ]
    right = "accuracy: own pairs found, others refused" if view.paired else "accuracy"
    drawn: list[Chart] = [
        BarChart(title="Right answers with one input from elsewhere", y_label=right, bars=bars, y_range=(0, 1))
    ]
    followed = {f.modality: f.estimate for f in say.findings if f.metric == "dominance" and f.modality}
    if followed:
        drawn.append(
            BarChart(
                title="Whom the model follows when inputs disagree",
                y_label="answers that follow this input",
                bars=[Bar(label=str(m), estimate=e) for m, e in followed.items() if e],
                y_range=(0, 1),
            )
        )
    return [*drawn, *(_curve(view, shift) for shift in SHIFTS if view.of(shift.name))]


def _curve(view: View, shift: type[Shift]) -> LineChart:
    lines = []
    for m in view.of(shift.name):
        levels = view.levels[m][shift.name]
        shares = [_right(rows) for rows in (view.cells[m][Matched.name], *levels)]
        lines.append(Line.of(m, [0.0, *shift.levels[: len(levels)]], shares))
    return LineChart(
        title=f"Accuracy with an input {shift.says}",
        x_label="share of its length",
        y_label="accuracy",
        lines=lines,
        y_range=(0, 1),
    )


def notes(view: View) -> list[str]:
    """What a reader should know beside the figures."""
    null = {m: done(rows) for m, rows in view.of(Matched.name).items()}
    said = [
        f"Of {', '.join(f'{len(rows)} samples for the {m}' for m, rows in null.items())}; donors are samples of the "
        "reference.",
        "Which answer is right for inputs that do not belong together nobody can say: accuracy is held against the "
        "sample's own label.",
        "Where the label is about a relation of the inputs (a question about a picture), a swap makes another "
        "sample as good as any, and neither dominance nor detection means much.",
    ]
    if view.of(Stale.name):
        said.append(
            "Stale is another moment of the same groups, of any class: nothing in the data says what was earlier."
        )
    if not view.scored:
        said.append("The model gives labels only: whether its confidence shows a mismatch could not be measured.")
    moved = sum(len(rows.where(pl.col("same") == 0)) for rows in null.values())
    if moved:
        said.append(f"The null change moved {moved} answers: the model is not the same alone as in a batch.")
    return said
