"""What the attribution probe concludes: findings and charts, from its rows alone."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import polars as pl

from muroan.controllability.explainability.attribution.contributions import (
    agreement,
    fidelity,
    interaction,
    least_used,
    mass,
    outvotes,
    pair_interaction,
)
from muroan.estimate import Estimate
from muroan.evidence import Evidence
from muroan.finding import Bar, BarChart, Chart, Conclusion, Line, LineChart, MatrixChart
from muroan.rows import SMALLEST_GROUP, Rows
from muroan.say import Say

MODALITIES = "modalities"
"""The condition whose rows are about whole modalities."""
CHANGES = "decisions that change without it"
ORDERS = {"ranked": "most important first", "random": "random order", "reversed": "least important first"}
"""The orders in which parts are removed, as columns and in words."""


def parts_of(modality: str) -> str:
    """The condition whose rows are about one modality's parts."""
    return f"parts of {modality}"


class Settings(NamedTuple):
    """Those of the probe's settings that its findings speak of."""

    parts_share: float
    coalitions: int
    steps: int
    orders: int


def conclude(probe: str, evidence: Evidence, how: Settings) -> Conclusion:
    """What `controllability.attribution` concludes from its evidence."""
    rows, say = Rows.of(evidence, MODALITIES), Say(probe)
    if not len(rows):
        return Conclusion(findings=[], notes=["No sample could be observed."])
    _by_modality(say, rows)
    charts: list[Chart] = [_mass_chart(say)]
    notes = [
        f"Of {len(rows)} samples, towards the model's own decision on each. Shares are ratios of totals: "
        "Σ |Shapley value of one input| / Σ |Shapley values of all inputs|.",
        "A missing input is its neutral value (a plain picture, no words), not another sample's.",
    ]
    for group in rows.about.groups:
        charts += _by_group(say, rows, group)
    for m in rows.about.modalities:
        drawn, note = _of_parts(say, Rows.of(evidence, parts_of(m)), m, how)
        charts += drawn
        notes.append(note)
    return Conclusion(findings=say.findings, charts=charts, notes=notes)


def _by_modality(say: Say, rows: Rows) -> None:
    names = list(rows.about.modalities)
    least, share = least_used(rows)
    title = f"Share of the model's reasons that come from its least used input ({least})"
    note = f"Equal use would be {1 / len(names):.2f}."
    say("least_used", title, share, note=note, controls=_without(rows, least))
    say("interaction", "Share of the contributions that no input makes alone", interaction(rows))
    _outvoting(say, rows)
    agreed = agreement(rows, names)
    if agreed is not None:
        title = "The input whose removal changes the decision is the one the explanation ranks first"
        note = "Of a sample's pairs of inputs of which exactly one changes the decision when removed."
        say("agreement", title, agreed, note=note)
    for m in names:
        title = f"Share of the model's reasons that come from {m}"
        say.detail("mass", title, mass(rows, m), modality=m, controls=_without(rows, m))
    for a, b in combinations(names, 2) if len(names) > 2 else ():
        title = f"Interaction of {a} and {b}, relative to what single inputs contribute"
        say.detail("interaction", title, pair_interaction(rows, a, b), condition=f"{a} with {b}")


def _outvoting(say: Say, rows: Rows) -> None:
    """Whether the most used input has the last word, judged where it does not deserve it."""
    most = max(rows.about.modalities, key=lambda m: (mass(rows, m).value, m))
    disagree = outvotes(rows, most)
    if disagree is None:
        return
    earned = disagree.right.value >= disagree.contradicted.value
    why = "There the input is right at least as often as the others, so following it is not held against the model."
    say(
        "outvotes",
        f"Where its most used input ({most}) and all others together disagree: how often the model follows it",
        disagree.followed,
        judged=not earned,
        note=f"They disagree on {disagree.followed.n} of {len(rows)} samples. "
        + (why if earned else "There the others are right more often."),
        controls={
            "where they disagree, it is right": disagree.right,
            "where they disagree, the others are": disagree.contradicted,
        },
    )


