"""What the gradient attack's evidence says: success with its controls, and whether the attack was worth its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from muroan.estimate import Estimate, paired_difference, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Line, LineChart

if TYPE_CHECKING:
    from muroan.robustness.adversarial.gradient_probe import Gradient

JOINT, NULL, UNBOUNDED = "joint", "null", "unbounded"
RADII = {"image": 8 / 255, "audio": 0.01}
"""Default radius per kind, in the modality's value space; other kinds have no scale that is known beforehand."""

PROMISE = 1e-3
"""A rise of the loss, in log-odds, that stands clear of the rounding of single precision."""
KEPT = 0.1
"""The part of what a gradient promises that a first step should bring: bends cost some, a shattered gradient all."""


def conclude(probe: Gradient, evidence: Evidence) -> Conclusion:
    """Success with its controls and its health, then the details."""
    level = evidence.about.level
    rows = evidence.of(AUDITED).filter(pl.col("attacked")).sort("sample")
    by = {c: rows.filter(pl.col("condition") == c) for c in evidence.conditions()}
    total = len(evidence.of(AUDITED, NULL))
    if not len(by[NULL]):
        reason = "the model got no sample right, so there was nothing to attack"
        return Conclusion(findings=[_silent(probe, reason)], notes=[reason])
    rates = {c: proportion(r["success"], clusters(r), level=level) for c, r in by.items() if len(r)}
    attacks = [c for c in rates if c not in (NULL, UNBOUNDED) and not c.startswith("random ")]
    health, sick = _health(probe, by, rates, level)
    judged = not sick
    joint = by[JOINT]
    controls = {"random change of equal size": rates[f"random {JOINT}"], "no change": rates[NULL]}
    doubt = f" Health check failed ({'; '.join(sick)}): a lower bound, not judged." if sick else ""
    note = f"Of {len(joint)} right answers among {total} samples; success: the decision changes.{doubt}"
    findings = [
        Finding(
            probe=probe.name,
            metric="success",
            title="Right answers turned by attacking all inputs together",
            estimate=rates[JOINT],
            controls=controls,
            note=note,
            judged=judged or rates[JOINT].low > 0.5,
        ),
        Finding(
            probe=probe.name,
            metric="excess",
            title="What choosing the changes adds over random ones",
            estimate=paired_difference(
                joint["success"], by[f"random {JOINT}"]["success"], clusters(joint), level=level
            ),
            controls=controls,
            judged=judged,
        ),
        *health,
    ]
    singles = [c for c in attacks if c != JOINT and " + " not in c]
    if len(singles) > 1:
        best = max(singles, key=lambda c: rates[c].value)
        findings.append(
            _detail(
                probe,
                "interaction",
                f"What attacking together adds over {best} alone, the strongest input",
                paired_difference(joint["success"], by[best]["success"], clusters(joint), level=level),
                note="The strongest input is chosen on the same samples (oracle): the interaction is understated.",
            )
        )
    robust = evidence.of(AUDITED, JOINT).sort("sample")
    stays = (robust["clean_correct"] & ~robust["success"]).to_list()
    findings.append(
        _detail(
            probe,
            "robust_accuracy",
            "Samples that stay right when all inputs are attacked",
            proportion(stays, clusters(robust), level=level),
            controls={"untouched": proportion(robust["clean_correct"], clusters(robust), level=level)},
        )
    )
    findings += [
        _detail(
            probe,
            "success",
            f"Right answers turned by attacking {c}",
            rates[c],
            controls={"random change of equal size": rates[f"random {c}"]},
        ).model_copy(update={"modality": c})
        for c in attacks
        if c != JOINT
    ]
    findings += _groups(probe, joint, evidence)
    notes = [
        f"Budgets: {_budget_words(probe, evidence)}; {probe.steps} steps, {probe.restarts} starts.",
        "Random changes: the best of as many draws as gradient descent makes passes; one where only words change.",
    ]
    return Conclusion(findings=findings, charts=_charts(by, rates, attacks), notes=notes)


def _health(
    probe: Gradient, by: Mapping[str, pl.DataFrame], rates: Mapping[str, Estimate], level: float
) -> tuple[list[Finding], list[str]]:
    """Is the attack worth its name? Findings, and what failed in words."""
    found: list[Finding] = []
    sick: list[str] = []
    wide = by[UNBOUNDED].filter(pl.col("crude")) if UNBOUNDED in by else None
    if wide is not None and len(wide):
        estimate = proportion(wide["success"], clusters(wide), level=level)
        if estimate.value < probe.metric("unbounded_success").limit:  # type: ignore[operator]
            sick.append(f"without bound it fools {estimate.value:.0%} of what crude changes fool")
        title = "Fooled without bound, of those that crude changes fool"
        found.append(_health_finding(probe, "unbounded_success", title, estimate))
    climbs = [c for c in by if "loss_best" in by[c].columns and c not in (NULL, UNBOUNDED)]
    climbs = [c for c in climbs if not c.startswith("random ") and by[c]["loss_best"].null_count() < len(by[c])]
    gradient = next((c for c in climbs if by[c]["zero_gradient"].null_count() == 0), None)
    if gradient is not None:
        rows = by[gradient]
        zero = proportion(rows["zero_gradient"] > 0, clusters(rows), level=level)
        if zero.value > probe.metric("zero_gradients").limit:  # type: ignore[operator]
            sick.append(f"{zero.value:.0%} of the samples have no gradient")
        found.append(_health_finding(probe, "zero_gradients", f"Samples without any gradient ({gradient})", zero))
        if "promised" in rows.columns:
            found += _steps(probe, rows, gradient, sick, level)
        rise = proportion((rows["loss_best"] > rows["loss_first"]) | rows["success"], clusters(rows), level=level)
        found.append(_detail(probe, "loss_rise", f"Samples on which the loss was made to rise ({gradient})", rise))
        search = by[f"random {gradient}"]
        ahead = paired_difference(search["success"], rows["success"], clusters(rows), level=level)
        if ahead.low > 0:
            sick.append("random search does better than the gradient")
        found.append(_health_finding(probe, "search_advantage", f"Random search over the gradient ({gradient})", ahead))
    return found, sick


