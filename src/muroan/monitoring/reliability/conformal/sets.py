"""Conformal sets: sets of labels that hold the true one with a promised frequency, whatever the model.

Pure functions on arrays: probabilities [N, K], targets [N], u [N] uniform draws in (0, 1), one a sample, the
same wherever that sample is scored. A score is high where a label does not conform; a set holds the labels
whose score is at most a quantile of the true labels' scores on calibration data (Vovk et al. 2005; Angelopoulos
and Bates 2021).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from muroan.estimate import Estimate, proportion
from muroan.estimate.clusters import design
from muroan.estimate.interval import around

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LAMBDAS = (0.001, 0.01, 0.1, 0.2, 0.5)
"""Penalties that RAPS chooses from (Angelopoulos et al. 2021)."""
_CHUNK = 4_000_000


def rank(n: int, alpha: float) -> int:
    """Which smallest of n calibration scores is the quantile: ceil((n + 1)(1 − alpha)); above n there is none.

    The product is rounded down by 1e-9 first: in floating point 10 · (1 − 0.7) is more than 3.
    """
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)


def quantile(scores: ArrayLike, alpha: float) -> float:
    """The threshold that covers new samples with probability at least 1 − alpha; +inf with too few scores."""
    values = np.asarray(scores, dtype=np.float64)
    k = rank(len(values), alpha)
    return math.inf if k > len(values) else float(np.partition(values, k - 1)[k - 1])


def quantiles_by(scores: ArrayLike, kind: NDArray[Any], kinds: int, alpha: float) -> Floats:
    """One threshold per kind 0..kinds−1 (class, group, pattern of missing inputs): Mondrian calibration [kinds].

    +inf for a kind with fewer than ceil(1 / alpha) − 1 samples: its sets are full, which is not coverage earned.
    """
    values = np.asarray(scores, dtype=np.float64)
    return np.array([quantile(values[kind == k], alpha) for k in range(kinds)])


def lac(log_probabilities: ArrayLike) -> Floats:
    """1 − p for every label [N, K] (Sadinle et al. 2019, "least ambiguous sets"): smallest sets on average."""
    return np.asarray(-np.expm1(np.asarray(log_probabilities, dtype=np.float64)))


def aps(probabilities: ArrayLike, u: ArrayLike) -> Floats:
    """Adaptive prediction sets for every label [N, K]: the mass of likelier labels + u times the label's own
    (Romano et al. 2020). Larger sets where the model is unsure; with u the coverage is exact."""
    return mass_and_rank(probabilities, u)[0]


def raps(probabilities: ArrayLike, u: ArrayLike, *, penalty: float, free: int) -> Floats:
    """Regularised APS for every label [N, K]: + penalty · (rank of the label − free), where positive
    (Angelopoulos et al. 2021)."""
    mass, ranks = mass_and_rank(probabilities, u)
    return mass + penalty * np.maximum(ranks - free, 0) if penalty else mass


def mass_and_rank(probabilities: ArrayLike, u: ArrayLike) -> tuple[Floats, NDArray[np.int32]]:
    """APS scores and ranks (1 = likeliest) of every label [N, K]; equally likely labels share both."""
    p, draws = np.asarray(probabilities, dtype=np.float64), np.asarray(u, dtype=np.float64)
    n, k = p.shape
    mass, ranks = np.empty_like(p), np.empty(p.shape, dtype=np.int32)
    step = max(1, _CHUNK // k)
    for start in range(0, n, step):
        part = slice(start, start + step)
        order = np.argsort(-p[part], axis=1)  # need not be stable: labels that tie share all that follows
        ordered = np.take_along_axis(p[part], order, axis=1)
        first = np.ones_like(ordered, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        place = np.maximum.accumulate(np.where(first, np.arange(k), 0), axis=1)
        before = np.take_along_axis(np.cumsum(ordered, axis=1) - ordered, place, axis=1)
        np.put_along_axis(mass[part], order, before + draws[part, None] * ordered, axis=1)
        np.put_along_axis(ranks[part], order, (place + 1).astype(np.int32), axis=1)
    return mass, ranks


def own(scores: Floats, targets: ArrayLike) -> Floats:
    """The true labels' scores [N]."""
    return np.asarray(scores[np.arange(len(scores)), np.asarray(targets)])


def sets(scores: Floats, threshold: float | Floats) -> Bools:
    """The sets [N, K]. threshold: one for all, or one per class [K]."""
    return np.asarray(scores <= threshold)


class Tuned(NamedTuple):
    """What RAPS was tuned to: temperature, penalty, and how many labels go free of it."""

    temperature: float
    penalty: float
    free: int


