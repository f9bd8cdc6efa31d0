"""Score intervals: the set of true values that the observed one does not contradict.

A score interval tests each candidate with the variance that the candidate implies, not with the one estimated
from the sample. So it stays within the possible values, is not of width 0 where all samples agree, and covers
where "value plus or minus 1.96 standard errors" fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtri, owens_t

# Value, low and high of one side of a difference: numbers, or arrays of many.
Side = tuple[Any, Any, Any]

# Halvings of a search between the value and the end of the scale: the result is exact to a double.
_HALVINGS = 54

# Weight, against the binormal variance, of the largest variance that an AUC can have. Chosen by simulation
# (benchmarks/coverage.py): it costs little where scores are binormal, and rescues the case of a few positives that
# score like negatives.
_WORST_CASE_WEIGHT = 0.05


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of `n` (possibly effective) samples at normal quantile `z`."""
    if math.isinf(z):
        return 0.0, 1.0
    c = z * z / n
    centre = (share + c / 2) / (1 + c)
    half = math.sqrt(c * share * (1 - share) + c * c / 4) / (1 + c)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def tango(up: float, down: float, n: float, z: float) -> tuple[float, float]:
    """Tango's interval (1998) of (up - down) / n, counts of opposite changes among `n` pairs, possibly effective.

    At a difference of 0 it is McNemar's test: it excludes 0 if and only if |up - down| > z sqrt(up + down).
    """

    def contradicted(delta: float) -> bool:
        # The most likely share of "down" if the true difference is delta: the root of a quadratic.
        b = -up - down + (2 * n - up + down) * delta
        c = -down * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * max(2 * share + delta * (1 - delta), 0.0)
        return (up - down - n * delta) ** 2 > z * z * variance

    if math.isinf(z):
        return -1.0, 1.0
    value = (up - down) / n
    return _furthest(contradicted, value, -1.0), _furthest(contradicted, value, 1.0)


def binormal_variance(area: float, m: int, n: int) -> float:
    """Variance of the AUC of `m` and `n` scores, normal with one spread and apart so far that the AUC is `area`.

    Bamber (1975) gives it from P(two positives exceed one negative), which is a bivariate normal probability
    here.
    """
    if not 0 < area < 1:
        return 0.0
    both = area - 2 * owens_t(ndtri(area), 1 / math.sqrt(3))
    return float((area * (1 - area) + (m + n - 2) * max(both - area * area, 0.0)) / (m * n))


def auc_bounds(area: float, variance: float, m: int, n: int, smaller: float, t: float) -> tuple[float, float]:
    """Score interval of an AUC: candidates are tested with the binormal variance, raised as far as the data ask.

    `variance` is DeLong's (in clusters Obuchowski's), `smaller` the effective number of clusters on the
    smaller side. Near a perfect order DeLong's variance comes from a handful of misplaced samples and is
    mostly too small; the shape of the binormal takes over there, mixed with the largest variance that any
    scores can have, A (1 - A) / smaller, which also caps the result.
    """
    if math.isinf(t):
        return 0.0, 1.0
    inside = min(max(area, 0.5 / smaller), 1 - 0.5 / smaller)
    worst = max(1.0, inside * (1 - inside) / smaller / binormal_variance(inside, m, n))
    weight = _WORST_CASE_WEIGHT * binormal_variance(1 - 0.5 / smaller, m, n)
    excess = max(1.0, (variance + weight * worst) / (binormal_variance(area, m, n) + weight))

    def contradicted(candidate: float) -> bool:
        largest = candidate * (1 - candidate) / smaller
        assumed = min(excess * binormal_variance(candidate, m, n), largest)
        return (area - candidate) ** 2 > t * t * assumed

    return _furthest(contradicted, area, 0.0), _furthest(contradicted, area, 1.0)


def recovered(first: Side, second: Side, correlation: Any = 0.0) -> Side:
    """Value, low and high of a difference from (value, low, high) of its two sides and their correlation.

    The "method of variance estimates recovery" (Zou and Donner 2008); for shares with Wilson's intervals it
    is Newcombe's method 10 (1998). The sides' distances to their bounds stand in for standard errors. Numbers or
    arrays.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    value = a - b
    low = value - _joint(a - a_low, b_high - b, correlation)
    high = value + _joint(a_high - a, b - b_low, correlation)
    return value, low, high


def _joint(x: Any, y: Any, correlation: Any) -> Any:
    return np.sqrt(np.maximum(0.0, x * x + y * y - 2 * correlation * x * y))


def _furthest(contradicted: Callable[[float], bool], start: float, end: float) -> float:
    """The last candidate from `start` towards `end` that is not contradicted."""
    if not contradicted(end):
        return end
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        if contradicted(middle):
            end = middle
        else:
            start = middle
    return start
