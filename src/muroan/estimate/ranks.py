"""Figures of order: the area under the ROC curve, differences of two, and quantiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri, stdtrit

from muroan.estimate.clusters import Clusters, Floats, design, labels, numbers
from muroan.estimate.interval import Estimate, around
from muroan.estimate.rates import wilson


def placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    Ties count half. Both have the AUC as their mean.
    """
    low, high = np.sort(negative), np.sort(positive)
    below = np.searchsorted(low, positive, "left") + np.searchsorted(low, positive, "right")
    under = np.searchsorted(high, negative, "left") + np.searchsorted(high, negative, "right")
    return below / (2 * len(negative)), 1 - under / (2 * len(positive))


def auc(
    positive_scores: ArrayLike | Any,
    negative_scores: ArrayLike | Any,
    clusters_pos: Clusters = None,
    clusters_neg: Clusters = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """How well do scores tell two kinds apart? The chance that a positive scores above a negative (ties half).

    0.5 is guessing, 1 perfect. DeLong's variance (1988), in clusters Obuchowski's (1997), on the logit scale.
    A perfect order has no variance to estimate; there the interval is Wilson's for as many samples as the
    smaller side has clusters, the largest variance that an AUC can have.
    """
    pos, neg = numbers(positive_scores, what="positive scores"), numbers(negative_scores, what="negative scores")
    above, under = placements(pos, neg)
    value = float(above.mean())
    n, clusters = len(pos) + len(neg), None
    names = _names(clusters_pos, clusters_neg, len(pos), len(neg))
    if names is not None:
        clusters = len(np.unique(np.concatenate(names)))
    variance, degrees, smaller = _covariance([(above - value, under - value)], names)
    t = float(stdtrit(degrees, 0.5 + level / 2)) if degrees > 0 else math.inf
    method = "DeLong, logit" if names is None else "DeLong, logit, cluster-robust"
    if not math.isfinite(t):
        low, high = 0.0, 1.0
    elif 0 < value < 1 and variance[0, 0] > 0:
        half = t * math.sqrt(variance[0, 0]) / (value * (1 - value))
        logit = math.log(value / (1 - value))
        low, high = (1 / (1 + math.exp(-min(max(logit + s * half, -700), 700))) for s in (-1, 1))
    else:
        low, high = wilson(value, smaller, float(ndtri(0.5 + level / 2)))
        method = method.replace("DeLong, logit", "Wilson at the smaller side's n")
    return around(value, low, high, level=level, n=n, method=method, clusters=clusters)


def auc_difference(
    scores_a_pos: ArrayLike | Any,
    scores_a_neg: ArrayLike | Any,
    scores_b_pos: ArrayLike | Any,
    scores_b_neg: ArrayLike | Any,
    clusters_pos: Clusters = None,
    clusters_neg: Clusters = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """Which of two scores tells better apart, on the same samples? AUC(a) - AUC(b), paired.

    The two intervals are combined with the correlation of the two AUCs (the "method of variance estimates
    recovery", Zou 2007), so the result stays sensible where one of them is perfect.
    """
    pairs = []
    for p, q in ((scores_a_pos, scores_a_neg), (scores_b_pos, scores_b_neg)):
        pairs.append((numbers(p, what="positive scores"), numbers(q, what="negative scores")))
    (a_pos, a_neg), (b_pos, b_neg) = pairs
    if len(a_pos) != len(b_pos) or len(a_neg) != len(b_neg):
        raise ValueError("a paired difference needs both scores of the same samples")
    a = auc(a_pos, a_neg, clusters_pos, clusters_neg, level=level)
    b = auc(b_pos, b_neg, clusters_pos, clusters_neg, level=level)
    placed = [placements(p, q) for p, q in pairs]
    residuals = [(x - x.mean(), y - y.mean()) for x, y in placed]
    names = _names(clusters_pos, clusters_neg, len(a_pos), len(a_neg))
    cov = _covariance(residuals, names)[0]
    scale = math.sqrt(cov[0, 0] * cov[1, 1])
    rho = min(1.0, max(-1.0, cov[0, 1] / scale)) if math.isfinite(scale) and scale > 0 else 0.0
    value = a.value - b.value
    down, up = (a.value - a.low, b.high - b.value), (a.high - a.value, b.value - b.low)
    low = value - math.sqrt(max(0.0, down[0] ** 2 + down[1] ** 2 - 2 * rho * down[0] * down[1]))
    high = value + math.sqrt(max(0.0, up[0] ** 2 + up[1] ** 2 - 2 * rho * up[0] * up[1]))
    method = "paired DeLong" if names is None else "paired DeLong, cluster-robust"
    return around(value, max(-1.0, low), min(1.0, high), level=level, n=a.n, method=method, clusters=a.clusters)


def _names(pos: Clusters, neg: Clusters, m: int, n: int) -> tuple[Any, Any] | None:
    """Cluster names of both sides (a cluster may have samples on both), or None if all are independent."""
    if pos is None and neg is None:
        return None
    if pos is None or neg is None:
        raise ValueError("clusters are needed for both sides or for neither")
    names = labels(pos), labels(neg)
    for side, size in zip(names, (m, n), strict=True):
        if side.shape != (size,):
            raise ValueError(f"{size} scores, but clusters of shape {side.shape}")
    both = np.concatenate(names)
    return None if len(np.unique(both)) == m + n else names


def _covariance(
    residuals: list[tuple[Floats, Floats]], names: tuple[Any, Any] | None
) -> tuple[Floats, float, int]:
    """Covariance of K AUCs from their placements' residuals; degrees of freedom; clusters on the smaller side."""
    pos = np.stack([p for p, _ in residuals], axis=1)
    neg = np.stack([q for _, q in residuals], axis=1)
    m, n, k = len(pos), len(neg), len(residuals)
    if names is None:
        counts, sums = (m, n), (pos / m, neg / n)
        cross = np.zeros((k, k))
    else:
        both = design(np.concatenate(names), m + n)
        full = [
            np.stack([np.bincount(codes, column, both.count) for column in side.T], axis=1) / len(side)
            for codes, side in ((both.codes[:m], pos), (both.codes[m:], neg))
        ]
        counts = (len(np.unique(both.codes[:m])), len(np.unique(both.codes[m:])))
        cross = full[0].T @ full[1] * both.count / max(both.count - 1, 1)
        sums = (full[0], full[1])
    if min(counts) < 2:
        return np.full((k, k), np.inf), 0.0, min(counts)
    parts = [s.T @ s * c / (c - 1) for s, c in zip(sums, counts, strict=True)]
    cov = parts[0] + parts[1] + cross + cross.T
    trace = [float(np.trace(p)) for p in parts]
    spread = sum(v**2 / (c - 1) for v, c in zip(trace, counts, strict=True))
    degrees = sum(trace) ** 2 / spread if spread > 0 else float(min(counts) - 1)
    return cov, degrees, min(counts)


def quantile(values: ArrayLike | Any, q: float, *, level: float = 0.95) -> Estimate:
    """Below which value do a share `q` of samples lie? The interval runs between two order statistics.

    Exact for any distribution: their ranks come from the binomial law. Too few samples for that quantile and
    level (the median of 3, the 99 % quantile of 50) leave that side infinite.
    """
    x = np.sort(numbers(values))
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    n, tail = len(x), (1 - level) / 2
    # bdtr(k, n, q) = P(at most k samples lie below the true quantile).
    at_most = bdtr(np.arange(n), n, q)
    below = int(np.searchsorted(at_most, tail, "right"))
    above = int(np.searchsorted(at_most, 1 - tail, "left"))
    low = float(x[below - 1]) if below > 0 else -math.inf
    high = float(x[above]) if above < n and at_most[above] >= 1 - tail else math.inf
    return around(float(np.quantile(x, q)), low, high, level=level, n=n, method="order statistics")
