"""How far apart the best and the worst group are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from muroan.estimate.clusters import Floats, design_effect, effective_number, student, unbiased
from muroan.estimate.interval import Estimate, around
from muroan.estimate.resampling import as_totals
from muroan.estimate.score import recovered, wilson

# Draws times pairs of one chunk stay below this many numbers (8 bytes each).
_CHUNK = 4_000_000


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

    `totals_by_group` [C, G, 2]: per cluster and group the sum of the metric and the count of samples.

    The largest of several noisy differences is biased upwards: its own bootstrap would exclude 0 for equal
    groups. Instead every pair of groups gets an interval, simultaneously at `level`, and the gap lies between
    the largest lower and the largest upper bound. The quantile for that is the one of the largest studentised
    difference under the estimated covariance of the groups (max-t with Gaussian multipliers; Chernozhukov,
    Chetverikov and Kato 2013), which sees samples of one cluster that fall into several groups. Where the
    metric lies between 0 and 1 each group's interval is Wilson's at that quantile and pairs are combined as
    Newcombe does, so a small group without a single miss is not taken for certain; other metrics get value +-
    quantile * standard error.

    Groups of fewer than `min_count` samples, or all in one cluster, are left out and named; ValueError if
    fewer than two are left. With equal groups the interval reaches 0 in at least `level` of cases; the more
    pairs there are, the more cautious it is about a true gap.
    """
    array = as_totals(totals_by_group)
    if array.ndim != 3 or array.shape[1:] != (len(groups), 2):
        raise ValueError(f"totals by group must be [C, {len(groups)}, 2], got {array.shape}")
    counts = array[:, :, 1].sum(axis=0)
    kept = (counts >= max(min_count, 1)) & ((array[:, :, 1] > 0).sum(axis=0) > 1)
    left_out = tuple(str(g) for g, k in zip(groups, kept, strict=True) if not k)
    if kept.sum() < 2:
        raise ValueError(f"a gap needs two groups of at least {min_count} samples in more than one cluster")
    names = [str(g) for g, k in zip(groups, kept, strict=True) if k]
    sums, sizes, counts = array[:, kept, 0], array[:, kept, 1], counts[kept]
    value = sums.sum(axis=0) / counts
    sides = _Sides(sums, sizes, value)
    i, j = np.triu_indices(len(names), 1)
    quantile = _largest(sides.covariance, i, j, level=level, draws=draws, seed=seed)
    low, high = sides.differences(i, j, quantile, level)
    top, bottom = int(value.argmax()), int(value.argmin())
    n = int(counts.sum())
    estimate = around(
        float(value[top] - value[bottom]),
        max(0.0, float(low.max()), float((-high).max())),
        float(np.maximum(np.abs(low), np.abs(high)).max()),
        level=level,
        n=n,
        method=f"max-t over pairs of groups, {draws} draws",
        clusters=None if len(array) == n else len(array),
    )
    return Gap(estimate, names[top], names[bottom], left_out)


class _Sides:
    """The groups' means: their covariance through clusters, and their pairwise differences."""

    def __init__(self, sums: Floats, sizes: Floats, value: Floats) -> None:
        self.value = value
        self.counts = sizes.sum(axis=0)
        residuals = (sums - value * sizes) / self.counts
        present = sizes > 0
        adjusted = unbiased(residuals, sizes)
        raw = adjusted.T @ adjusted
        self.rate = bool(((sums >= 0) & (sums <= sizes)).all())
        self.degrees = np.array([max(1.0, effective_number(s[p]) - 1) for s, p in zip(sizes.T, present.T, strict=True)])
        self.trivial = bool((sizes <= 1).all())
        # Sums that are whole numbers are taken for counts of hits, whose design effect is at least 1.
        least = 1.0 if bool((sums == np.round(sums)).all()) else 0.0
        self.effects = np.ones(len(value))
        spread = np.diag(raw).copy()
        if self.rate:
            for g, share in enumerate(value):
                rows, n = present[:, g], self.counts[g]
                if least == 0.0 or not self.trivial:
                    self.effects[g] = design_effect(
                        residuals[rows, g] * n, n * share * (1 - share), sizes[rows, g], least=least
                    )
                # As if two more samples had been seen, one of each kind: no group is known for certain.
                shrunk = (n * share + 1) / (n + 2)
                spread[g] = max(spread[g], self.effects[g] * shrunk * (1 - shrunk) / n)
        self.covariance = raw
        np.fill_diagonal(self.covariance, spread)

    def differences(self, i: Any, j: Any, quantile: float, level: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds of value[i] - value[j], each at `quantile` standard errors."""
        normal = float(ndtri(0.5 + level / 2))
        # A normal quantile widened as Student's t is, unless the variance follows from the value itself.
        known = self.rate and self.trivial and bool((self.effects == 1).all())
        widths = np.array([quantile * (1.0 if known else student(d, level) / normal) for d in self.degrees])
        sd = np.sqrt(np.diag(self.covariance))
        if not self.rate:
            scaled = self.covariance * np.outer(widths, widths)
            half = np.sqrt(np.maximum(np.diag(scaled)[i] + np.diag(scaled)[j] - 2 * scaled[i, j], 0.0))
            d = self.value[i] - self.value[j]
            return d - half, d + half
        effective = self.counts / self.effects
        low, high = np.array(
            [wilson(float(v), float(n), float(z)) for v, n, z in zip(self.value, effective, widths, strict=True)]
        ).T
        correlation = self.covariance[i, j] / (sd[i] * sd[j])
        first, second = (self.value[i], low[i], high[i]), (self.value[j], low[j], high[j])
        return recovered(first, second, correlation)[1:]


def _largest(covariance: Floats, i: Any, j: Any, *, level: float, draws: int, seed: int) -> float:
    """The quantile of the largest |studentised difference| of any pair, for normal errors of this covariance."""
    se = np.sqrt(np.maximum(np.diag(covariance)[i] + np.diag(covariance)[j] - 2 * covariance[i, j], 0.0))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    errors = np.random.default_rng(seed).standard_normal((draws, len(covariance))) @ root.T
    worst = np.empty(draws)
    step = max(1, _CHUNK // len(i))
    for start in range(0, draws, step):
        part = errors[start : start + step]
        worst[start : start + step] = (np.abs(part[:, i] - part[:, j]) / np.where(se > 0, se, math.inf)).max(axis=1)
    return float(np.quantile(worst, level))
