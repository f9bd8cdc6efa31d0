"""What the evidence of the worst case says: what stays right, who turned the rest, and whether gradients hide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from muroan.estimate import Estimate, mean, paired_difference, proportion
from muroan.estimate.asr import ASR, Outcomes
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Conclusion, Finding
from muroan.interventions.attacks.ensemble import GRADIENT, MEMBERS

if TYPE_CHECKING:
    from muroan.robustness.adversarial.worst_case.probe import WorstCase

NULL, ENSEMBLE, RANDOM, UNBOUNDED = "null", "ensemble", "random", "without bound"
GROUP_LEAST = 10
"""Right answers that a subgroup needs for a figure of its own."""


def conclude(probe: WorstCase, evidence: Evidence) -> Conclusion:
    """Robust accuracy and success with their controls; what each member adds; whether gradients hide; the cost."""
    level = evidence.about.level
    everything = evidence.of(AUDITED, NULL).sort("sample")
    if not everything["attacked"].any():
        reason = "the model got no sample right, so there was nothing to attack"
        silent = Finding(probe=probe.name, metric="success", title="Right answers turned", reason=reason)
        return Conclusion(findings=[silent], notes=[reason])
    # A shard without a right answer has rows of the null change alone.
    turned = evidence.of(AUDITED, ENSEMBLE).filter(pl.col("success"))["sample"].to_list()
    stays = (everything["attacked"] & ~everything["sample"].is_in(turned)).to_list()
    rows = evidence.of(AUDITED, ENSEMBLE).filter(pl.col("attacked")).sort("sample")
    random = evidence.of(AUDITED, RANDOM).filter(pl.col("attacked")).sort("sample")
    null = everything.filter(pl.col("attacked"))
    by = clusters(rows)
    rate = _rate(rows, level)
    controls = {"random changes of equal size": _rate(random, level).estimate, "no change": _rate(null, level).estimate}
    used = [m for m in MEMBERS if float(rows[f"passes.{m}"].sum()) > 0]
    hidden, doubt = _hidden(probe, evidence, used, level)
    upper = f" {doubt} Robust accuracy is an upper bound." if doubt else ""
    findings = [
        Finding(
            probe=probe.name,
            metric="robust_accuracy",
            title="Samples that stay right, whatever is tried",
            estimate=proportion(stays, clusters(everything), level=level),
            controls={"untouched": proportion(everything["clean_correct"], clusters(everything), level=level)},
            note=f"Of {len(everything)} samples, right or wrong.{upper}",
            judged=False,
        ),
        Finding(
            probe=probe.name,
            metric="success",
            title="Right answers turned by one of the attacks",
            estimate=rate.estimate,
            controls=controls,
            note=str(rate),
        ),
        Finding(
            probe=probe.name,
            metric="excess",
            title="What choosing the changes adds over random ones",
            estimate=paired_difference(rows["success"], random["success"], by, level=level),
            controls=controls,
            judged=False,
        ),
        *hidden,
        *_members(probe, rows, used, level),
        _cost(probe, rows, used, level),
        *_groups(probe, rows, evidence),
    ]
    notes = [
        f"Effort: {probe.steps} steps, {probe.targets} targets, {probe.queries} queries of Square; random changes: as "
        "many draws as all members make passes on a sample that none of them turns.",
    ]
    return Conclusion(findings=findings, charts=[_chart(findings, rate.estimate, controls)], notes=notes)


def _rate(rows: pl.DataFrame, level: float) -> ASR:
    """asr.flip_of_correct of one condition's rows."""
    outcomes = Outcomes(
        clean=rows["clean_predicted"].to_list(),
        attacked=[[a] for a in rows["answer"].to_list()],
        truth=rows["target"].to_list(),
        clusters=clusters(rows),
    )
    return outcomes.flip_of_correct().at(level=level)


def _hidden(probe: WorstCase, evidence: Evidence, used: list[str], level: float) -> tuple[list[Finding], str]:
    """Does a search by scores turn what gradients do not? Within the budget and without bound; and what that means."""
    title = "Right answers that only a search by scores turns"
    if not {*GRADIENT, "square"} & {*used} or GRADIENT[0] not in used:
        reason = "no attack by gradients was possible: the model shows none, or no continuous input has a budget"
        return [Finding(probe=probe.name, metric="gradients_hide", title=title, reason=reason)], ""
    found, doubts = [], []
    for condition in (ENSEMBLE, UNBOUNDED):
        rows = evidence.of(AUDITED, condition).filter(pl.col("attacked")).sort("sample")
        if not len(rows):
            continue
        estimate = proportion(rows["member"] == "square", clusters(rows), level=level)
        climbed = proportion(rows["member"].is_in(GRADIENT), clusters(rows), level=level)
        limit = probe.metric("gradients_hide").limit
        if limit is not None and estimate.value > limit:
            where = "" if condition == ENSEMBLE else " without bound"
            doubts.append(f"Gradients hide{where}: {estimate.value:.0%} are turned by scores alone.")
        found.append(
            Finding(
                probe=probe.name,
                metric="gradients_hide",
                title=title if condition == ENSEMBLE else f"{title}, {condition}",
                estimate=estimate,
                condition=None if condition == ENSEMBLE else condition,
                controls={"turned by gradients": climbed},
            )
        )
    return found, " ".join(doubts)


def _members(probe: WorstCase, rows: pl.DataFrame, used: list[str], level: float) -> list[Finding]:
    return [
        Finding(
            probe=probe.name,
            metric="adds",
            title=f"Right answers turned by {m}, and by none before it",
            estimate=proportion(rows["member"] == m, clusters(rows), level=level),
            condition=m,
            judged=False,
            note=f"{rows[f'passes.{m}'].sum() / len(rows):.0f} passes per right answer.",
        )
        for m in used
    ]


def _cost(probe: WorstCase, rows: pl.DataFrame, used: list[str], level: float) -> Finding:
    total = rows.select(pl.sum_horizontal([f"passes.{m}" for m in MEMBERS])).to_series()
    return Finding(
        probe=probe.name,
        metric="passes",
        title="Passes that the attacks spend on a right answer",
        estimate=mean(total, clusters(rows), level=level),
        judged=False,
        note=f"By {', '.join(used)}." if used else "",
    )


def _groups(probe: WorstCase, rows: pl.DataFrame, evidence: Evidence) -> list[Finding]:
    out = []
    for name in evidence.about.groups:
        for value in evidence.about.groups[name]:
            some = rows.filter(pl.col(f"group.{name}") == value)
            if len(some) >= GROUP_LEAST:
                out.append(
                    Finding(
                        probe=probe.name,
                        metric="success",
                        title=f"Right answers turned, {name} {value}",
                        estimate=_rate(some, evidence.about.level).estimate,
                        group=f"{name}={value}",
                        judged=False,
                    )
                )
    return out


def _chart(findings: list[Finding], rate: Estimate, controls: dict[str, Estimate]) -> BarChart:
    adds = [f for f in findings if f.metric == "adds" and f.estimate is not None]
    bars = [Bar(label=f.condition or "", estimate=f.estimate, of="adds") for f in adds if f.estimate is not None]
    bars.append(Bar(label="all together", estimate=rate, of="attacks"))
    bars += [Bar(label=k, estimate=v, of="control", control=True) for k, v in controls.items()]
    return BarChart(title="Who turns the answers?", y_label="share of right answers turned", bars=bars, y_range=(0, 1))
