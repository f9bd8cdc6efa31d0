"""What the attribution probe concludes: findings and charts, from its rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

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
from muroan.estimate import Estimate, mean, paired_difference, proportion
from muroan.evidence import Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Line, LineChart, MatrixChart

MODALITIES = "modalities"
"""The condition whose rows are about whole modalities."""
CHANGES = "decisions that change without it"
FEWEST = 10
"""Samples below which a subgroup gets no figure of its own."""


def parts_of(modality: str) -> str:
    """The condition whose rows are about one modality's parts."""
    return f"parts of {modality}"


@dataclass(frozen=True)
class Settings:
    """The probe's name and those of its settings that its findings speak of."""

    probe: str
    parts_share: float
    coalitions: int
    steps: int
    orders: int


def conclude(evidence: Evidence, how: Settings) -> Conclusion:
    """What `controllability.attribution` concludes from its evidence."""
    about = evidence.about
    names, level = list(about.modalities), about.level
    rows = evidence.of(condition=MODALITIES)
    if rows.is_empty():
        return Conclusion(findings=[], notes=["No sample could be observed."])
    findings = _by_modality(how, rows, names, level)
    charts: list[Chart] = [_mass_chart(findings)]
    notes = [
        f"Of {len(rows)} samples, towards the model's own decision on each. Shares are ratios of totals: "
        "Σ |Shapley value of one input| / Σ |Shapley values of all inputs|.",
        "A missing input is its neutral value (a plain picture, no words), not another sample's.",
    ]
    for group in about.groups:
        found, chart = _by_group(how, rows, group, names, level)
        findings += found
        charts += chart
    for m in names:
        found, drawn, note = _of_parts(how, evidence.of(condition=parts_of(m)), m, level)
        findings += found
        charts += drawn
        notes.append(note)
    return Conclusion(findings=findings, charts=charts, notes=notes)


