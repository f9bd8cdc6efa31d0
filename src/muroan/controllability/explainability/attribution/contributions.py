"""From rows of Shapley values to shares: what of all that inputs contribute comes from which input.

Functions of the rows that `controllability.attribution` observes under the condition "modalities" (and, for
`fidelity`, "parts of ..."). All are ratios of totals over samples, so that a sample on which the model hardly
reacts hardly counts.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from muroan.estimate import Estimate, mean, proportion
from muroan.evidence import clusters


def ratio(part: ArrayLike, whole: ArrayLike, dependent: list[str] | None, *, level: float = 0.95) -> Estimate:
    """Σ part / Σ whole over samples [N] each, `whole` not negative; 0 where there is nothing at all.

    The interval is Student's t on the linearised residuals (part − ratio · whole) / mean(whole), by clusters.
    """
    above, below = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    scale = float(below.mean())
    if scale == 0:
        return Estimate(value=0.0, low=0.0, high=0.0, level=level, n=len(above), method="no contributions at all")
    value = float(above.mean()) / scale
    spread = mean((above - value * below) / scale, dependent, level=level)
    half = (spread.high - spread.low) / 2
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        level=level,
        n=len(above),
        method=f"ratio of totals, {spread.method}",
        clusters=spread.clusters,
    )


def _share(part: ArrayLike, whole: ArrayLike, rows: pl.DataFrame, level: float) -> Estimate:
    """A ratio that cannot leave [0, 1]."""
    found = ratio(part, whole, clusters(rows), level=level)
    value = min(max(found.value, 0.0), 1.0)
    low, high = min(max(0.0, found.low), value), max(min(1.0, found.high), value)
    return found.model_copy(update={"value": value, "low": low, "high": high})


def _sizes(rows: pl.DataFrame, prefix: str, names: list[str]) -> dict[str, Any]:
    return {m: rows[f"{prefix}.{m}"].abs().to_numpy() for m in names}


def mass(rows: pl.DataFrame, names: list[str], modality: str, level: float = 0.95) -> Estimate:
    """Of all |Shapley values|, those of one modality."""
    size = _sizes(rows, "shapley", names)
    return _share(size[modality], sum(size.values()), rows, level)


def least_used(rows: pl.DataFrame, names: list[str], level: float = 0.95) -> tuple[str, Estimate]:
    """The modality with the smallest share, and its share. The interval is that of the modality named."""
    shares = {m: mass(rows, names, m, level) for m in names}
    least = min(names, key=lambda m: (shares[m].value, m))
    return least, shares[least]


def outvotes(
    rows: pl.DataFrame, names: list[str], modality: str, level: float = 0.95
) -> tuple[Estimate, Estimate, Estimate] | None:
    """Samples on which a modality alone decides otherwise than all the others together: how often the model follows
    it, how often it is right, how often the others are. None where there are none.
    """
    some = rows.filter(pl.col(f"alone_decides.{modality}") != pl.col(f"others_decide.{modality}"))
    if some.is_empty():
        return None
    alone, others = some[f"alone_decides.{modality}"], some[f"others_decide.{modality}"]
    dependent = clusters(some)
    followed, right, contradicted = (
        proportion((a == b).to_numpy(), dependent, level=level)
        for a, b in ((alone, some["clean_predicted"]), (alone, some["target"]), (others, some["target"]))
    )
    return followed, right, contradicted


def interaction(rows: pl.DataFrame, names: list[str], level: float = 0.95) -> Estimate:
    """|What no modality adds alone| over that plus what each adds alone."""
    together = rows["interaction"].abs().to_numpy()
    return _share(together, together + sum(_sizes(rows, "alone", names).values()), rows, level)


def pair_interaction(rows: pl.DataFrame, names: list[str], a: str, b: str, level: float = 0.95) -> Estimate:
    """|Shapley interaction index| of two modalities over that plus what each modality adds alone."""
    together = rows[f"pair.{a}+{b}"].abs().to_numpy()
    return _share(together, together + sum(_sizes(rows, "alone", names).values()), rows, level)


def agreement(rows: pl.DataFrame, names: list[str], level: float = 0.95) -> Estimate | None:
    """Pairs of modalities of which exactly one changes the decision: is it the one with the larger attribution?

    None where there is no such pair. Pairs of one sample are dependent where there is more than one.
    """
    known = clusters(rows)
    owner = np.asarray(known or rows["sample"].to_list())
    hits, whose = [], []
    for a, b in combinations(names, 2):
        changes_a, changes_b = rows[f"changes.{a}"].to_numpy(), rows[f"changes.{b}"].to_numpy()
        larger_a = rows[f"shapley.{a}"].abs().to_numpy() > rows[f"shapley.{b}"].abs().to_numpy()
        one = changes_a != changes_b
        hits.append((larger_a == changes_a)[one])
        whose.append(owner[one])
    found = np.concatenate(hits)
    if len(found) == 0:
        return None
    dependent = np.concatenate(whose) if known is not None or len(names) > 2 else None
    return proportion(found, dependent, level=level)


def fidelity(rows: pl.DataFrame, level: float = 0.95) -> Estimate:
    """1 − Σ squared error / Σ squared variation: 1 where parts add up, below 0 where a constant does better."""
    lost = ratio(rows["residual"].to_numpy(), rows["spread"].to_numpy(), clusters(rows), level=level)
    return lost.model_copy(
        update={"value": 1 - lost.value, "low": 1 - lost.high, "high": max(1 - lost.value, min(1.0, 1 - lost.low))}
    )
