"""How far from 0 is a sum of absolute gaps, when every gap is only estimated?

Calibration error and coverage gap are sums of |gap| over bins, classes or groups. Noise makes every term
larger, so the plain figure is above 0 for a perfect model and its ordinary bootstrap interval misses the truth.
Here the interval comes from the directional derivative of the sum (Fang and Santos 2019, "Inference on
directionally differentiable functions"): a gap whose sign is beyond doubt moves the sum
with its sign, any other gap moves it by its absolute value.

- Lower bound: |g + z| − |g| is at most |z|, with equality at g = 0, so taking every unclear gap as 0 can only
  lower it. For a perfect model the bound is above 0 no more often than (1 − level) / 2.
- Upper bound: noise pushes the sum up, never down on average, so the noise of the signed sum suffices.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from muroan.estimate import Estimate
from muroan.estimate.interval import around

Floats = NDArray[np.float64]

_CLEAR = 3.5
"""Standard errors from which a gap's sign counts as known: 1 of 140 data sets with 15 gaps of 0 has one there."""
_CHUNK = 4_000_000


class GapEstimates(NamedTuple):
    """error: the plain figure. excess: the same less what chance adds, never below 0. One interval serves both:
    that of the sum that infinitely many samples would show."""

    error: Estimate
    excess: Estimate


class GapSum(NamedTuple):
    """value: sum of |gap|. chance: how much of it noise adds on average. low, high: interval of the true sum."""

    value: float
    chance: float
    low: float
    high: float

    def estimates(self, n: int, clusters: int | None, level: float) -> GapEstimates:
        """Of gaps that add up to 1 at most."""
        excess = self.value if math.isnan(self.chance) else max(0.0, self.value - self.chance)
        method = "directional delta" + ("" if clusters is None else ", cluster-robust")
        about: dict[str, Any] = {"level": level, "n": n, "method": method, "clusters": clusters}
        values = (self.value, max(excess, self.low))
        return GapEstimates(*(around(v, self.low, min(1.0, self.high), **about) for v in values))


def sum_of_gaps(
    gaps: Floats,
    noise: Floats,
    *,
    least: Floats | None = None,
    independent: bool = True,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> GapSum:
    """The sum of |gaps| [D] with its interval.

    noise [C, D]: how much each cluster (sample, if they are independent) moved each gap: linearised residuals
    that add up to 0 over clusters. least [D]: variances that the gaps have at the least; a bin in which all of a
    few confident predictions were right has no visible noise, but its labels could have come out otherwise.
    independent: rows of `noise` are single samples, else clusters (then Student's t is used for few of them).
    One cluster tells nothing about noise: the interval is [0, inf].
    """
    value = float(np.abs(gaps).sum())
    count = len(noise)
    if count < 2:
        return GapSum(value, math.nan, 0.0, math.inf)
    covariance = count / (count - 1) * (noise.T @ noise)
    if least is not None:
        covariance[np.diag_indices_from(covariance)] = np.maximum(np.diag(covariance), least)
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    z = float(ndtri(0.5 + level / 2))
    stretch = 1.0 if independent else float(stdtrit(count - 1, 0.5 + level / 2)) / z
    clear = np.abs(gaps) > _CLEAR * stretch * spread
    sign = np.where(gaps < 0, -1.0, 1.0)

    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    rng = np.random.default_rng(seed)
    upward = []
    for start in range(0, draws, max(1, _CHUNK // len(gaps))):
        size = min(max(1, _CHUNK // len(gaps)), draws - start)
        drawn = rng.standard_normal((size, len(gaps))) @ root.T
        upward.append(np.where(clear, sign * drawn, np.abs(drawn)).sum(axis=1))
    most = float(np.quantile(np.concatenate(upward), 0.5 + level / 2)) * stretch
    signed = math.sqrt(max(0.0, float(sign @ covariance @ sign))) * z * stretch
    chance = float(spread[~clear].sum()) * math.sqrt(2 / math.pi)
    return GapSum(value, chance, max(0.0, value - most), value + signed)