def _finding(how: Settings, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
    return Finding(probe=how.probe, metric=metric, title=title, estimate=estimate, **more)


def _by_modality(how: Settings, rows: pl.DataFrame, names: list[str], level: float) -> list[Finding]:
    least, share = least_used(rows, names, level)
    findings = [
        _finding(
            how,
            "least_used",
            f"Share of the model's reasons that come from its least used input ({least})",
            share,
            note=f"Equal use would be {1 / len(names):.2f}.",
            controls=_without(rows, least, level),
        ),
        _finding(
            how,
            "interaction",
            "Share of the contributions that no input makes alone",
            interaction(rows, names, level),
        ),
        *_outvoting(how, rows, names, level),
    ]
    agreed = agreement(rows, names, level)
    if agreed is not None:
        findings.append(
            _finding(
                how,
                "agreement",
                "The input whose removal changes the decision is the one the explanation ranks first",
                agreed,
                note="Of a sample's pairs of inputs of which exactly one changes the decision when removed.",
            )
        )
    findings += [
        _finding(
            how,
            "mass",
            f"Share of the model's reasons that come from {m}",
            mass(rows, names, m, level),
            modality=m,
            judged=False,
            controls=_without(rows, m, level),
        )
        for m in names
    ]
    if len(names) > 2:
        findings += [
            _finding(
                how,
                "interaction",
                f"Interaction of {a} and {b}, relative to what single inputs contribute",
                pair_interaction(rows, names, a, b, level),
                condition=f"{a} with {b}",
                judged=False,
            )
            for a, b in combinations(names, 2)
        ]
    return findings


def _outvoting(how: Settings, rows: pl.DataFrame, names: list[str], level: float) -> list[Finding]:
    """Whether the most used input has the last word, judged where it does not deserve it."""
    most = max(names, key=lambda m: (mass(rows, names, m, level).value, m))
    found = outvotes(rows, names, most, level)
    if found is None:
        return []
    followed, right, contradicted = found
    earned = right.value >= contradicted.value
    return [
        _finding(
            how,
            "outvotes",
            f"Where its most used input ({most}) and all others together disagree: how often the model follows it",
            followed,
            judged=not earned,
            note=f"They disagree on {followed.n} of {len(rows)} samples. "
            + (
                "There the input is right at least as often as the others, so following it is not held against the "
                "model."
                if earned
                else "There the others are right more often."
            ),
            controls={"where they disagree, it is right": right, "where they disagree, the others are": contradicted},
        )
    ]


def _by_group(
    how: Settings, rows: pl.DataFrame, group: str, names: list[str], level: float
) -> tuple[list[Finding], list[Chart]]:
    findings: list[Finding] = []
    table: dict[str, list[float | None]] = {}
    for value in sorted(set(rows[f"group.{group}"].to_list()) - {""}):
        some = rows.filter(pl.col(f"group.{group}") == value)
        if len(some) < FEWEST:
            continue
        least, share = least_used(some, names, level)
        between = interaction(some, names, level)
        table[value] = [*(mass(some, names, m, level).value for m in names), between.value]
        where = f"where {group} is {value}"
        about = {"group": f"{group}={value}", "judged": False}
        findings += [
            _finding(how, "least_used", f"Share of the least used input ({least}) {where}", share, **about),
            _finding(
                how,
                "interaction",
                f"Share of the contributions that no input makes alone {where}",
                between,
                **about,
            ),
        ]
    if not table:
        return [], []
    chart = MatrixChart(
        title=f"What decides, by {group}",
        rows=list(table),
        columns=[*names, "interaction"],
        values=list(table.values()),
        better="higher",
        value_range=(0.0, 1.0),
    )
    return findings, [chart]


def _of_parts(how: Settings, rows: pl.DataFrame, m: str, level: float) -> tuple[list[Finding], list[Chart], str]:
    chosen = rows.filter(pl.col("chosen"))
    used = chosen.filter(pl.col("parts") > 1)
    if used.is_empty():
        why = "none was chosen" if chosen.is_empty() else "each has fewer than two"
        return [], [], f"Parts of {m}: not explained ({why} of {len(rows)} samples); raise parts_share."
    dependent = clusters(used)
    each = float(used["parts"].to_numpy().mean())
    note = (
        f"Parts of {m}: {len(used)} samples, a random {how.parts_share:.0%} of all, with at least two parts, "
        f"{each:.1f} on average; {how.coalitions} coalitions each; the other inputs as they are."
    )
    if not (used["spread"] > 0).any():
        return [], [], note + " The score does not depend on them at all, so there is nothing to explain."
    findings = [
        _finding(
            how,
            "deletion",
            f"Removing the parts of {m} that the explanation ranks first, against a random order",
            mean(used["deletion"].to_numpy(), dependent, level=level),
            modality=m,
            note=f"{how.orders} random orders a sample; the area lies between −1 and 1.",
            controls={"mean probability along a random order": mean(used["chance"].to_numpy(), dependent, level=level)},
        ),
        _finding(
            how,
            "insertion",
            f"Keeping the parts of {m} that the explanation ranks first, against a random order",
            mean(used["insertion"].to_numpy(), dependent, level=level),
            modality=m,
            judged=False,
        ),
        _finding(
            how,
            "fidelity",
            f"Share of the score's changes that adding up the parts of {m} predicts",
            fidelity(used, level),
            modality=m,
            judged=False,
            note="On random deletions that the explanation was not fitted to.",
        ),
    ]
    return findings, [_curve_chart(how, used, m, level)], note


def _curve_chart(how: Settings, rows: pl.DataFrame, m: str, level: float) -> LineChart:
    labels = {
        "ranked": "most important first",
        "random": "random order",
        "reversed": "least important first",
    }
    lines = []
    for name, label in labels.items():
        points = [mean(rows[f"{name}.{j}"].to_numpy(), clusters(rows), level=level) for j in range(how.steps + 1)]
        lines.append(
            Line(
                label=label,
                x=[j / how.steps for j in range(how.steps + 1)],
                y=[p.value for p in points],
                low=[max(0.0, p.low) for p in points],
                high=[min(1.0, p.high) for p in points],
                n=[p.n for p in points],
                control=name == "random",
            )
        )
    return LineChart(
        title=f"Removing parts of {m}",
        x_label="share of parts removed",
        y_label="probability of the model's decision",
        lines=lines,
        y_range=(0.0, 1.0),
    )


def _without(rows: pl.DataFrame, m: str, level: float) -> dict[str, Estimate]:
    """What removing a modality does: an attribution should not contradict it."""
    dependent = clusters(rows)
    correct, left = (rows[c].to_numpy() for c in ("clean_correct", f"correct_without.{m}"))
    return {
        CHANGES: proportion(rows[f"changes.{m}"].to_numpy(), dependent, level=level),
        "accuracy lost without it": paired_difference(correct, left, dependent, level=level),
    }


def _mass_chart(findings: list[Finding]) -> BarChart:
    bars = []
    for f in findings:
        if f.metric == "mass" and f.estimate is not None:
            bars.append(Bar(label=str(f.modality), estimate=f.estimate, of="share of attribution"))
            changed = f.controls[CHANGES]
            bars.append(Bar(label=str(f.modality), estimate=changed, of=CHANGES, control=True))
    return BarChart(title="Which input decides", y_label="share", bars=bars, y_range=(0.0, 1.0))
