"""Figures over several conditions on the same samples: a ratio of totals, and the worst of several.

The worst of several noisy figures is biased: the largest drop of fourteen equal ones looks larger than they are.
So all of them get simultaneous intervals, value ± q · se with q the quantile of the largest |deviation| / se over
resamples of the clusters (max-t, as `estimate.max_gap` does for groups), and the worst is at least the largest
lower and at most the largest upper bound.

Where all samples agree (nothing was lost at all) resamples agree too, and an interval of width 0 would claim
certainty. Imaginary samples, half a sample for each way an outcome can differ (as in Agresti and Min's interval),
take part in the resamples, not in the value; in clusters they weigh as much as a cluster does to its samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from muroan.estimate import Estimate, bootstrap, bootstrap_draws, sum_by_cluster

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Totals [B, K] -> figures [B] or [B, G]."""


@dataclass(frozen=True)
class Totals:
    """sums [C, K]: outcomes by cluster; imaginary [P, K]: those of imaginary clusters; n samples."""

    sums: Floats
    imaginary: Floats
    n: int
    clusters: int | None

    @property
    def padded(self) -> Floats:
        return np.concatenate([self.sums, self.imaginary])


def totals(outcomes: ArrayLike, clusters: Sequence[Any] | None, ways: ArrayLike) -> Totals:
    """Outcomes [N, K] of N samples; ways [P, K]: outcomes of one sample, for each way in which they can differ."""
    table = np.asarray(outcomes, dtype=np.float64)
    sums = sum_by_cluster(table, clusters)
    size = 1.0
    if clusters is not None:
        sizes = np.unique(np.asarray(clusters, dtype=str), return_counts=True)[1].astype(np.float64)
        size = float(sizes @ sizes) / len(table)
    return Totals(
        sums, 0.5 * size * np.asarray(ways, dtype=np.float64), len(table), None if clusters is None else len(sums)
    )


def figure(sums: Totals, statistic: Statistic, *, level: float = 0.95, seed: int = 0, method: str) -> Estimate:
    """One figure of totals with the bootstrap's interval; ValueError where it is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sums.sum(axis=0)[None])[0])
    if math.isnan(value):
        raise ValueError("the figure is not defined on these samples")
    found = bootstrap(sums.padded, statistic, n=sums.n, level=level, seed=seed, method=method)
    few = len(sums.sums) < 2
    return Estimate(
        value=value,
        low=-math.inf if few else min(value, found.low),
        high=math.inf if few else max(value, found.high),
        level=level,
        n=sums.n,
        method=found.method,
        clusters=sums.clusters,
    )


class Worst(NamedTuple):
    """The worst of several figures with its simultaneous interval, and which one it is."""

    estimate: Estimate
    at: int


def worst(
    sums: Totals,
    statistic: Statistic,
    *,
    largest: bool = True,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
    seed: int = 0,
    draws: int = 2000,
) -> Worst:
    """The largest (or smallest) of figures [G]; ValueError where one of them is not defined.

    bounds: the least and largest possible value, which the interval does not leave.
    """
    sign = 1.0 if largest else -1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        values = sign * statistic(sums.sums.sum(axis=0)[None])[0]
    if np.isnan(values).any():
        raise ValueError("the figure is not defined on these samples")
    centre, drawn = bootstrap_draws(sums.padded, statistic, draws=draws, seed=seed)
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    at = int(values.argmax())
    clusters = len(sums.sums)
    low = high = math.inf
    if clusters > 1 and len(drawn) > 1:
        spread = drawn.std(axis=0)
        deviation = np.abs(drawn - centre) / np.where(spread > 0, spread, np.inf)
        # Few clusters: as much wider as Student's t is than the normal.
        wider = float(stdtrit(clusters - 1, 0.5 + level / 2) / ndtri(0.5 + level / 2))
        q = float(np.quantile(deviation.max(axis=1), level)) * wider * math.sqrt(clusters / (clusters - 1))
        low, high = float((values - q * spread).max()), float((values + q * spread).max())
    else:
        low = -math.inf
    value = float(values[at])
    if not largest:
        value, low, high = -value, -high, -low
    low, high = min(max(low, bounds[0]), value), max(min(high, bounds[1]), value)
    return Worst(
        Estimate(
            value=value,
            low=low,
            high=high,
            level=level,
            n=sums.n,
            method=f"max-t bootstrap, {draws} draws",
            clusters=sums.clusters,
        ),
        at,
    )
