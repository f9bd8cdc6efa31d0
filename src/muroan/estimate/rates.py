"""Shares, means and their differences, with intervals; samples may come in clusters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from muroan.estimate.clusters import (
    Clusters,
    Design,
    Floats,
    common,
    design,
    design_effect,
    is_binary,
    labels,
    numbers,
    student,
    unbiased,
)
from muroan.estimate.interval import Estimate, around
from muroan.estimate.score import recovered, tango, wilson


def proportion(hits: ArrayLike | Any, clusters: Clusters = None, *, level: float = 0.95) -> Estimate:
    """How often does it happen? The share of 1 in `hits` [N] (0/1), Wilson's score interval.

    With clusters the interval is taken at the effective size n / design effect and with Student's t (Dean and
    Pagano 2015). A single cluster tells nothing: [0, 1]. Simulated coverage is 0.93 to 0.98 wherever n * p
    and n * (1 - p) exceed 0.2 (below that, one rare event gives an interval that starts above the truth), and
    nearly 1 for a handful of clusters.
    """
    x = numbers(hits, what="hits")
    if not is_binary(x):
        raise ValueError("hits: only 0 and 1 are hits or misses; use mean() for other values")
    layout = design(clusters, len(x))
    share = float(x.mean())
    low, high = wilson(share, len(x) / layout.effect(x - share), layout.critical(level))
    return around(
        share, low, high, level=level, n=len(x), method=_named("Wilson", layout), clusters=_count(layout, clusters)
    )


def mean(
    values: ArrayLike | Any,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """How large on average? The mean of `values` [N] with Student's t; between clusters where there are any.

    One sample, or one cluster, tells nothing about the spread: the interval is infinite. With `bounds` (the
    least and largest possible value, such as 0 and 1 for an IoU) the interval is Wilson's, at as many samples
    as 0/1 outcomes would need for the variance seen. It stays within the bounds, is not of width 0 where all
    values are equal, and covers better where most values sit at one end.
    """
    x = numbers(values)
    layout = design(clusters, len(x))
    value = float(x.mean())
    t = student(layout.degrees, level)
    if bounds is None:
        half = t * _standard_error(x - value, layout)
        low, high, method = value - half, value + half, "Student t"
    else:
        start, length = bounds[0], bounds[1] - bounds[0]
        if length <= 0 or x.min() < bounds[0] or x.max() > bounds[1]:
            raise ValueError(f"values from {x.min()} to {x.max()} are not within {bounds}")
        share, sums = (value - start) / length, layout.totals((x - value) / length)
        ratio = design_effect(sums, len(x) * share * (1 - share), layout.sizes, least=0.0)
        low, high = (start + length * bound for bound in wilson(share, len(x) / ratio, t))
        method = "Wilson at the variance seen"
    return around(
        value,
        low,
        high,
        level=level,
        n=len(x),
        method=_named(method, layout),
        clusters=_count(layout, clusters),
    )


def paired_difference(
    a: ArrayLike | Any, b: ArrayLike | Any, clusters: Clusters = None, *, level: float = 0.95
) -> Estimate:
    """What changed on the same samples? mean(a - b), both [N], row by row the same sample.

    For 0/1 the interval is Tango's score interval (1998), in clusters at the effective size n / design
    effect. It agrees with McNemar's test and does not collapse where few or no samples changed. (Agresti and
    Min's half an observation per cell was tried: in simulation it covered 0.84 to 0.92 of rare one-sided
    changes, and was less often clear of 0.) For other values: `mean(a - b)`.
    """
    x, y = numbers(a, what="a"), numbers(b, what="b")
    if len(x) != len(y):
        raise ValueError(f"a paired difference needs the same samples, got {len(x)} and {len(y)}")
    d = x - y
    if not (is_binary(x) and is_binary(y)):
        estimate = mean(d, clusters, level=level)
        return estimate.model_copy(update={"method": f"paired {estimate.method}"})
    layout = design(clusters, len(d))
    effect = layout.effect(d - d.mean())
    up, down = float((d > 0).sum()), float((d < 0).sum())
    low, high = tango(up / effect, down / effect, len(d) / effect, layout.critical(level))
    return around(
        float(d.mean()),
        low,
        high,
        level=level,
        n=len(d),
        method=_named("paired Tango score", layout),
        clusters=_count(layout, clusters),
    )


def difference(
    a: ArrayLike | Any,
    b: ArrayLike | Any,
    clusters_a: Clusters = None,
    clusters_b: Clusters = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """How do two groups of different samples differ? mean(a) - mean(b), [N_a] and [N_b].

    For 0/1 Newcombe's hybrid of the two Wilson intervals (1998, method 10), else Welch's t. `n` counts both
    groups. Clusters named in both groups (two questions on one picture, one in each group) are taken as the
    same: what a cluster adds to both groups does not widen their difference.
    """
    x, y = numbers(a, what="a"), numbers(b, what="b")
    first, second = design(clusters_a, len(x)), design(clusters_b, len(y))
    left, right, clusters = common(first, second)
    shared = 0.0
    if min(first.count, second.count) > 1:
        sums = [unbiased(of.totals(v - v.mean()), of.sizes) / len(v) for v, of in ((x, first), (y, second))]
        shared = float(sums[0][left] @ sums[1][right])
    n = len(x) + len(y)
    variances = [_standard_error(v - v.mean(), of) ** 2 for v, of in ((x, first), (y, second))]
    if is_binary(x) and is_binary(y):
        p, q = proportion(x, clusters_a, level=level), proportion(y, clusters_b, level=level)
        product = variances[0] * variances[1]
        rho = shared / math.sqrt(product) if math.isfinite(product) and product > 0 else 0.0
        value, low, high = recovered((p.value, p.low, p.high), (q.value, q.low, q.high), min(max(rho, -1.0), 1.0))
        low, high, method = max(-1.0, low), min(1.0, high), "Newcombe"
    else:
        value = float(x.mean() - y.mean())
        apart = sum(variances)
        half = math.inf
        if math.isfinite(apart):
            spread = sum(v**2 / of.degrees for v, of in zip(variances, (first, second), strict=True))
            degrees = apart**2 / spread if spread > 0 else 1.0
            half = student(degrees, level) * math.sqrt(max(0.0, apart - 2 * shared))
        low, high, method = value - half, value + half, "Welch t"
    if clusters is not None:
        method += ", cluster-robust"
    return around(value, low, high, level=level, n=n, method=method, clusters=clusters)


def by_group(
    hits_or_values: ArrayLike | Any, groups: Any, clusters: Clusters = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """One interval per group: shares if all values are 0/1, else means; group "" (unknown) is left out."""
    x = numbers(hits_or_values)
    names = labels(groups)
    if names.shape != x.shape:
        raise ValueError(f"{len(x)} samples, but groups of shape {names.shape}")
    of = proportion if is_binary(x) else mean
    known, codes = np.unique(names, return_inverse=True)
    members = {str(name): np.flatnonzero(codes == k) for k, name in enumerate(known) if str(name) != ""}
    parts = None if clusters is None else design(clusters, len(x)).codes
    return {name: of(x[rows], None if parts is None else parts[rows], level=level) for name, rows in members.items()}


def _standard_error(residuals: Floats, layout: Design) -> float:
    return math.sqrt(layout.variance_of_sum(residuals)) / len(residuals)


def _named(method: str, layout: Design) -> str:
    return method if layout.trivial else f"{method}, cluster-robust"


def _count(layout: Design, clusters: Clusters) -> int | None:
    return None if clusters is None else layout.count