def _steps(probe: Gradient, rows: pl.DataFrame, gradient: str, sick: list[str], level: float) -> list[Finding]:
    """Does a step along the gradient do what the gradient says? Of the samples to which it says something."""
    told = rows.filter(pl.col("promised") > PROMISE)
    if not len(told):
        return []
    kept = proportion(told["kept"] >= KEPT * told["promised"], clusters(told), level=level)
    if kept.value < probe.metric("gradient_kept").limit:  # type: ignore[operator]
        sick.append(f"on {1 - kept.value:.0%} of the samples a step along the gradient does not do what it says")
    title = f"Steps along the gradient that raise the loss as it says ({gradient})"
    note = f"Of the {len(told)} samples whose loss the gradient promises to raise by more than {PROMISE:g}."
    return [_health_finding(probe, "gradient_kept", title, kept).model_copy(update={"note": note})]


def _health_finding(probe: Gradient, metric: str, title: str, estimate: Estimate) -> Finding:
    return Finding(probe=probe.name, metric=metric, title=title, estimate=estimate)


def _silent(probe: Gradient, reason: str) -> Finding:
    title = "Right answers turned by attacking all inputs together"
    return Finding(probe=probe.name, metric="success", title=title, reason=reason)


def _detail(
    probe: Gradient,
    metric: str,
    title: str,
    estimate: Estimate,
    *,
    controls: Mapping[str, Estimate] | None = None,
    note: str = "",
) -> Finding:
    return Finding(
        probe=probe.name,
        metric=metric,
        title=title,
        estimate=estimate,
        judged=False,
        controls=dict(controls or {}),
        note=note,
    )


def _groups(probe: Gradient, joint: pl.DataFrame, evidence: Evidence) -> list[Finding]:
    out = []
    for name in evidence.about.groups:
        for value in evidence.about.groups[name]:
            some = joint.filter(pl.col(f"group.{name}") == value)
            if len(some) >= 10:
                e = proportion(some["success"], clusters(some), level=evidence.about.level)
                found = _detail(probe, "success", f"Right answers turned, {name} {value}", e)
                out.append(found.model_copy(update={"group": f"{name}={value}"}))
    return out


def _budget_words(probe: Gradient, evidence: Evidence) -> str:
    given = dict(probe.radii)
    said = []
    for m, kind in evidence.about.modalities.items():
        if kind == "text":
            said.append(
                f"{m}: {probe.words} word{'s' if probe.words != 1 else ''} (same meaning, or two letters swapped)"
            )
            continue
        radius = given.get(m, RADII.get(kind, 0.0))
        unit = f"{radius * 255:.3g}/255" if kind == "image" else f"{radius:.3g}"
        said.append(f"{m}: L{probe.norm} {unit}" if radius else f"{m}: not attacked (no radius given)")
    return "; ".join(said)


def _charts(by: Mapping[str, pl.DataFrame], rates: Mapping[str, Estimate], attacks: Sequence[str]) -> list[Chart]:
    bars = [Bar(label=c, estimate=rates[c], of="attack") for c in attacks]
    bars += [Bar(label=c, estimate=rates[f"random {c}"], of="random, equal size", control=True) for c in attacks]
    charts: list[Chart] = [
        BarChart(
            title="Which input is cheapest to break?",
            y_label="share of right answers turned",
            bars=bars,
            y_range=(0, 1),
        )
    ]
    lines = []
    for c in attacks:
        rows = by[c]
        if "steps" in rows.columns and rows["steps"].null_count() == 0 and " + " not in c:
            steps = rows["steps"].to_numpy()
            x = [float(t) for t in range(int(steps.max()) + 2)]
            lines.append(Line(label=c, x=x, y=[float(((steps >= 0) & (steps <= t)).mean()) for t in x]))
    if lines:
        charts.append(
            LineChart(
                title=f"Success over the steps of the ascent: {', '.join(li.label for li in lines)}",
                x_label="steps",
                y_label="share of right answers turned",
                lines=lines,
                y_range=(0, 1),
            )
        )
    return charts
