"""Selective prediction: does confidence tell right answers from wrong ones?

Pure functions on arrays. Higher confidence means more sure; higher uncertainty means less. Ties are averaged
over their orders everywhere, so results do not depend on the order of samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muroan.estimate import Estimate, mean
from muroan.estimate.interval import around

Floats = NDArray[np.float64]


def risk_at_coverage(confidence: ArrayLike, correct: ArrayLike) -> Floats:
    """The error rate among the k most confident samples, for k = 1..N: [N]."""
    order, block = _ordered(confidence)
    share = _averaged(1.0 - np.asarray(correct, dtype=np.float64)[order], block)
    return np.asarray(np.cumsum(share) / np.arange(1, len(order) + 1))


def _ordered(confidence: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(order, block of equal confidence in that order), most confident first."""
    c = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-c, kind="stable")
    return order, np.cumsum(np.diff(c[order], prepend=c[order[0]]) != 0)


def _averaged(values: Floats, block: NDArray[np.int64]) -> Floats:
    return np.asarray((np.bincount(block, values) / np.bincount(block))[block])


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean error rate over coverages 1/N..1 (Geifman and El-Yaniv 2017).

    0: never wrong. The error rate: confidence says nothing. 1: always wrong. It cannot be below `oracle_aurc`.
    """
    return float(risk_at_coverage(confidence, correct).mean())


def oracle_aurc(correct: ArrayLike) -> float:
    """The least AURC that any confidence can reach with these errors: all of them last."""
    return aurc(correct, correct)


def aurc_estimate(confidence: ArrayLike, correct: ArrayLike, clusters: Any = None, *, level: float = 0.95) -> Estimate:
    """`aurc` with its interval, from each sample's influence on it.

    With k the rank (1 = most confident), r_k the risk there and e_k the error, sample k moves the area by
    r_k − AURC + sum over i >= k of (e_k − r_i) / i; the sum over all samples is 0.
    """
    influence = _influence(confidence, correct)
    return _estimate(aurc(confidence, correct), influence, clusters, level)


def excess_aurc_estimate(
    confidence: ArrayLike, correct: ArrayLike, clusters: Any = None, *, level: float = 0.95
) -> Estimate:
    """E-AURC with its interval: `aurc` less the least possible at this error rate (Geifman et al. 2019).

    0: every error is less confident than every right answer. Not comparable between models of different accuracy.
    """
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)
    rate = float(wrong.mean())
    # The least area is about rate + (1 − rate) log(1 − rate), so it moves by −log(1 − rate) an error.
    influence = _influence(confidence, correct) + np.log1p(-min(rate, 1 - 1e-12)) * (wrong - rate)
    return _estimate(aurc(confidence, correct) - oracle_aurc(correct), influence, clusters, level)


def _influence(confidence: ArrayLike, correct: ArrayLike) -> Floats:
    risk, (order, block) = risk_at_coverage(confidence, correct), _ordered(confidence)
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)
    rank = np.arange(1, len(risk) + 1)
    gain = _averaged(np.cumsum((1 / rank)[::-1])[::-1], block)
    loss = _averaged(np.cumsum((risk / rank)[::-1])[::-1], block)
    influence = np.empty_like(risk)
    influence[order] = _averaged(risk, block) - risk.mean() + wrong[order] * gain - loss
    return influence


def _estimate(value: float, influence: Floats, clusters: Any, level: float) -> Estimate:
    by_influence = mean(value + influence, clusters, level=level)
    low, high = max(0.0, by_influence.low), min(1.0, by_influence.high)
    method = f"influence, {by_influence.method}"
    return around(value, low, high, level=level, n=len(influence), method=method, clusters=by_influence.clusters)


def threshold_accepting(confidence: ArrayLike, correct: ArrayLike, share: float = 0.95) -> float:
    """The confidence that at least `share` of the right answers reach.

    FPR@95 is the share of wrong answers with at least that of 95 % of the right ones, "positive" being a right answer.
    """
    right = np.sort(np.asarray(confidence, dtype=np.float64)[np.asarray(correct).astype(bool)])[::-1]
    if len(right) == 0:
        raise ValueError("no right answer to accept")
    return float(right[int(np.ceil(share * len(right) - 1e-9)) - 1])


class Counts(NamedTuple):
    """How often right and sure, right and unsure, wrong and sure, wrong and unsure."""

    accurate_certain: float
    accurate_uncertain: float
    inaccurate_certain: float
    inaccurate_uncertain: float

    @property
    def avu(self) -> float:
        """Accuracy versus uncertainty (Krishnan and Tickoo 2020): the share of sure-and-right or
        unsure-and-wrong. 1: uncertainty is a perfect warning. 0: always the opposite."""
        return (self.accurate_certain + self.inaccurate_uncertain) / sum(self)


def avu_counts(uncertainty: ArrayLike, correct: ArrayLike, threshold: float) -> Counts:
    """The four counts; sure means uncertainty at most `threshold`."""
    sure = np.asarray(uncertainty, dtype=np.float64) <= threshold
    right = np.asarray(correct).astype(bool)
    return Counts(*(float(x.sum()) for x in (right & sure, right & ~sure, ~right & sure, ~right & ~sure)))


def uncertainty_threshold(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Half way between the mean uncertainty of right and of wrong answers (Krishnan and Tickoo 2020).

    To be fitted on data that are not scored. ValueError where all answers are right or all wrong.
    """
    u, right = np.asarray(uncertainty, dtype=np.float64), np.asarray(correct).astype(bool)
    if right.all() or not right.any():
        raise ValueError("right and wrong answers are both needed to fit a threshold")
    return float((u[right].mean() + u[~right].mean()) / 2)
