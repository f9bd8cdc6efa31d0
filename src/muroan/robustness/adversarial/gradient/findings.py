"""What the gradient attack's evidence says: success with its controls, alone and together, by budget and by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from muroan.estimate import Estimate, max_gap, mean, paired_difference, proportion, sum_by_cluster
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Conclusion, Finding
from muroan.robustness.adversarial.gradient.cells import JOINT, NULL, RANDOM, Cells
from muroan.robustness.adversarial.gradient.frontier import budget_of, charts, cheapest
from muroan.robustness.adversarial.gradient.health import health

if TYPE_CHECKING:
    from muroan.robustness.adversarial.gradient.probe import Gradient

SMALLEST_GROUP = 10
"""Right answers that a value of a group needs for a figure of its own."""


def conclude(probe: Gradient, evidence: Evidence) -> Conclusion:
    """Success with its controls and its health, then what is cheapest, then the details."""
    total = len(evidence.of(AUDITED, NULL))
    cells = Cells.of(evidence)
    if not len(cells.by[NULL]):
        reason = "the model got no sample right, so there was nothing to attack"
        return Conclusion(findings=[_silent(probe, reason)], notes=[reason])
    rates = {c: proportion(r["success"], clusters(r), level=cells.level) for c, r in cells.by.items() if len(r)}
    healthy, sick = health(probe, cells)
    joint = cells.by[JOINT]
    controls = {"random change of equal size": rates[RANDOM + JOINT], "no change": rates[NULL]}
    doubt = f" Health check failed ({'; '.join(sick)}): a lower bound, not judged." if sick else ""
    findings = [
        Finding(
            probe=probe.name,
            metric="success",
            title="Right answers turned by attacking all inputs together",
            estimate=rates[JOINT],
            controls=controls,
            note=f"Of {len(joint)} right answers among {total} samples; success: the decision changes.{doubt}",
            judged=not sick or rates[JOINT].low > 0.5,
        ),
        Finding(
            probe=probe.name,
            metric="excess",
            title="What choosing the changes adds over random ones",
            estimate=paired_difference(joint["success"], cells.random(cells.full), cells.clusters, level=cells.level),
            controls=controls,
            judged=not sick,
        ),
        *healthy,
    ]
    if len(cells.names) > 1:
        findings += _together(probe, cells, judged=not sick)
    robust = evidence.of(AUDITED, JOINT).sort("sample")
    stays = (robust["clean_correct"] & ~robust["success"]).to_list()
    findings.append(
        _detail(
            probe,
            "robust_accuracy",
            "Samples that stay right when all inputs are attacked",
            proportion(stays, clusters(robust), level=cells.level),
            controls={"untouched": proportion(robust["clean_correct"], clusters(robust), level=cells.level)},
        )
    )
    for cell, c in cells.conditions.items():
        if c != JOINT and set(cell) <= {0.0, 1.0}:
            title = f"Right answers turned by attacking {c}"
            control = {"random change of equal size": rates[RANDOM + c]}
            found = _detail(probe, "success", title, rates[c], controls=control)
            findings.append(found.model_copy(update={"modality": c}))
    least, notes = cheapest(probe, evidence.about, cells)
    findings += [*least, *_groups(probe, joint, evidence)]
    said = probe.together().climb()
    budgets = "; ".join(_budget(probe, evidence, m, kind) for m, kind in evidence.about.modalities.items())
    notes += [
        f"Full budgets: {budgets}; {said.name}, {said.steps} steps, {said.restarts} starts at full budgets.",
        "Budgets are nested: an answer that gave way to a smaller budget counts at every larger one and is not "
        "attacked there again, so success never falls as a budget grows, by construction.",
        "Random changes: at full budgets, in as many draws as the ascents over the same inputs make passes at all "
        "budgets; one where only words change.",
    ]
    return Conclusion(findings=findings, charts=charts(probe, evidence.about, cells, rates), notes=notes)


def _together(probe: Gradient, cells: Cells, *, judged: bool) -> list[Finding]:
    """Is attacking together more than the strongest input alone, than any of them, than all of them added up?"""
    singles = {m: cells.success(cells.alone(m)).astype(float) for m in cells.names}
    together = cells.success(cells.full).astype(float)
    apart = np.maximum.reduce(list(singles.values()))
    best = max(singles, key=lambda m: singles[m].mean())
    guessed = np.maximum.reduce([cells.random(cells.alone(m)) for m in cells.names])
    by_chance = cells.random(cells.full) & ~guessed
    summed = np.sum(list(singles.values()), axis=0)
    return [
        _detail(
            probe,
            "interaction",
            f"What attacking together adds over {best} alone, the strongest input",
            paired_difference(together, singles[best], cells.clusters, level=cells.level),
            note="The strongest input is chosen on the same samples (oracle): the interaction is understated.",
        ),
        Finding(
            probe=probe.name,
            metric="together_only",
            title="Right answers that give way to all inputs together and to none alone",
            estimate=cells.estimate((together > apart).astype(float)),
            controls={"random change of equal size": cells.estimate(by_chance)},
            note="At full budgets, sample by sample. Two inputs that only add up give some of this as well: answers "
            "whose margin lies beyond the reach of each and within that of both.",
            judged=judged,
        ),
        _detail(
            probe,
            "beyond_sum",
            "What attacking together adds over the sum of what each input alone reaches",
            _beyond(together, summed, len(singles), cells),
            controls={f"{m} alone": cells.rates[cells.alone(m)] for m in singles},
            note="The sum counts at most 1." + (" It reaches 1 here." if summed.mean() >= 1 else ""),
        ),
    ]


def _beyond(together: np.ndarray, summed: np.ndarray, inputs: int, cells: Cells) -> Estimate:
    """Joint success minus min(1, sum of single ones): paired where the sum is below 1, else short of certainty."""
    if summed.mean() < 1:
        # Together is never below any input alone, so a sample's difference is at least 1 - inputs.
        values = together - summed
        return mean(values, cells.clusters, level=cells.level, bounds=(min(-1.0, 1.0 - inputs), 1.0))
    rate = cells.estimate(together)
    moved = {k: getattr(rate, k) - 1 for k in ("value", "low", "high")}
    return rate.model_copy(update=moved)


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
    """Success of every value of a group, and the largest difference between them."""
    out, about = [], evidence.about
    for name, values in about.groups.items():
        column = joint[f"group.{name}"]
        counted = [v for v in values if int((column == v).sum()) >= SMALLEST_GROUP]
        for value in counted:
            some = joint.filter(column == value)
            e = proportion(some["success"], clusters(some), level=about.level)
            found = _detail(probe, "success", f"Right answers turned, {name} {value}", e)
            out.append(found.model_copy(update={"group": f"{name}={value}"}))
        member = np.stack([(column == v).to_numpy() for v in counted], axis=1).astype(float) if counted else None
        if member is None or len(counted) < 2:
            continue
        hits = member * joint["success"].to_numpy()[:, None].astype(float)
        totals = sum_by_cluster(np.stack([hits, member], axis=2), clusters(joint))
        try:
            gap = max_gap(totals, counted, level=about.level, seed=about.seed, min_count=SMALLEST_GROUP)
        except ValueError:  # too few values of the group are in more than one cluster
            continue
        who = f"Most: {gap.highest}; least: {gap.lowest}. " if gap.estimate.value else ""
        note = f"{who}Simultaneous over all pairs of values of at least {SMALLEST_GROUP} right answers."
        found = _detail(probe, "group_gap", f"Success differs by {name}", gap.estimate, note=note)
        out.append(found.model_copy(update={"group": name}))
    return out


def _budget(probe: Gradient, evidence: Evidence, m: str, kind: str) -> str:
    full = probe.full_budget(m, kind)
    if full.empty:
        return f"{m}: not attacked (no {'words' if kind == 'text' else 'radius'} given)"
    said = budget_of(probe, evidence.about, m, 1.0)
    return f"{m}: {said} (same meaning, or two letters swapped)" if full.words else f"{m}: L{full.norm} {said}"
