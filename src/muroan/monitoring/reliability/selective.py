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
    return _ordered(confidence, correct)[0]


def _ordered(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats, NDArray[np.int64], Any]:
    """(risk at k, errors in order with ties averaged, order, block of equal confidence), most confident first."""
    c, wrong = np.asarray(confidence, dtype=np.float64), 1.0 - np.asarray(correct, dtype=np.float64)
    order = np.argsort(-c, kind="stable")
    block = np.cumsum(np.diff(c[order], prepend=c[order[0]]) != 0)
    share = _averaged(wrong[order], block)
    risk = np.cumsum(share) / np.arange(1, len(c) + 1)
    return risk, share, order, block


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
    value, influence, _ = _influence(confidence, correct)
    found = mean(value + influence, clusters, level=level)
    return _within(found, value)


def excess_aurc_estimate(
    confidence: ArrayLike, correct: ArrayLike, clusters: Any = None, *, level: float = 0.95
) -> Estimate:
    """E-AURC with its interval: `aurc` less the least possible at this error rate (Geifman et al. 2019).

    0: every error is less confident than every right answer. Not comparable between models of different accuracy.
    """
    area, influence, wrong = _influence(confidence, correct)
    value = area - oracle_aurc(1.0 - wrong)
    rate = float(wrong.mean())
    # The least area is about rate + (1 − rate) log(1 − rate), so it moves by −log(1 − rate) an error.
    slope = -np.log1p(-min(rate, 1 - 1e-12))
    found = mean(value + influence - slope * (wrong - rate), clusters, level=level)
    return _within(found, value)


def _influence(confidence: ArrayLike, correct: ArrayLike) -> tuple[float, Floats, Floats]:
    risk, _, order, block = _ordered(confidence, correct)
    wrong = 1.0 - np.asarray(correct, dtype=np.float64)
    rank = np.arange(1, len(risk) + 1)
    value = float(risk.mean())
    gain = _averaged(np.cumsum((1 / rank)[::-1])[::-1], block)
    loss = _averaged(np.cumsum((risk / rank)[::-1])[::-1], block)
    influence = np.empty_like(risk)
    influence[order] = _averaged(risk, block) - value + wrong[order] * gain - loss
    return value, influence, wrong


def _within(found: Estimate, value: float) -> Estimate:
    return around(
        value,
        max(0.0, found.low),
        min(1.0, found.high),
        level=found.level,
        n=found.n,
        method=f"influence, {found.method}",
        clusters=found.clusters,
    )


def threshold_accepting(confidence: ArrayLike, correct: ArrayLike, share: float = 0.95) -> float:
    """The confidence that at least `share` of the right answers reach: what FPR@95 accepts from."""
    right = np.sort(np.asarray(confidence, dtype=np.float64)[np.asarray(correct).astype(bool)])[::-1]
    if len(right) == 0:
        raise ValueError("no right answer to accept")
    return float(right[int(np.ceil(share * len(right) - 1e-9)) - 1])


def false_acceptance(confidence: ArrayLike, correct: ArrayLike, threshold: float) -> float:
    """The share of wrong answers with at least this confidence. With the threshold of 95 % of the right answers:
    FPR@95, "positive" being a right answer. 0: confidence stops every error. ValueError without errors."""
    wrong = np.asarray(confidence, dtype=np.float64)[~np.asarray(correct).astype(bool)]
    if len(wrong) == 0:
        raise ValueError("no wrong answer to stop")
    return float((wrong >= threshold).mean())


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
    return Counts(
        *(float(x.sum()) for x in (right & sure, right & ~sure, ~right & sure, ~right & ~sure)),
    )


def soft_avu_counts(uncertainty: ArrayLike, confidence: ArrayLike, correct: ArrayLike, threshold: float) -> Counts:
    """The differentiable stand-ins of the four counts (Krishnan and Tickoo 2020): each sample weighs
    p or 1 − p, times tanh(u) or 1 − tanh(u). Equal to `avu_counts` where p is 0 or 1 and u is 0 or large."""
    u, p = np.asarray(uncertainty, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    sure, right = u <= threshold, np.asarray(correct).astype(bool)
    weights = (p * (1 - np.tanh(u)), p * np.tanh(u), (1 - p) * (1 - np.tanh(u)), (1 - p) * np.tanh(u))
    cells = (right & sure, right & ~sure, ~right & sure, ~right & ~sure)
    return Counts(*(float(w[cell].sum()) for w, cell in zip(weights, cells, strict=True)))


def uncertainty_threshold(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Half way between the mean uncertainty of right and of wrong answers (Krishnan and Tickoo 2020).

    To be fitted on data that are not scored. ValueError where all answers are right or all wrong.
    """
    u, right = np.asarray(uncertainty, dtype=np.float64), np.asarray(correct).astype(bool)
    if right.all() or not right.any():
        raise ValueError("right and wrong answers are both needed to fit a threshold")
    return float((u[right].mean() + u[~right].mean()) / 2)


def auc_avu(uncertainty: ArrayLike, correct: ArrayLike, steps: int = 21) -> float:
    """The area under AvU over thresholds that sweep from the least to the largest uncertainty in `steps` points.

    It depends on the two extreme samples, so it compares models only with this caveat.
    """
    u, right = np.asarray(uncertainty, dtype=np.float64), np.asarray(correct).astype(bool)
    t = np.linspace(0.0, 1.0, steps)
    thresholds = u.min() + t * (u.max() - u.min())
    thresholds[-1] = u.max()
    order = np.sort(u[right]), np.sort(u[~right])
    certain = [np.searchsorted(side, thresholds, "right") for side in order]
    score = (certain[0] + len(order[1]) - certain[1]) / len(u)
    return float(((score[1:] + score[:-1]) / 2 * np.diff(t)).sum())


def confidence_rises(full: ArrayLike, reduced: ArrayLike, *, least: float = 1e-6) -> NDArray[np.bool_]:
    """Where an input was taken away and confidence rose by more than `least` (rounding), [N].

    Calibrating multimodal models by forbidding this is due to Ma et al. 2023 ("Calibrating Multimodal Learning");
    its mean is their violation rate. It is no fault by itself: the confidence of an ideal model falls on average
    when an input goes, but on single samples it rises, where that input spoke against the others.
    """
    return np.asarray(np.asarray(reduced, dtype=np.float64) - np.asarray(full, dtype=np.float64) > least)