def tune_raps(log_probabilities: ArrayLike, u: ArrayLike, targets: ArrayLike, alpha: float) -> Tuned:
    """Temperature by NLL, `free` by the true labels' ranks, penalty by mean set size: on samples that must not
    be those that the threshold is taken from."""
    from muroan.monitoring.reliability.calibration_error import fit_temperature, tempered

    lp, y = np.asarray(log_probabilities, dtype=np.float64), np.asarray(targets)
    temperature = fit_temperature(lp, y)
    mass, ranks = mass_and_rank(np.exp(tempered(lp, temperature)), u)
    mine = ranks[np.arange(len(y)), y]
    k = min(rank(len(y), alpha), len(y))
    free = int(np.partition(mine, k - 1)[k - 1])

    def size(penalty: float) -> float:
        scores = mass + penalty * np.maximum(ranks - free, 0)
        return float(sets(scores, quantile(own(scores, y), alpha)).sum(axis=1).mean())

    return Tuned(temperature, min(LAMBDAS, key=size), free)


# The Beta law: given the calibration data, coverage is a random number with a known law.


def beta_law(n: float, alpha: float) -> tuple[float, float]:
    """(a, b) of the Beta law of coverage given n exchangeable calibration scores without ties: Beta(n + 1 − l, l)
    with l = floor((n + 1) alpha) (Vovk 2012). n may be an effective size; then the mean stays (n + 1 − l)/(n + 1).
    """
    whole = int(n)
    if whole == n:
        k = rank(whole, alpha)
        return float(k), float(whole + 1 - k)
    return (n + 1) * (1 - alpha), (n + 1) * alpha


def beta_band(n: float, alpha: float, share: float = 0.999) -> tuple[float, float]:
    """Where coverage lies with probability `share`, equal tails; [0, 1] up to where the threshold is infinite."""
    from scipy.stats import beta

    a, b = beta_law(n, alpha)
    if b <= 0:
        return 1.0, 1.0
    low, high = beta.ppf([(1 - share) / 2, (1 + share) / 2], a, b)
    return float(low), float(high)


def chance_band(n: float, m: float, alpha: float, share: float = 0.95) -> tuple[float, float]:
    """Where the coverage seen on m exchangeable test samples lies with probability at least `share`: the Beta law
    of n calibration samples and then m draws (Beta-binomial). Effective sizes are rounded down."""
    from scipy.stats import betabinom

    a, b = beta_law(n, alpha)
    size = max(1, int(m))
    if b <= 0:
        return 1.0, 1.0
    law = betabinom(size, a, b)
    return float(law.ppf((1 - share) / 2)) / size, float(law.ppf((1 + share) / 2)) / size


def effective(hits: ArrayLike, clusters: Any) -> float:
    """How many independent samples the coverage of these is worth: n / design effect (Kish 1965)."""
    x = np.asarray(hits, dtype=np.float64)
    return len(x) / design(clusters, len(x)).effect(x - x.mean())


def fitted_band(scores: ArrayLike, alpha: float, clusters: Any, *, level: float = 0.95) -> tuple[float, float]:
    """The Beta law's band of what a threshold fitted on `scores` [M] covers of its own population, at the
    effective size of clustered samples: [0, 1] where there is one cluster."""
    values = np.asarray(scores, dtype=np.float64)
    critical = design(clusters, len(values)).critical(level)
    if math.isinf(critical):
        return 0.0, 1.0
    size = effective(values <= quantile(values, alpha), clusters)
    return beta_band(size, alpha, 2 * float(ndtr(critical)) - 1)


def shortfall(
    scores: ArrayLike,
    calibration: ArrayLike,
    alpha: float,
    clusters: Any = None,
    calibration_clusters: Any = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """How much coverage is the promise 1 − alpha short of? From the true labels' scores of the samples that are
    judged, `scores` [N], and of those that the threshold is taken from, `calibration` [M].

    0: the promise holds. 1 − alpha: never covered. Below 0: more than promised.

    The interval knows that the threshold is itself drawn, so it holds 0 at its level wherever the two sets are
    exchangeable. Coverage here has Wilson's interval. The threshold that endless calibration data would give
    lies between the order statistics at the ends of the Beta law's `fitted_band`; it moves the coverage by what
    is seen here between them, and by no less than the band says for exchangeable samples. The two are
    independent and combined as a difference (MOVER, Zou and Donner 2008).
    """
    s, fitted = np.asarray(scores, dtype=np.float64), np.asarray(calibration, dtype=np.float64)
    threshold = quantile(fitted, alpha)
    covered = proportion(s <= threshold, clusters, level=level)
    promised, m = 1 - alpha, len(fitted)
    low, high = fitted_band(fitted, alpha, calibration_clusters, level=level)
    edges = np.concatenate([[-np.inf], np.sort(fitted), [np.inf]])
    least, most = edges[math.floor(low * (m + 1))], edges[math.ceil(high * (m + 1))]
    rise = max(float((s <= most).mean()) - covered.value, promised - low)
    fall = max(covered.value - float((s <= least).mean()), high - promised)
    value = promised - covered.value
    counted = None if clusters is None else design(clusters, len(s)).count
    return around(
        value,
        max(promised - 1, value - math.hypot(rise, covered.high - covered.value)),
        min(promised, value + math.hypot(fall, covered.value - covered.low)),
        level=level,
        n=len(s),
        method=f"Beta law at {m} calibration samples, {covered.method}",
        clusters=counted,
    )
