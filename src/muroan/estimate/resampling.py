"""The bootstrap by clusters: any figure that is a function of totals, as one matrix product.

A resample draws C clusters with replacement; its totals are (how often each was drawn) @ (totals by cluster).
Rows that are equal are interchangeable, so they are drawn together: for 0/1 outcomes by group this leaves a
handful of cells whatever the number of samples, with exactly the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from muroan.estimate.clusters import Floats
from muroan.estimate.interval import Estimate, around

Statistic = Callable[[Floats], Floats]

# Weights and totals of one chunk of draws stay below this many numbers (8 bytes each).
_CHUNK = 4_000_000


def resampled(totals: ArrayLike | Any, *, draws: int, seed: int) -> Floats:
    """Totals [B, ...] of `draws` bootstrap resamples of the clusters in `totals` [C, ...].

    The result depends on the set of rows, not on their order.
    """
    array = _totals(totals)
    rows, counts = _cells(array.reshape(len(array), -1))
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // max(len(rows), rows.shape[1], 1))
    parts = []
    for start in range(0, draws, size):
        weights = rng.multinomial(len(array), counts / len(array), size=min(size, draws - start))
        parts.append(weights.astype(np.float64) @ rows)
    return np.concatenate(parts).reshape(draws, *array.shape[1:])


def bootstrap_draws(
    totals: ArrayLike | Any, statistic: Statistic, *, draws: int = 2000, seed: int = 0
) -> tuple[Floats, Floats]:
    """The statistic of all clusters, and of `draws` resamples.

    `totals` [C, ...] are sums by cluster (or by sample); `statistic` maps totals [B, ...] to [B] or [B, G],
    NaN where it is not defined. Returns a value (scalar or [G]) and draws ([B] or [B, G]).
    """
    array = _totals(totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.asarray(statistic(array.sum(axis=0)[None]), dtype=np.float64)[0]
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
    as Student's t is (Hesterberg 2015, "expanded percentile"). Draws on which the statistic is NaN are left
    out; `method` says their share. ValueError if the statistic of all samples is NaN.
    """
    array = _totals(totals)
    value, drawn = bootstrap_draws(array, statistic, draws=draws, seed=seed)
    if drawn.ndim != 1:
        raise ValueError(f"bootstrap takes one figure, the statistic has shape {drawn.shape[1:]}")
    if np.isnan(value):
        raise ValueError("the statistic of all samples is not a number")
    kept = np.sort(drawn[~np.isnan(drawn)])
    clusters = None if len(array) == n else len(array)
    lost = 1 - len(kept) / draws
    name = f"{method}, {draws} draws" + (f", {lost:.1%} undefined" if lost else "")
    if len(array) < 2 or len(kept) == 0:
        return around(float(value), -math.inf, math.inf, level=level, n=n, method=name, clusters=clusters)
    c = len(array)
    z = math.sqrt(c / (c - 1)) * float(stdtrit(c - 1, 0.5 + level / 2))
    shift = 0.0
    if correct_bias:
        below = ((kept < value).mean() + (kept <= value).mean()) / 2
        edge = 0.5 / len(kept)
        shift = float(ndtri(min(max(below, edge), 1 - edge)))
    low, high = np.quantile(kept, ndtr([2 * shift - z, 2 * shift + z]))
    return around(float(value), low, high, level=level, n=n, method=name, clusters=clusters)


class Gap(NamedTuple):
    """The largest difference between groups, between which, and which groups were too small to judge."""

    estimate: Estimate
    highest: str
    lowest: str
    left_out: tuple[str, ...]


def max_gap(
    totals_by_group: ArrayLike | Any,
    groups: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    min_count: int = 10,
) -> Gap:
    """How far apart are the best and the worst group? max - min of the group means, and who they are.

    `totals_by_group` [C, G, 2]: per cluster and group the sum of the metric and the count of samples. The
    largest of several noisy differences is biased upwards, so its own bootstrap would exclude 0 for equal
    groups. Instead all pairwise differences get simultaneous intervals |d| +- q * se, q being the quantile of
    the largest |d* - d| / se over resamples (max-t); the gap is then at least the largest lower and at most
    the largest upper bound. Groups of fewer than `min_count` samples are left out and named. ValueError if
    fewer than two are left.
    """
    array = _totals(totals_by_group)
    if array.ndim != 3 or array.shape[1:] != (len(groups), 2):
        raise ValueError(f"totals by group must be [C, {len(groups)}, 2], got {array.shape}")
    counts = array[:, :, 1].sum(axis=0)
    kept = counts >= max(min_count, 1)
    left_out = tuple(str(g) for g, k in zip(groups, kept, strict=True) if not k)
    if kept.sum() < 2:
        raise ValueError(f"a gap needs two groups of at least {min_count} samples")
    names = [str(g) for g, k in zip(groups, kept, strict=True) if k]
    value, drawn = bootstrap_draws(array[:, kept], lambda t: t[..., 0] / t[..., 1], draws=draws, seed=seed)
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    i, j = np.triu_indices(len(names), 1)
    d = np.abs(value[i] - value[j])
    cov = np.cov(drawn, rowvar=False)
    se = np.sqrt(np.maximum(np.diag(cov)[i] + np.diag(cov)[j] - 2 * cov[i, j], 0))
    errors = drawn - value
    worst = np.empty(len(errors))
    step = max(1, _CHUNK // len(i))
    for start in range(0, len(errors), step):
        part = errors[start : start + step]
        ratio = np.abs(part[:, i] - part[:, j]) / np.where(se > 0, se, np.inf)
        worst[start : start + step] = ratio.max(axis=1)
    q = float(np.quantile(worst, level))
    top, bottom = int(value.argmax()), int(value.argmin())
    n = int(counts[kept].sum())
    estimate = around(
        float(value[top] - value[bottom]),
        max(0.0, float((d - q * se).max())),
        float((d + q * se).max()),
        level=level,
        n=n,
        method=f"max-t bootstrap, {draws} draws",
        clusters=None if len(array) == n else len(array),
    )
    return Gap(estimate, names[top], names[bottom], left_out)


def _totals(totals: ArrayLike | Any) -> Floats:
    if hasattr(totals, "detach"):
        totals = totals.detach().cpu()
    array = np.asarray(totals, dtype=np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError("no samples")
    if np.isnan(array).any():
        raise ValueError("totals: NaN")
    return array


def _cells(flat: Floats) -> tuple[Floats, Floats]:
    """The distinct rows of [C, K], sorted, and how often each occurs."""
    if flat.shape[1] == 0:
        raise ValueError("no totals")
    order = np.lexsort(flat.T[::-1])
    sorted_rows = flat[order]
    first = np.concatenate([[True], (sorted_rows[1:] != sorted_rows[:-1]).any(axis=1)])
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, len(flat))).astype(np.float64)
    return sorted_rows[starts], counts
