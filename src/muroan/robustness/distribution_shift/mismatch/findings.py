"""Findings of the mismatch probe, from its view of the evidence."""

from __future__ import annotations

import polars as pl

from muroan.data.pairs import FOUND
from muroan.estimate import Estimate
from muroan.interventions.swaps import SWAPS, TABLE, Delayed, SameClass
from muroan.robustness.distribution_shift.mismatch.view import (
    BEFORE,
    DECIDED,
    HIDDEN,
    LENT,
    LOST,
    STAYS_SURE,
    UNSURE,
    View,
    done,
    tied,
    worst,
)
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
            controls[m]["same class"] = done(rows).mean(HIDDEN, (-2, 2))
    estimate, m = worst(cells, HIDDEN, (-2, 2), ways=(-1, 1))
    note = "The worst input, with an interval that holds for all of them at once."
    say("hidden_conflict", title.format(m), estimate, controls=controls[m], note=note)
    for m, rows in cells.items():
        hidden = done(rows).mean(HIDDEN, (-2, 2))
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
        estimate, m = worst(cells, LOST, (-1, 1))
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
        estimate, m = worst(view.keyed, LOST, (-1, 1))
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
    cells = {m: rows for m, rows in view.keyed.items() if len(done(rows).where(DECIDED))}
    if not cells:
        return
    title = "Answers that follow the {} when the others tell another class"
    estimate, m = worst(cells, LENT, (0, 1), among=DECIDED)
    say("dominance", title.format(m), estimate, note="The input followed most.")
    for m, cell in cells.items():
        rows = done(cell)
        controls = {"neither class answered": rows.share(~DECIDED)}
        before = rows.where(BEFORE | (pl.col("was_predicted") == pl.col("target")))
        if len(before):
            controls["without the swap"] = before.share(BEFORE)
        say.detail("dominance", title.format(m), rows.where(DECIDED).share(LENT), modality=m, controls=controls)


def _detection(say: Say, view: View) -> None:
    title = "How well confidence tells {} from those as they were"
    now, before = _doubt(view, "confidence", "predicted"), _doubt(view, "was_sure", "was_predicted")
    for m, cells in view.cells.items():
        for swap in SWAPS:
            if swap.name in cells:
                rows = tied(done(cells[swap.name]))
                told = title.format(f"samples with the {m} {swap.says}")
                say.about(modality=m, condition=swap.name).detail("detection", told, rows.above(rows, now, before))
    if view.keyed:
        every = tied(Rows(pl.concat([done(rows).frame for rows in view.keyed.values()]), view.about))
        note = f"All inputs together, each {view.key.says}."
        say("detection", title.format("mismatched samples"), every.above(every, now, before), note=note)


def _doubt(view: View, sure: str, said: str) -> pl.Expr:
    """How little a model believes in a sample: 1 − confidence; for pairs 1 − p(found)."""
    if not view.paired:
        return 1 - pl.col(sure)
    return pl.when(pl.col(said) == FOUND.index("found")).then(1 - pl.col(sure)).otherwise(pl.col(sure))


def _confidences(say: Say, view: View) -> None:
    """How often confidence does not fall, and what of the loss it does not show."""
    for m, cell in view.keyed.items():
        rows, when, own = done(cell), f"when the {m} is {view.key.says}", say.about(modality=m)
        title = f"Samples on which confidence does not fall {when}"
        own.detail("not_less_sure", title, rows.share(STAYS_SURE))
        title = f"Accuracy lost that the confidence does not show {when}"
        own.detail("unshown_loss", title, rows.mean(LOST - UNSURE, (-2, 2)))
