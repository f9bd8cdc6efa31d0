"""Is a gradient attack worth its name? A small success means a robust model only if the attack itself is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from muroan.estimate import Estimate, paired_difference, proportion
from muroan.evidence import clusters
from muroan.finding import Finding
from muroan.robustness.adversarial.gradient.cells import UNBOUNDED, Cells

if TYPE_CHECKING:
    from muroan.robustness.adversarial.gradient.probe import Gradient

PROMISE = 1e-3
"""A rise of the loss, in log-odds, that stands clear of the rounding of single precision."""
KEPT = 0.1
"""The part of what a gradient promises that a first step should bring: bends cost some, a shattered gradient all."""


def health(probe: Gradient, cells: Cells) -> tuple[list[Finding], list[str]]:
    """Findings, and what failed in words; of every continuous input alone."""
    found: list[Finding] = []
    sick: list[str] = []
    wide = cells.by[UNBOUNDED].filter(pl.col("crude")) if UNBOUNDED in cells.by else None
    if wide is not None and len(wide):
        estimate = proportion(wide["success"], clusters(wide), level=cells.level)
        if estimate.value < _limit(probe, "unbounded_success"):
            sick.append(f"without bound it fools {estimate.value:.0%} of what crude changes fool")
        title = "Fooled without bound, of those that crude changes fool"
        found.append(_finding(probe, "unbounded_success", title, estimate))
    climbed = [m for m in cells.names if _traced(cells.by[cells.conditions[cells.alone(m)]])]
    for m in climbed:
        of = m if len(climbed) > 1 else None
        said, failed = _gradients(probe, cells, m)
        found += [f.model_copy(update={"modality": of}) for f in said]
        sick += [f"{m}: {why}" if of else why for why in failed]
    return found, sick


def _traced(rows: pl.DataFrame) -> bool:
    return "loss_best" in rows.columns and rows["loss_best"].null_count() == 0


def _gradients(probe: Gradient, cells: Cells, m: str) -> tuple[list[Finding], list[str]]:
    """Of one input: does it have gradients, do they lead up, and further than chance does?"""
    sick: list[str] = []
    rows = cells.by[cells.conditions[cells.alone(m)]]
    zero = cells.estimate((rows["zero_gradient"] > 0).to_numpy())
    if zero.value > _limit(probe, "zero_gradients"):
        sick.append(f"{zero.value:.0%} of the samples have no gradient")
    found = [_finding(probe, "zero_gradients", f"Samples without any gradient ({m})", zero)]
    told = rows.filter(pl.col("promised") > PROMISE)
    if len(told):
        kept = proportion(told["kept"] >= KEPT * told["promised"], clusters(told), level=cells.level)
        if kept.value < _limit(probe, "gradient_kept"):
            sick.append(f"on {1 - kept.value:.0%} of the samples a step along the gradient does not do what it says")
        title = f"Steps along the gradient that raise the loss as it says ({m})"
        note = (
            f"Of the {len(told)} samples whose loss the gradient promises to raise by more than {PROMISE:g}, in the "
            "last ascent that began at the sample itself."
        )
        found.append(_finding(probe, "gradient_kept", title, kept).model_copy(update={"note": note}))
    rise = cells.estimate(((rows["loss_best"] > rows["loss_first"]) | rows["success"]).to_numpy())
    title = f"Samples on which the loss was made to rise ({m})"
    found.append(_finding(probe, "loss_rise", title, rise).model_copy(update={"judged": False}))
    ahead = paired_difference(cells.random(cells.alone(m)), rows["success"], cells.clusters, level=cells.level)
    if ahead.low > 0:
        sick.append("random search does better than the gradient")
    found.append(_finding(probe, "search_advantage", f"Random search over the gradient ({m})", ahead))
    return found, sick


def _limit(probe: Gradient, metric: str) -> float:
    limit = probe.metric(metric).limit
    assert limit is not None
    return limit


def _finding(probe: Gradient, metric: str, title: str, estimate: Estimate) -> Finding:
    return Finding(probe=probe.name, metric=metric, title=title, estimate=estimate)
