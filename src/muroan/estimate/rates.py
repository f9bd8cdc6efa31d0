"""Shares, means and their differences, with intervals; samples may come in clusters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from muroan.estimate.clusters import Clusters, Design, Floats, design, is_binary, labels, numbers
from muroan.estimate.interval import Estimate, around


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of `n` (possibly effective) samples at normal quantile `z`."""
    if math.isinf(z):
        return 0.0, 1.0
    c = z * z / n
    centre = (share + c / 2) / (1 + c)
    half = math.sqrt(c * share * (1 - share) + c * c / 4) / (1 + c)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def proportion(hits: ArrayLike | Any, clusters: Clusters = None, *, level: float = 0.95) -> Estimate:
    """How often does it happen? The share of 1 in `hits` [N] (0/1), Wilson's score interval.

    With clusters the interval is taken at the effective size n / design effect and with Student's t at C - 1
    degrees of freedom (Dean and Pagano 2015). A single cluster tells nothing: [0, 1].
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


def mean(values: ArrayLike | Any, clusters: Clusters = None, *, level: float = 0.95) -> Estimate:
    """How large on average? The mean of `values` [N] with Student's t; between clusters where there are any.

    One sample, or one cluster, tells nothing about the spread: the interval is infinite.
    """
    x = numbers(values)
    layout = design(clusters, len(x))
    value = float(x.mean())
    half = _t(layout.degrees, level) * _standard_error(x - value, layout)
    return around(
        value,
        value - half,
        value + half,
        level=level,
        n=len(x),
        method=_named("Student t", layout),
        clusters=_count(layout, clusters),
    )


def paired_difference(
    a: ArrayLike | Any, b: ArrayLike | Any, clusters: Clusters = None, *, level: float = 0.95
) -> Estimate:
    """What changed on the same samples? mean(a - b), both [N], row by row the same sample.

    For 0/1 the interval is Agresti and Min's (2005, half an observation added to each cell), inflated by the
    design effect in clusters, so that few or no changes do not give an interval of width 0. Other values:
    `mean(a - b)`.
    """
    x, y = numbers(a, what="a"), numbers(b, what="b")
    if len(x) != len(y):
        raise ValueError(f"a paired difference needs the same samples, got {len(x)} and {len(y)}")
    d = x - y
    if not (is_binary(x) and is_binary(y)):
        estimate = mean(d, clusters, level=level)
        return estimate.model_copy(update={"method": f"paired {estimate.method}"})
    layout = design(clusters, len(d))
    value, z = float(d.mean()), layout.critical(level)
    up, down, n = float((d > 0).sum()) + 0.5, float((d < 0).sum()) + 0.5, len(d) + 2
    centre = (up - down) / n
    variance = (up + down - (up - down) ** 2 / n) / n**2 * layout.effect(d - value)
    half = z * math.sqrt(variance) if math.isfinite(z) else math.inf
    return around(
        value,
        max(-1.0, centre - half),
        min(1.0, centre + half),
        level=level,
        n=len(d),
        method=_named("paired Agresti-Min", layout),
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
    """How do two independent groups of samples differ? mean(a) - mean(b), [N_a] and [N_b].

    For 0/1 Newcombe's hybrid of the two Wilson intervals (1998, method 10), else Welch's t. `n` counts both.
    """
    x, y = numbers(a, what="a"), numbers(b, what="b")
    n = len(x) + len(y)
    clusters = None
    if clusters_a is not None or clusters_b is not None:
        clusters = design(clusters_a, len(x)).count + design(clusters_b, len(y)).count
    if is_binary(x) and is_binary(y):
        p, q = proportion(x, clusters_a, level=level), proportion(y, clusters_b, level=level)
        value = p.value - q.value
        low = value - math.hypot(p.value - p.low, q.high - q.value)
        high = value + math.hypot(p.high - p.value, q.value - q.low)
        return around(
            value, max(-1.0, low), min(1.0, high), level=level, n=n, method="Newcombe", clusters=clusters
        )
    groups = []
    for values, names in ((x, clusters_a), (y, clusters_b)):
        layout = design(names, len(values))
        groups.append((_standard_error(values - values.mean(), layout) ** 2, layout.degrees))
    value = float(x.mean() - y.mean())
    variance = sum(v for v, _ in groups)
    if not math.isfinite(variance):
        half = math.inf
    elif variance == 0:
        half = 0.0
    else:
        half = _t(variance**2 / sum(v**2 / df for v, df in groups), level) * math.sqrt(variance)
    return around(value, value - half, value + half, level=level, n=n, method="Welch t", clusters=clusters)


def by_group(
    hits_or_values: ArrayLike | Any, groups: Any, clusters: Clusters = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """One interval per group: shares if all values are 0/1, else means; group "" (unknown) is left out."""
    x = numbers(hits_or_values)
    names = labels(groups)
    if names.shape != x.shape:
        raise ValueError(f"{len(x)} samples, but groups of shape {names.shape}")
    of = proportion if is_binary(x) else mean
    members = {str(name): names == name for name in np.unique(names) if str(name) != ""}
    parts = None if clusters is None else labels(clusters)
    return {
        name: of(x[rows], None if parts is None else parts[rows], level=level) for name, rows in members.items()
    }


def _standard_error(residuals: Floats, layout: Design) -> float:
    return math.sqrt(layout.variance_of_sum(residuals)) / len(residuals)


def _t(degrees: float, level: float) -> float:
    return float(stdtrit(degrees, 0.5 + level / 2)) if degrees > 0 else math.inf


def _named(method: str, layout: Design) -> str:
    return method if layout.trivial else f"{method}, cluster-robust"


def _count(layout: Design, clusters: Clusters) -> int | None:
    return None if clusters is None else layout.count
