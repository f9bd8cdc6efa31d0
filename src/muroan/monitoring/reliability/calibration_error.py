"""Calibration error: do predictions made with confidence c come true with frequency c?

Pure functions on arrays: confidence [N] in [0, 1], correct [N] (0/1 or bool), probabilities [N, K] with rows
that sum to 1, targets [N] class indices. Bins are right-closed, (0, 1/15], (1/15, 2/15] ...; a confidence of 0
belongs to the first.

Guo et al. 2017 ("On Calibration of Modern Neural Networks"), eq. 3 and 5; Nixon et al. 2019 for equal mass and
class-wise. The expected calibration error (ECE) of a perfect model is not 0 but the `null_ece`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from muroan.estimate import Estimate
from muroan.estimate.clusters import design
from muroan.estimate.interval import around
from muroan.monitoring.reliability.sum_of_gaps import GapEstimates, sum_of_gaps

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15
_FINE = 8
"""Cells a bin is cut into when labels are redrawn, so that a cell's confidences are as good as equal."""


def equal_width(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The bin of each confidence [N], of `bins` right-closed ones of equal width."""
    edges = np.arange(1, bins) / bins
    return np.digitize(np.asarray(confidence, dtype=np.float64), edges, right=True).astype(np.int64)


def equal_mass(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The bin of each confidence [N], of up to `bins` right-closed ones with equally many samples.

    Equal confidences share a bin, so there are fewer bins where there are fewer distinct values.
    """
    values = np.asarray(confidence, dtype=np.float64)
    ordered = np.sort(values)
    last = np.arange(1, bins) * len(values) // bins - 1
    return np.digitize(values, np.unique(ordered[last[last >= 0]]), right=True).astype(np.int64)


class Reliability(NamedTuple):
    """A reliability diagram, one entry a bin: n samples, mean confidence, accuracy (NaN where n is 0)."""

    n: Ints
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """The mean gap, weighted with the counts."""
        full = self.n > 0
        gap = np.abs(self.accuracy[full] - self.confidence[full])
        return float((self.n[full] * gap).sum() / self.n.sum())


def reliability(confidence: ArrayLike, correct: ArrayLike, where: Ints, bins: int) -> Reliability:
    """The reliability diagram of samples in the bins `where` [N]."""
    count = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(where, np.asarray(confidence, dtype=np.float64), bins) / count
        accuracy = np.bincount(where, np.asarray(correct, dtype=np.float64), bins) / count
    return Reliability(count, mean, accuracy)


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """Expected calibration error: the mean of |accuracy − confidence| over equal-width bins (Guo et al., eq. 3).

    0: confidence is frequency. 1: always sure, always wrong. Above 0 for perfect models, see `null_ece`.
    """
    return reliability(confidence, correct, equal_width(confidence, bins), bins).ece


def null_ece(
    confidence: ArrayLike, *, where: Ints | None = None, bins: int = BINS, draws: int = 1000, seed: int = 0
) -> Floats:
    """The ECE that a perfectly calibrated model with these confidences shows by chance: [draws].

    Labels are redrawn from the confidences; not one by one, but as binomial counts of cells so fine that their
    confidences are equal (`_FINE` a bin), which costs the same for any number of samples. `where`: bins other
    than the equal-width ones. Samples are taken as independent.
    """
    c = np.asarray(confidence, dtype=np.float64)
    where = equal_width(c, bins) if where is None else where
    cell = where * _FINE * bins + equal_width(c, _FINE * bins)
    found, cell = np.unique(cell, return_inverse=True)
    size = np.bincount(cell)
    total = np.bincount(cell, c)
    share = np.clip(total / size, 0.0, 1.0)
    hits = np.random.default_rng(seed).binomial(size, share, size=(draws, len(size))) - total
    starts = np.flatnonzero(np.diff(found // (_FINE * bins), prepend=-1))
    return np.asarray(np.abs(np.add.reduceat(hits, starts, axis=1)).sum(axis=1) / len(c))


def chance_error(
    confidence: ArrayLike, *, where: Ints | None = None, bins: int = BINS, level: float = 0.95, seed: int = 0
) -> Estimate:
    """What a perfectly calibrated model with these confidences would show: the mean and the range of `null_ece`."""
    drawn = null_ece(confidence, where=where, bins=bins, seed=seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    method = f"labels redrawn from the confidences, {len(drawn)} draws"
    return around(float(drawn.mean()), low, high, level=level, n=np.size(confidence), method=method)


def calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Any = None,
    *,
    where: Ints | None = None,
    bins: int = BINS,
    level: float = 0.95,
    seed: int = 0,
) -> GapEstimates:
    """ECE with an interval that knows its bias, over the bins `where` (equal width if None): over those of equal mass
    the adaptive error, in which no bin is nearly empty, and none holds nearly everything.

    See `sum_of_gaps` for the method. A bin's noise is at least that of labels drawn from its confidences, and at
    least what clusters (samples on one picture, say) add to it.
    """
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    where = equal_width(c, bins) if where is None else where
    return _error([(c, y, where)], clusters, level, seed)


def classwise_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    clusters: Any = None,
    *,
    bins: int = BINS,
    level: float = 0.95,
    seed: int = 0,
) -> GapEstimates:
    """The mean over classes k of the ECE of p_k as the probability of "the label is k" (Nixon et al. 2019), with its
    interval by the same method over the bins of all classes together."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(targets)
    return _error([(q, y == k, equal_width(q, bins)) for k, q in enumerate(p.T)], clusters, level, seed)


def _error(columns: Sequence[tuple[Floats, Any, Ints]], clusters: Any, level: float, seed: int) -> GapEstimates:
    """The mean of several calibration errors: (probabilities [N], whether it came so [N], bins [N]) each."""
    k, n = len(columns), len(columns[0][0])
    layout = design(clusters, n)
    gaps, noise, least = [], [], []
    for p, y, where in columns:
        column = np.unique(where, return_inverse=True)[1].reshape(-1).astype(np.int64)
        d, residual = int(column.max()) + 1, y - p
        gap = np.bincount(column, residual, d) / n
        totals = np.bincount(layout.codes * d + column, residual, layout.count * d).reshape(layout.count, d)
        gaps.append(gap / k)
        noise.append((totals / n - np.outer(layout.sizes / n, gap)) / k)
        least.append(np.bincount(column, p * (1 - p)) / (n * k) ** 2)
    found = sum_of_gaps(
        np.concatenate(gaps),
        np.concatenate(noise, axis=1),
        least=np.concatenate(least),
        independent=layout.trivial,
        level=level,
        seed=seed,
    )
    return found.estimates(n, None if clusters is None else layout.count, level)


def brier(probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    """Squared distance of each sample's probabilities from its label, [N]: 0 sure and right, 2 sure and wrong."""
    p = np.asarray(probabilities, dtype=np.float64)
    own = p[np.arange(len(p)), np.asarray(targets)]
    return np.asarray((p * p).sum(axis=1) - 2 * own + 1)


def tempered(log_probabilities: ArrayLike, temperature: float) -> Floats:
    """log softmax(log p / T) [N, K]: temperature scaling (Guo et al., eq. 9). T above 1 makes less sure."""
    return np.asarray(log_softmax(np.asarray(log_probabilities, dtype=np.float64) / temperature, axis=1))


def nll(log_probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    """Each sample's negative log-likelihood in nats, [N]: 0 sure and right, without bound when sure and wrong."""
    lp = np.asarray(log_probabilities, dtype=np.float64)
    return np.asarray(-lp[np.arange(len(lp)), np.asarray(targets)])


def fit_temperature(log_probabilities: ArrayLike, targets: ArrayLike) -> float:
    """The temperature T in [0.02, 50] with the least mean NLL.

    The NLL is convex in 1 / T, so a search over log T finds the one minimum. Where every label is the top class
    the best T is 0; the bound is what comes back.
    """
    from scipy.optimize import minimize_scalar

    lp = np.asarray(log_probabilities, dtype=np.float64)
    found = minimize_scalar(
        lambda log_t: float(nll(tempered(lp, float(np.exp(log_t))), targets).mean()),
        bounds=(np.log(0.02), np.log(50.0)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))
