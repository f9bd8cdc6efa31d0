"""Charts and notes of the mismatch probe."""

from __future__ import annotations

from collections.abc import Sequence

from muroan.estimate import Estimate, proportion
from muroan.finding import Bar, BarChart, Chart, Line, LineChart
from muroan.interventions.swaps import MATCHED, SHIFTS, SWAPS
from muroan.robustness.distribution_shift.mismatch.findings import SAYS, MismatchFindings
from muroan.robustness.distribution_shift.mismatch.view import Cell, View


def _right(view: View, cell: Cell) -> Estimate:
    """The share of right answers of a condition."""
    return proportion(cell.correct[cell.applied], view.by(cell.applied), level=view.about.level)


def charts(found: MismatchFindings) -> list[Chart]:
    """Accuracy by input and condition, whom the model follows, and what delays cost."""
    view = found.view
    bars = []
    for m in found.names:
        for name in (MATCHED, *(s.name for s in SWAPS)):
            c = view.cell(m, name)
            if c is not None:
                said = "as it was" if name == MATCHED else SAYS[name]
                bars.append(Bar(label=said, estimate=_right(view, c), of=m, control=name == MATCHED))
    right = "accuracy: own pairs found, others refused" if view.paired else "accuracy"
    out: list[Chart] = []
    if bars:
        out.append(
            BarChart(title="Right answers with one input from elsewhere", y_label=right, bars=bars, y_range=(0, 1))
        )
    followed = [f for f in found.dominance() if f.modality]
    if followed:
        out.append(
            BarChart(
                title="Whom the model follows when inputs disagree",
                y_label="answers that follow this input",
                bars=[Bar(label=str(f.modality), estimate=f.estimate) for f in followed if f.estimate],
                y_range=(0, 1),
            )
        )
    shifts = [s for s in SHIFTS if any(view.levels(m, s.name) for m in found.names)]
    return [*out, *(_curve(found, s.name, s.levels) for s in shifts)]


def _curve(found: MismatchFindings, shift: str, levels: Sequence[float]) -> LineChart:
    view, lines = found.view, []
    for m in found.names:
        cells = view.levels(m, shift)
        if cells:
            shares = [_right(view, c) for c in (view.matched(m), *cells)]
            lines.append(
                Line(
                    label=m,
                    x=[0.0, *levels[: len(cells)]],
                    y=[e.value for e in shares],
                    low=[e.low for e in shares],
                    high=[e.high for e in shares],
                    n=[e.n for e in shares],
                )
            )
    return LineChart(
        title=f"Accuracy with an input {SAYS[shift]}",
        x_label="share of its length",
        y_label="accuracy",
        lines=lines,
        y_range=(0, 1),
    )


def notes(found: MismatchFindings) -> list[str]:
    """What a reader should know beside the figures."""
    view = found.view
    if not found.names:
        return []
    n = {m: int(view.matched(m).applied.sum()) for m in found.names}
    out = [
        f"Of {', '.join(f'{k} samples for the {m}' for m, k in n.items())}; donors are samples of the reference.",
        "Which answer is right for inputs that do not belong together nobody can say: accuracy is held against the "
        "sample's own label.",
        "Where the label is about a relation of the inputs (a question about a picture), a swap makes another "
        "sample as good as any, and neither dominance nor detection means much.",
    ]
    if any(view.cell(m, "stale") for m in found.names):
        out.append(
            "Stale is another moment of the same groups, of any class: nothing in the data says what was earlier."
        )
    if not view.scored:
        out.append("The model gives labels only: whether its confidence shows a mismatch could not be measured.")
    moved = sum(
        int((view.matched(m).predicted != view.frame["clean_predicted"].to_numpy())[view.matched(m).applied].sum())
        for m in found.names
    )
    if moved:
        out.append(f"The null change moved {moved} answers: the model is not the same alone as in a batch.")
    return out