def _by_group(say: Say, rows: Rows, group: str) -> list[Chart]:
    names = list(rows.about.modalities)
    table: dict[str, list[float | None]] = {}
    for value in sorted(set(rows.column(f"group.{group}").tolist()) - {""}):
        some = rows.where(pl.col(f"group.{group}") == value)
        if len(some) < SMALLEST_GROUP:
            continue
        least, share = least_used(some)
        between = interaction(some)
        table[value] = [*(mass(some, m).value for m in names), between.value]
        where, named = f"where {group} is {value}", f"{group}={value}"
        say.detail("least_used", f"Share of the least used input ({least}) {where}", share, group=named)
        say.detail("interaction", f"Share of the contributions that no input makes alone {where}", between, group=named)
    if not table:
        return []
    return [
        MatrixChart(
            title=f"What decides, by {group}",
            rows=list(table),
            columns=[*names, "interaction"],
            values=list(table.values()),
            better="higher",
            value_range=(0.0, 1.0),
        )
    ]


def _of_parts(say: Say, rows: Rows, m: str, how: Settings) -> tuple[list[Chart], str]:
    """Findings about one modality's parts; their chart, and a note."""
    chosen = rows.where(pl.col("chosen"))
    used = chosen.where(pl.col("parts") > 1)
    if not len(used):
        why = "each has fewer than two" if len(chosen) else "none was chosen"
        return [], f"Parts of {m}: not explained ({why} of {len(rows)} samples); raise parts_share."
    note = (
        f"Parts of {m}: {len(used)} samples, a random {how.parts_share:.0%} of all, with at least two parts, "
        f"{used['parts'].mean():.1f} on average; {how.coalitions} coalitions each; the other inputs as they are."
    )
    if not (used["spread"] > 0).any():
        return [], note + " The score does not depend on them at all, so there is nothing to explain."
    say(
        "deletion",
        f"Removing the parts of {m} that the explanation ranks first, against a random order",
        used.mean("deletion"),
        modality=m,
        note=f"{how.orders} random orders a sample; the area lies between −1 and 1.",
        controls={"mean probability along a random order": used.mean("chance")},
    )
    title = f"Keeping the parts of {m} that the explanation ranks first, against a random order"
    say.detail("insertion", title, used.mean("insertion"), modality=m)
    title = f"Share of the score's changes that adding up the parts of {m} predicts"
    note_ = "On random deletions that the explanation was not fitted to."
    say.detail("fidelity", title, fidelity(used), modality=m, note=note_)
    return [_curves(used, m, how.steps)], note


def _curves(rows: Rows, m: str, steps: int) -> LineChart:
    lines = []
    for name, label in ORDERS.items():
        points = [rows.mean(f"{name}.{j}") for j in range(steps + 1)]
        line = Line.of(label, [j / steps for j in range(steps + 1)], points, control=name == "random")
        inside = {"low": [max(0.0, p.low) for p in points], "high": [min(1.0, p.high) for p in points]}
        lines.append(line.model_copy(update=inside))
    return LineChart(
        title=f"Removing parts of {m}",
        x_label="share of parts removed",
        y_label="probability of the model's decision",
        lines=lines,
        y_range=(0.0, 1.0),
    )


def _without(rows: Rows, m: str) -> dict[str, Estimate]:
    """What removing a modality does: an attribution should not contradict it."""
    lost = rows.lost("clean_correct", f"correct_without.{m}")
    return {CHANGES: rows.share(f"changes.{m}"), "accuracy lost without it": lost}


def _mass_chart(say: Say) -> BarChart:
    bars = []
    for f in say.findings:
        if f.metric == "mass" and f.estimate is not None:
            bars.append(Bar(label=str(f.modality), estimate=f.estimate, of="share of attribution"))
            bars.append(Bar(label=str(f.modality), estimate=f.controls[CHANGES], of=CHANGES, control=True))
    return BarChart(title="Which input decides", y_label="share", bars=bars, y_range=(0.0, 1.0))
