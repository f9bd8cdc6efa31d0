"""What the evidence of attacks on matching says: success with its controls, then which input gave way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from muroan.estimate import Estimate, paired_difference, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Conclusion, Finding

if TYPE_CHECKING:
    from muroan.robustness.adversarial.matching.probe import Matching

NULL, SEQUENCED, SETS, INDEPENDENT, RANDOM = "null", "one after another", "sets", "found apart", "random"
RADII = {"image": 2 / 255, "audio": 0.0025}
"""Default radius per kind: that of the papers, a quarter of what attacks on classifiers take."""
RISES = 0.95
SAID = {
    SEQUENCED: "attacking one input after another (Co-Attack)",
    SETS: "attacking with sets of views (SGA)",
    INDEPENDENT: "changes that were found apart, put together",
}
LEAST = 10
"""Samples of a group that a figure is given of."""


def alone(m: str) -> str:
    """The condition in which one modality is attacked."""
    return f"{m} alone"


def conclude(probe: Matching, evidence: Evidence) -> Conclusion:
    """Success with its controls, then the details."""
    level = evidence.about.level
    rows = evidence.of(AUDITED).filter(pl.col("attacked")).sort("sample")
    by = {c: rows.filter(pl.col("condition") == c) for c in evidence.conditions()}
    total = len(evidence.of(AUDITED, NULL))
    if not len(by[NULL]):
        reason = "the model got no sample right, so there was nothing to attack"
        return Conclusion(findings=[_finding(probe, "success", SEQUENCED, None, reason=reason)], notes=[reason])
    rates = {c: proportion(r["success"], clusters(r), level=level) for c, r in by.items() if len(r)}
    controls = {"random changes of equal size": rates[RANDOM], "no change": rates[NULL]}

    def over(first: str, second: str) -> Estimate:
        return paired_difference(by[first]["success"], by[second]["success"], clusters(by[first]), level=level)

    findings = []
    for name in (SEQUENCED, SETS):
        calls = float(by[name]["calls"].to_numpy().mean())
        note = f"Of {len(by[NULL])} right answers among {total} samples; on average {calls:.0f} codes a sample."
        findings += [
            _finding(probe, "success", name, rates[name], controls=controls, note=note),
            _finding(probe, "excess", name, over(name, RANDOM), controls=controls),
        ]
    singles = [c for c in rates if c.endswith(" alone")]
    if len(singles) > 1:
        best = max(singles, key=lambda c: rates[c].value)
        note = f"The weakest is {best.removesuffix(' alone')}, chosen on the same samples: understated."
        findings.append(_finding(probe, "interaction", SEQUENCED, over(SEQUENCED, best), judged=False, note=note))
    if INDEPENDENT in rates:
        findings.append(_finding(probe, "sequencing", SEQUENCED, over(SEQUENCED, INDEPENDENT), judged=False))
    for name in [*singles, *([INDEPENDENT] if INDEPENDENT in rates else [])]:
        findings.append(_finding(probe, "success", name, rates[name], controls=controls, judged=False))
    weak = []
    for name in (SEQUENCED, SETS):
        rose = (by[name]["loss_best"] > by[name]["loss_first"]) | by[name]["success"]
        rise = proportion(rose, clusters(by[name]), level=level)
        findings.append(_finding(probe, "loss_rise", name, rise, judged=False))
        weak += [f"{name}: what is climbed rose on {rise.value:.0%} only"] if rise.value < RISES else []
    findings += _groups(probe, by[SEQUENCED], evidence)
    notes = [
        "Success: the decision changes, of samples that the model gets right (asr.flip_of_correct).",
        "Random changes: the best of as many draws as the ascent has points.",
        *[f"Success is a lower bound. {w}." for w in weak],
    ]
    bars = [
        Bar(label=c, estimate=rates[c], of="attack") for c in (SEQUENCED, SETS, *singles, INDEPENDENT) if c in rates
    ]
    bars.append(Bar(label=RANDOM, estimate=rates[RANDOM], of="random, equal size", control=True))
    chart = BarChart(
        title="What makes pairs lose each other?", y_label="share of right answers turned", bars=bars, y_range=(0, 1)
    )
    return Conclusion(findings=findings, charts=[chart], notes=notes)


TITLES: Mapping[str, str] = {
    "success": "Right answers turned by {}",
    "excess": "What choosing the changes adds over random ones, {}",
    "interaction": "What {} adds over the weakest input alone",
    "sequencing": "What {} adds over the same changes found apart",
    "loss_rise": "Samples on which the goal was made to rise, {}",
}


def _finding(probe: Matching, metric: str, condition: str, estimate: Estimate | None, **more: Any) -> Finding:
    said = SAID.get(condition, f"attacking {condition}")
    title = TITLES[metric].replace("{}", said)
    return Finding(probe=probe.name, metric=metric, title=title, condition=condition, estimate=estimate, **more)


def _groups(probe: Matching, rows: pl.DataFrame, evidence: Evidence) -> list[Finding]:
    out = []
    for name, values in evidence.about.groups.items():
        for value in values:
            some = rows.filter(pl.col(f"group.{name}") == value)
            if len(some) >= LEAST:
                estimate = proportion(some["success"], clusters(some), level=evidence.about.level)
                found = _finding(probe, "success", SEQUENCED, estimate, group=f"{name}={value}", judged=False)
                out.append(found.model_copy(update={"title": f"Right answers turned, {name} {value}"}))
    return out
