"""Findings, charts and notes of the mismatch probe, from its view of the evidence."""

from __future__ import annotations

import polars as pl

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Line, LineChart
from muroan.interventions.swaps import REAL, SHIFTS, SWAPS, TABLE, Delayed, Matched, SameClass, Shift, Stale
from muroan.robustness.distribution_shift.mismatch.view import View, done, tied, worst
from muroan.rows import Rows
from muroan.say import Say

NOBODY = "no sample has an input that could be taken from elsewhere, with another one beside it"


def findings(say: Say, view: View) -> None:
    if view.scored and not view.paired:
        _hidden(say, view)
    _delays(say, view)
    _losses(say, view)
    if view.paired:
        _matches(say, view)
    else:
        _dominance(say, view)
    if view.scored:
        _detection(say, view)
    if view.scored and not view.paired:
        _confidences(say, view)


def _hidden(say: Say, view: View) -> None:
    cells = view.keyed
    if not cells:
        return
    title = "Conflict between the {} and the rest that the confidence does not show"
    controls = {m: _lost_by_both(done(rows)) for m, rows in cells.items()}
    for m, rows in view.of(SameClass.name).items():
        if m in controls:
            controls[m]["same class"] = done(rows).mean("hidden", (-2, 2))
    estimate, m = worst(cells, "hidden", (-2, 2), ways=(-1, 1))
    note = "The worst input, with an interval that holds for all of them at once."
    say("hidden_conflict", title.format(m), estimate, controls=controls[m], note=note)
    for m, rows in cells.items():
        hidden = done(rows).mean("hidden", (-2, 2))
        say.detail("hidden_conflict", title.format(m), hidden, modality=m, controls=controls[m])


def _lost_by_both(rows: Rows) -> dict[str, Estimate]:
    """Confidence lost by the model, and by the product of its parts."""
    return {
        "confidence lost": rows.lost("was_sure", "confidence"),
        "lost by the product of the parts": rows.lost("was_parts", "parts_confidence"),
    }


def _delays(say: Say, view: View) -> None:
    cells = view.of(Delayed.name)
    if cells:
        estimate, m = worst(cells, "lost", (-1, 1))
        title = f"Accuracy lost while the {m} comes late, on average over delays"
        say("delay_loss", title, estimate, note="The worst input; the interval holds for all at once.")


def _losses(say: Say, view: View) -> None:
    """Accuracy lost, by input and condition; for pairs only where the right answer stays "found"."""
    title = "Accuracy lost with the {} {}"
    for m, cells in view.cells.items():
        for change in TABLE:
            if change.name not in cells or (view.paired and change in SWAPS):
                continue
            rows = done(cells[change.name])
            # What the null change costs: 0, or something is wrong with the model.
            null = {"null change": rows.lost("clean_correct", "was_right")}
            lost = rows.lost("was_right", "right")
            say.about(modality=m, condition=change.name).detail(
                "accuracy_lost", title.format(m, change.says), lost, controls=null
            )
    if view.keyed and not view.paired:
        estimate, m = worst(view.keyed, "lost", (-1, 1))
        say("accuracy_lost", title.format(m, view.key.says), estimate, note="The input that costs most.")


def _matches(say: Say, view: View) -> None:
    """Of pairs: swapped, and still found."""
    if not view.keyed:
        return
    still, title = 1 - pl.col("right"), "Pairs still found with the {} of another"
    estimate, m = worst(view.keyed, still, (0, 1))
    say("false_match", title.format(m), estimate)
    for m, cell in view.keyed.items():
        rows = done(cell)
        controls = {"found as they were": rows.share("was_right")}
        say.detail("false_match", title.format(m), rows.share(still), modality=m, controls=controls)


def _dominance(say: Say, view: View) -> None:
    cells = {m: rows for m, rows in view.keyed.items() if done(rows)["decided"].any()}
    if not cells:
        return
    title = "Answers that follow the {} when the others tell another class"
    estimate, m = worst(cells, "lent", (0, 1), among="decided")
    say("dominance", title.format(m), estimate, note="The input followed most.")
    for m, cell in cells.items():
        rows = done(cell)
        controls = {"neither class answered": rows.share(1 - pl.col("decided"))}
        before = rows.where(rows["decided_before"])
        if len(before):
            controls["without the swap"] = before.share("lent_before")
        followed = rows.where(rows["decided"]).share("lent")
        say.detail("dominance", title.format(m), followed, modality=m, controls=controls)


def _detection(say: Say, view: View) -> None:
    title = "How well confidence tells {} from those as they were"
    for m, cells in view.cells.items():
        for swap in SWAPS:
            if swap.name in cells:
                told, rows = title.format(f"samples with the {m} {swap.says}"), tied(done(cells[swap.name]))
                one = say.about(modality=m, condition=swap.name)
                one.detail("detection", told, rows.above(rows, "doubt", "was_doubt"))
    if view.keyed:
        every = tied(Rows(pl.concat([done(rows).frame for rows in view.keyed.values()]), view.about))
        note = f"All inputs together, each {view.key.says}."
        say("detection", title.format("mismatched samples"), every.above(every, "doubt", "was_doubt"), note=note)


def _confidences(say: Say, view: View) -> None:
    """How often confidence does not fall, and what of the loss it does not show."""
    for m, cell in view.keyed.items():
        rows, when, own = done(cell), f"when the {m} is {view.key.says}", say.about(modality=m)
        title = f"Samples on which confidence does not fall {when}"
        own.detail("not_less_sure", title, rows.share("stays_sure"))
        title = f"Accuracy lost that the confidence does not show {when}"
        own.detail("unshown_loss", title, rows.mean("unshown", (-2, 2)))


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
    drawn: list[Chart] = [BarChart.of_shares("Right answers with one input from elsewhere", right, bars)]
    said = [f for f in say.findings if f.metric == "dominance"]
    followed = [Bar(label=f.modality, estimate=f.estimate) for f in said if f.modality and f.estimate]
    if followed:
        title = "Whom the model follows when inputs disagree"
        drawn.append(BarChart.of_shares(title, "answers that follow this input", followed))
    return [*drawn, *(_curve(view, shift) for shift in SHIFTS if view.of(shift.name))]


def _curve(view: View, shift: type[Shift]) -> LineChart:
    lines = []
    for m in view.of(shift.name):
        levels = view.levels[m][shift.name]
        shares = [_right(rows) for rows in (view.cells[m][Matched.name], *levels)]
        lines.append(Line.of(m, [0.0, *shift.levels[: len(levels)]], shares))
    return LineChart.of_shares(f"Accuracy with an input {shift.says}", "share of its length", "accuracy", lines)


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
