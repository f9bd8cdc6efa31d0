"""Findings, charts and notes of the missing-modality probe, from a grid of outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Line, LineChart
from muroan.interventions.removals import Kept
from muroan.robustness.distribution_shift.missing_modality import dependent
from muroan.robustness.distribution_shift.missing_modality.grid import ABSENT, Grid, condition
from muroan.say import Say

GUESS = "best constant answer (oracle)"
MOST_BARS = 14
"""Subsets up to which each has a bar: all of four inputs; of more, bars would be a page long."""


def _names(of: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(of[:-1]), *of[-1:]) if part)


def findings(say: Say, grid: Grid) -> None:
    if grid.scored:
        _hidden(say, grid)
        _silent(say, grid)
    _guessing(say, grid)
    _accuracies(say, grid)
    if grid.scored:
        _confidence(say, grid)
    _curves(say, grid)
    dependent.tilt(say, grid)
    dependent.worst_members(say, grid)
    _groups(say, grid)


def _hidden(say: Say, grid: Grid) -> None:
    """What is lost and does not show: 0 in expectation for whoever is right as often as sure, whatever is missing.

    Both losses are paired with the full input, so a model that is too sure throughout is not blamed here.
    """
    rows, title = grid.rows, "Accuracy lost without the {} that the confidence does not show"
    doubts = {gone: right - grid.sure[gone] for gone, right in grid.right.items()}
    estimate, gone = rows.worst_excess(pl.col("full") - pl.col("clean_confidence"), doubts, (-2, 2))
    controls = {"accuracy without": rows.share(grid.right[gone])}
    controls["confidence without"] = rows.mean(grid.sure[gone], (0, 1))
    note = "The worst subset, with an interval that holds for all of them at once."
    say("hidden_loss", title.format(_names(gone)), estimate, controls=controls, note=note)
    for m, some in grid.without.items():
        say.detail("hidden_loss", title.format(m), some.mean("hidden", (-2, 2)), modality=m)


def _silent(say: Say, grid: Grid) -> None:
    title = "Right answers lost without the {}, while confidence does not fall"
    controls = {m: {"lost, whatever the confidence": rows.share("turned")} for m, rows in grid.without.items()}
    estimate, m = grid.rows.worst({m: rows["silent"] for m, rows in grid.without.items()})
    note = "Of all complete samples; the worst input, with an interval that holds for all of them at once."
    say("silent_loss", title.format(m), estimate, controls=controls[m], note=note)
    for m, rows in grid.without.items():
        say.detail("silent_loss", title.format(m), rows.share("silent"), modality=m, controls=controls[m])


def _guessing(say: Say, grid: Grid) -> None:
    if not grid.several:
        title = "Whether a constant guess is better than the model with an input missing"
        reason = "all samples have the same right answer, so a constant guess is always right"
        say.nothing(["below_guessing"], title, reason)
        return
    estimate, gone = grid.rows.worst_excess(grid.guess, grid.right)
    title = f"How much better a constant guess is than the model with only {_names(grid.kept(gone))}"
    note = f"The constant answer is {grid.about.classes[grid.constant]!r}, chosen with the labels."
    say("below_guessing", title, estimate, controls=_guess(grid), note=note)


def _guess(grid: Grid) -> dict[str, Estimate]:
    """The control of accuracies, where it says anything."""
    return {GUESS: grid.rows.share(grid.guess)} if grid.several else {}


def _accuracies(say: Say, grid: Grid) -> None:
    rows = grid.rows
    every: dict[Kept, np.ndarray] = {(): rows["full"], **grid.right}
    controls = {"everything": rows.share("full")} | _guess(grid)
    least, gone = rows.worst(every, largest=False)
    say("worst_accuracy", f"Accuracy with only {_names(grid.kept(gone))}", least, controls=controls)
    average = rows.mean(np.mean(list(every.values()), axis=0), (0, 1))
    title = f"Accuracy on average over {len(every)} subsets of the inputs"
    say("average_accuracy", title, average, controls=controls)
    most, m = rows.worst_excess("full", {m: grid.right[m,] for m in grid.names})
    say("worst_single_drop", f"Accuracy lost without the {m}", most)
    for m, some in grid.without.items():
        note = "" if some["changed"].any() else f"No answer ever changes: the model ignores the {m}."
        say.detail("drop", f"Accuracy lost without the {m}", some.lost("full", "right"), modality=m, note=note)
        title = f"Answers that change without the {m}"
        say.detail("answer_changes", title, some.share("changed"), modality=m, note=note)
    for mode, table in grid.tables.items():
        for gone, right in table.items():
            title = f"Accuracy with only {_names(grid.kept(gone))}, the rest {mode}"
            say.detail("accuracy", title, rows.share(right), condition=condition(mode, grid.kept(gone)))


def _confidence(say: Say, grid: Grid) -> None:
    title = "Samples on which confidence is higher {}"
    rises = np.mean([rows["rises"] for rows in grid.without.values()], axis=0)
    note = "On average over which input is missing."
    say("confidence_rise", title.format("with an input missing"), grid.rows.mean(rises, (0, 1)), note=note)
    for m, rows in grid.without.items():
        say.detail("confidence_rise", title.format(f"without the {m}"), rows.share("rises"), modality=m)


def _curves(say: Say, grid: Grid) -> None:
    joint = grid.joint_curve()
    if joint is not None:
        title = "Accuracy on average over missing rates, every input missing at random"
        note = "Inputs go missing independently of each other; where all would, one of them stays."
        say("curve_area", title, grid.area(joint), note=note)
    for m in grid.names:
        title = f"Accuracy on average over rates at which the {m} is missing"
        say.detail("curve_area", title, grid.area(grid.curve(m)), modality=m)


def _groups(say: Say, grid: Grid) -> None:
    """For each group how much more one of its values loses without the worst input, and which two."""
    m = grid.worst_input
    for name in grid.about.groups:
        gap = grid.without[m].gap(pl.col("full") - pl.col("right"), name)
        if gap is not None:
            title = f"A missing {m} costs {name} {gap.highest!r} more than {gap.lowest!r}"
            note = "If the input goes missing in one group only, this is what depends on which."
            say.detail("group_drop_gap", title, gap.estimate, modality=m, group=name, note=note)


def charts(say: Say, grid: Grid) -> list[Chart]:
    joint = grid.joint_curve()
    lines = [grid.line(f"{m} missing", grid.curve(m)) for m in grid.names]
    lines += [] if joint is None else [grid.line("every input missing", joint)]
    lines += [Line(label=g, x=[0.0, 1.0], y=[e.value] * 2, control=True) for g, e in _guess(grid).items()]
    title = "Accuracy as inputs go missing at random"
    drawn: list[Chart] = [LineChart.of_shares(title, "share without the input", "accuracy", lines)]
    drawn.append(BarChart.of_shares("Accuracy with what is left", "accuracy", _bars(grid)))
    gaps = {f.group: f.estimate.value for f in say.findings if f.metric == "group_drop_gap" and f.group and f.estimate}
    if gaps:
        name, m = max(gaps, key=lambda g: gaps[g]), grid.worst_input
        of, curve = grid.rows.column(f"group.{name}"), grid.curve(m)
        title = f"Accuracy by {name} if the {m} goes missing in that group"
        lines = [grid.line(v, curve, of == v) for v in grid.about.groups[name] if (of == v).any()]
        drawn.append(LineChart.of_shares(title, f"share without the {m}", "accuracy in the group", lines))
    return [*drawn, *dependent.charts(grid)]


def _bars(grid: Grid) -> list[Bar]:
    """Accuracy by what is left; beyond `MOST_BARS` subsets only those that lack one input, or hold one alone."""
    bars = [Bar(label="everything", estimate=grid.rows.share("full"))]
    for mode, table in grid.tables.items():
        of = "missing inputs " + ("left out" if mode == ABSENT else "neutral") if len(grid.tables) > 1 else ""
        for gone, right in table.items():
            if len(table) <= MOST_BARS or len(gone) in (1, len(grid.names) - 1):
                bars.append(Bar(label=_left(grid, gone), estimate=grid.rows.share(right), of=of))
    return [*bars, *(Bar(label=g, estimate=e, control=True) for g, e in _guess(grid).items())]


def _left(grid: Grid, gone: Kept) -> str:
    kept = grid.kept(gone)
    return f"all but {gone[0]}" if len(gone) == 1 < len(kept) else f"only {' + '.join(kept)}"


def notes(grid: Grid) -> list[str]:
    said = [
        f"Of {len(grid.rows)} samples that have all of their inputs.",
        "Missing is the model's own handling of an absent input; where it says neutral, the neutral value of the "
        "input's kind stands in its place instead."
        if ABSENT in grid.tables
        else "Missing is the neutral value of the input's kind in its place, which the model may never have "
        "seen; a mask, a mean or another sample's value would be other tests.",
        "What a model trained on the remaining inputs alone would reach (the unimodal ceiling) is not known, so "
        "a drop does not say how much of it could be avoided.",
        "At a missing rate accuracy is a mixture of the outcomes with and without the input: the curves are "
        "exact for inputs that go missing at random, or in one class or group alone, and needed no further answers "
        "of the model.",
        *dependent.notes(grid),
        "Only inputs missing in use were measured; inputs added, or others than in training, need a model that "
        "was trained so.",
    ]
    if grid.incomplete:
        said.append(f"{grid.incomplete} samples lack an input in the data themselves; they are left out.")
    if not grid.scored:
        said.append("The model gives labels only: what its confidence does could not be measured.")
    if len(grid.missing) > MOST_BARS:
        said.append(f"Of {len(grid.missing)} subsets the chart shows those that lack one input or hold one alone.")
    if len(grid.missing) != 2 ** len(grid.names) - 2:
        said.append(f"With {len(grid.names)} inputs, only subsets that lack one, or hold one alone, were asked.")
    return said
