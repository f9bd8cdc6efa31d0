"""The bootstrap by clusters: any figure that is a function of totals, as one matrix product.

A resample draws C clusters with replacement; its totals are (how often each was drawn) @ (totals by cluster).
Rows that are equal are interchangeable, so they are drawn together: for 0/1 outcomes by group this leaves a
handful of cells whatever the number of samples, with exactly the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from muroan.estimate.clusters import Floats, Ints, student
from muroan.estimate.interval import Estimate, around

Statistic = Callable[[Floats], Floats]

# Weights and totals of one chunk of draws stay below this many numbers (8 bytes each).
_CHUNK = 4_000_000

# One multinomial cell costs about as much as this many clusters drawn one by one (measured).
_CELL_COST = 6

# Below this many clusters percentiles of the bootstrap cover too little (simulated: 0.48 to 0.78 at three).
_FEW_CLUSTERS = 10


def resampled(totals: ArrayLike | Any, *, draws: int, seed: int) -> Floats:
    """Totals [B, ...] of `draws` bootstrap resamples of the clusters in `totals` [C, ...].

    The result depends on the set of rows, not on their order.
    """
    array = as_totals(totals)
    rows, counts = _cells(array.reshape(len(array), -1))
    rng = np.random.default_rng(seed)
    # Which of two ways to draw the same weights is faster: per cell (slow each) or per cluster (many).
    by_cell = len(rows) * _CELL_COST < len(array)
    if not by_cell:
        rows, counts = np.repeat(rows, counts, axis=0), np.ones(len(array), dtype=np.int64)
    size = max(1, _CHUNK // max(rows.shape))
    parts = []
    for start in range(0, draws, size):
        b = min(size, draws - start)
        weights = (
            rng.multinomial(len(array), counts / len(array), size=b) if by_cell else _times_drawn(rng, len(array), b)
        )
        parts.append(weights.astype(np.float64) @ rows)
    return np.concatenate(parts).reshape(draws, *array.shape[1:])


def _times_drawn(rng: np.random.Generator, clusters: int, draws: int) -> Ints:
    """How often each cluster is drawn [B, C]: counts of uniform draws with replacement."""
    weights = np.empty((draws, clusters), dtype=np.int64)
    # Blocks that stay in the processor's cache: several times faster than all draws at once.
    step = max(1, 2**16 // clusters)
    for start in range(0, draws, step):
        block = weights[start : start + step]
        drawn = rng.integers(0, clusters, size=block.shape) + clusters * np.arange(len(block))[:, None]
        block[:] = np.bincount(drawn.ravel(), minlength=block.size).reshape(block.shape)
    return weights


def bootstrap_draws(
    totals: ArrayLike | Any, statistic: Statistic, *, draws: int = 2000, seed: int = 0
) -> tuple[Floats, Floats]:
    """The statistic of all clusters, and of `draws` resamples.

    `totals` [C, ...] are sums by cluster (or by sample); `statistic` maps totals [B, ...] to [B] or [B, G],
    NaN where it is not defined. Returns a value (scalar or [G]) and draws ([B] or [B, G]).
    """
    array = as_totals(totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Summed in sorted order, so that not even rounding depends on the order of the clusters.
        rows, counts = _cells(array.reshape(len(array), -1))
        whole = (counts[:, None] * rows).sum(axis=0).reshape(1, *array.shape[1:])
        value = np.asarray(statistic(whole), dtype=np.float64)[0]
        drawn = np.asarray(statistic(resampled(array, draws=draws, seed=seed)), dtype=np.float64)
    return value, drawn


def bootstrap(
    totals: ArrayLike | Any,
    statistic: Statistic,
    *,
    n: int,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    method: str = "bootstrap",
    correct_bias: bool = True,
) -> Estimate:
    """The interval of a statistic of totals: bias-corrected percentiles of the bootstrap by clusters.

    `totals` [C, ...], `statistic` [B, ...] -> [B]; `n` is the true number of samples. Percentiles are
    corrected for the median bias of the draws (Efron 1987, without acceleration) and widened for few clusters
    as Student's t is (Hesterberg 2015, "expanded percentile"). Of fewer than ten clusters there are too few
    different resamples; the jackknife's t interval is joined to it then. Draws on which the statistic is NaN
    are left out; `method` says their share. ValueError if the statistic of all samples is NaN.
    """
    array = as_totals(totals)
    value, drawn = bootstrap_draws(array, statistic, draws=draws, seed=seed)
    if drawn.ndim != 1:
        raise ValueError(f"bootstrap takes one figure, the statistic has shape {drawn.shape[1:]}")
    if np.isnan(value):
        raise ValueError("the statistic of all samples is not a number")
    kept = np.sort(drawn[~np.isnan(drawn)])
    clusters = None if len(array) == n else len(array)
    lost = 1 - len(kept) / draws
    name = f"{method}, {draws} draws" + (f", {lost:.1%} undefined" if lost else "")
    c = len(array)
    if c < 2 or len(kept) == 0:
        return around(float(value), -math.inf, math.inf, level=level, n=n, method=name, clusters=clusters)
    z = math.sqrt(c / (c - 1)) * student(c - 1, level)
    shift = 0.0
    if correct_bias:
        below = ((kept < value).mean() + (kept <= value).mean()) / 2
        edge = 0.5 / len(kept)
        shift = float(ndtri(min(max(below, edge), 1 - edge)))
    low, high = np.quantile(kept, ndtr([2 * shift - z, 2 * shift + z]))
    if c < _FEW_CLUSTERS:
        half = student(c - 1, level) * _jackknife(array, statistic)
        low, high = min(low, value - half), max(high, value + half)
        name += ", jackknife t for few clusters"
    return around(float(value), low, high, level=level, n=n, method=name, clusters=clusters)


def _jackknife(array: Floats, statistic: Statistic) -> float:
    """The standard error from leaving out each cluster in turn."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.asarray(statistic(array.sum(axis=0) - array), dtype=np.float64)
    left = left[~np.isnan(left)]
    return math.inf if len(left) < 2 else math.sqrt((len(left) - 1) * float(left.var()))


def as_totals(totals: ArrayLike | Any) -> Floats:
    if hasattr(totals, "detach"):
        totals = totals.detach().cpu()
    array = np.asarray(totals, dtype=np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError("no samples")
    if np.isnan(array).any():
        raise ValueError("totals: NaN")
    return array


def _cells(flat: Floats) -> tuple[Floats, Ints]:
    """The distinct rows of [C, K], sorted, and how often each occurs."""
    if flat.shape[1] == 0:
        raise ValueError("no totals")
    order = np.lexsort(flat.T[::-1])
    sorted_rows = flat[order]
    first = np.concatenate([[True], (sorted_rows[1:] != sorted_rows[:-1]).any(axis=1)])
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, len(flat)))
    return sorted_rows[starts], counts
