"""Is a gradient attack worth its name? A small success means a robust model only if the attack itself is well."""

from __future__ import annotations

import polars as pl

from muroan.figure import Figure
from muroan.robustness.adversarial.attack_probe import SUCCESS
from muroan.robustness.adversarial.gradient.cells import UNBOUNDED, Cells
from muroan.say import Say

PROMISE = 1e-3
"""A rise of the loss, in log-odds, that stands clear of the rounding of single precision."""
KEPT = 0.1
"""The part of what a gradient promises that a first step should bring: bends cost some, a shattered gradient all."""
HEALTH = (
    Figure(
        "unbounded_success",
        better="higher",
        limit=0.8,
        says="Of the samples that a crude change without bound fools (blank, black, white, noise), the share that "
        "the attack without bound fools too. 1: it works; below, gradients are masked, success a lower bound.",
    ),
    Figure(
        "zero_gradients",
        limit=0.1,
        says="Share of attacked samples whose inputs have no gradient at all. 0: gradients reach the inputs.",
    ),
    Figure(
        "gradient_kept",
        better="higher",
        limit=0.5,
        says="Share of samples whose first step along the gradient raises the loss by at least a tenth of what "
        "the gradient says. 1: gradients can be followed; near 0: they are shattered, success a lower bound.",
    ),
    Figure(
        "loss_rise",
        better="higher",
        says="Share of samples on which the attack found a higher loss than it began with. 1: it climbs.",
    ),
    Figure(
        "search_advantage",
        limit=0.05,
        says="Success of random search with as many passes minus that of the gradient. At most 0: the gradient is "
        "worth following; above 0: it is masked.",
    ),
)
LIMITS = {f.metric: f.limit for f in HEALTH if f.limit is not None}


def health(say: Say, cells: Cells) -> list[str]:
    """Says how well the attack is, without bound and on every continuous input alone; returns what failed, in words."""
    sick = []
    wide = cells.rows.get(UNBOUNDED)
    if wide is not None and len(fooled := wide.where(pl.col("crude"))):
        works = SUCCESS(fooled)
        say("unbounded_success", "Fooled without bound, of those that crude changes fool", works)
        if works.value < LIMITS["unbounded_success"]:
            sick.append(f"without bound it fools {works.value:.0%} of what crude changes fool")
    climbed = [m for m in cells.names if _traced(cells.at(cells.alone(m)).frame)]
    for m in climbed:
        several = len(climbed) > 1
        failed = _gradients(say.about(modality=m if several else None), cells, m)
        sick += [f"{m}: {why}" if several else why for why in failed]
    return sick


def _traced(rows: pl.DataFrame) -> bool:
    return "loss_best" in rows.columns and rows["loss_best"].null_count() == 0


def _gradients(say: Say, cells: Cells, m: str) -> list[str]:
    """Of one input: does it have gradients, do they lead up, and further than chance does?"""
    sick, rows = [], cells.at(cells.alone(m))
    zero = rows.share(pl.col("zero_gradient") > 0)
    say("zero_gradients", f"Samples without any gradient ({m})", zero)
    if zero.value > LIMITS["zero_gradients"]:
        sick.append(f"{zero.value:.0%} of the samples have no gradient")
    told = rows.where(pl.col("promised") > PROMISE)
    if len(told):
        kept = told.share(pl.col("kept") >= KEPT * pl.col("promised"))
        note = (
            f"Of the {len(told)} samples whose loss the gradient promises to raise by more than {PROMISE:g}, in the "
            "last ascent that began at the sample itself."
        )
        title = f"Steps along the gradient that raise the loss as it says ({m})"
        say("gradient_kept", title, kept, note=note)
        if kept.value < LIMITS["gradient_kept"]:
            sick.append(f"on {1 - kept.value:.0%} of the samples a step along the gradient does not do what it says")
    rose = rows.share((pl.col("loss_best") > pl.col("loss_first")) | pl.col("success"))
    say.detail("loss_rise", f"Samples on which the loss was made to rise ({m})", rose)
    ahead = cells.chance(cells.alone(m)).gained_over(rows, "success")
    say("search_advantage", f"Random search over the gradient ({m})", ahead)
    if ahead.low > 0:
        sick.append("random search does better than the gradient")
    return sick
