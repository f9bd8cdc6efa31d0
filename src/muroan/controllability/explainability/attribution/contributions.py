"""From rows of Shapley values to shares: what of all that inputs contribute comes from which input.

Functions of the rows that `controllability.attribution` observes under the condition "modalities" (and, for
`fidelity`, "parts of ..."). All are ratios of totals over samples, so that a sample on which the model hardly
reacts hardly counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from muroan.estimate import Estimate, mean, proportion
from muroan.rows import Floats, Rows


def ratio(part: ArrayLike, whole: ArrayLike, clusters: list[str] | None, *, level: float = 0.95) -> Estimate:
    """Σ part / Σ whole over samples [N] each, `whole` not negative; 0 where there is nothing at all.

    The interval is Student's t on the linearised residuals (part − ratio · whole) / mean(whole), by clusters.
    """
    above, below = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    scale = float(below.mean())
    if scale == 0:
        return Estimate(value=0.0, low=0.0, high=0.0, level=level, n=len(above), method="no contributions at all")
    value = float(above.mean()) / scale
    spread = mean((above - value * below) / scale, clusters, level=level)
    half = (spread.high - spread.low) / 2
    moved = {"value": value, "low": value - half, "high": value + half, "method": f"ratio of totals, {spread.method}"}
    return spread.model_copy(update=moved)


def _share(rows: Rows, part: Floats, whole: Floats) -> Estimate:
    """A ratio that cannot leave [0, 1]."""
    free = ratio(part, whole, rows.clusters, level=rows.level)
    value = min(max(free.value, 0.0), 1.0)
    low, high = min(max(0.0, free.low), value), max(min(1.0, free.high), value)
    return free.model_copy(update={"value": value, "low": low, "high": high})


def _sizes(rows: Rows, prefix: str) -> dict[str, Floats]:
    return {m: np.abs(rows[f"{prefix}.{m}"]) for m in rows.about.modalities}


def mass(rows: Rows, modality: str) -> Estimate:
    """Of all |Shapley values|, those of one modality."""
    sizes = _sizes(rows, "shapley")
    return _share(rows, sizes[modality], sum(sizes.values(), np.zeros(len(rows))))


def least_used(rows: Rows) -> tuple[str, Estimate]:
    """The modality with the smallest share, and its share. The interval is that of the modality named."""
    shares = {m: mass(rows, m) for m in rows.about.modalities}
    least = min(shares, key=lambda m: (shares[m].value, m))
    return least, shares[least]


class Outvoted(NamedTuple):
    """Where a modality alone decides otherwise than all the others together: how often the model follows it, how often
    it is right, how often the others are."""

    followed: Estimate
    right: Estimate
    contradicted: Estimate


def outvotes(rows: Rows, modality: str) -> Outvoted | None:
    """None where a modality never decides otherwise than the others."""
    alone, others = pl.col(f"alone_decides.{modality}"), pl.col(f"others_decide.{modality}")
    apart = rows.where(alone != others)
    if not len(apart):
        return None
    true = pl.col("target")
    return Outvoted(*(apart.share(hit) for hit in (alone == pl.col("clean_predicted"), alone == true, others == true)))


def _interaction(rows: Rows, column: str) -> Estimate:
    together = np.abs(rows[column])
    return _share(rows, together, together + sum(_sizes(rows, "alone").values()))


def interaction(rows: Rows) -> Estimate:
    """|What no modality adds alone| over that plus what each adds alone."""
    return _interaction(rows, "interaction")


def pair_interaction(rows: Rows, a: str, b: str) -> Estimate:
    """|Shapley interaction index| of two modalities over that plus what each modality adds alone."""
    return _interaction(rows, f"pair.{a}+{b}")


def agreement(rows: Rows, names: Sequence[str]) -> Estimate | None:
    """Pairs of modalities of which exactly one changes the decision: is it the one with the larger attribution?

    None where there is no such pair. Pairs of one sample are dependent where there is more than one.
    """
    owner = np.asarray(rows.clusters or rows.column("sample"))
    hits, whose = [], []
    for a, b in combinations(names, 2):
        changes_a, changes_b = rows.column(f"changes.{a}"), rows.column(f"changes.{b}")
        larger_a = np.abs(rows[f"shapley.{a}"]) > np.abs(rows[f"shapley.{b}"])
        one = changes_a != changes_b
        hits.append((larger_a == changes_a)[one])
        whose.append(owner[one])
    pairs = np.concatenate(hits)
    if len(pairs) == 0:
        return None
    clusters: Any = np.concatenate(whose) if rows.clusters is not None or len(names) > 2 else None
    return proportion(pairs, clusters, level=rows.level)


def fidelity(rows: Rows) -> Estimate:
    """1 − Σ squared error / Σ squared variation: 1 where parts add up, below 0 where a constant does better."""
    lost = ratio(rows["residual"], rows["spread"], rows.clusters, level=rows.level)
    high = max(1 - lost.value, min(1.0, 1 - lost.low))
    return lost.model_copy(update={"value": 1 - lost.value, "low": 1 - lost.high, "high": high})
