"""Samples that come in clusters (several questions on one picture, several clips of one patient).

Samples of one cluster resemble each other, so n of them tell less than n independent ones. Everything here
works with linearised residuals summed by cluster: the variance of a ratio of totals (Cochran, Sampling
Techniques, 1977; the cluster-robust "sandwich" of a regression on a constant), and the design effect, its
ratio to the variance of as many independent samples (Kish, Survey Sampling, 1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Clusters = Sequence[Any] | NDArray[Any] | None

# Weight of the imaginary dissenter in `design_effect`.
_PRIOR_WEIGHT = 1.0


def numbers(values: ArrayLike | Any, *, what: str = "values") -> Floats:
    """`values` (list, array, tensor) as floats [N]; ValueError if empty, not one-dimensional, or with NaN."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what}: one number per sample is needed, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{what}: no samples")
    if np.isnan(array).any():
        raise ValueError(f"{what}: {int(np.isnan(array).sum())} of {array.size} are NaN")
    return array


def is_binary(values: Floats) -> bool:
    """True if every value is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def labels(clusters: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Cluster or group names as an array that sorts."""
    array = np.asarray(clusters)
    return array.astype(str) if array.dtype == object else array


@dataclass(frozen=True)
class Design:
    """Which of `count` clusters each of n samples belongs to; `trivial` if every sample is its own.

    `names` are those of the clusters, sorted; None where none were given.
    """

    codes: Ints
    count: int
    sizes: Floats
    trivial: bool
    names: NDArray[Any] | None

    @property
    def degrees(self) -> float:
        """Degrees of freedom of a variance between clusters: their effective number less one.

        C - 1 for clusters of equal size, fewer where some dominate: n^2 / sum m^2 - 1, at least 1 of two
        clusters.
        """
        return effective_number(self.sizes) - 1 if self.count < 2 else max(1.0, effective_number(self.sizes) - 1)

    def critical(self, level: float) -> float:
        """The two-sided quantile: normal for independent samples, Student's t between clusters."""
        return float(ndtri(0.5 + level / 2)) if self.trivial else student(self.degrees, level)

    def totals(self, values: Floats) -> Floats:
        """Sums of `values` by cluster [C]."""
        return np.bincount(self.codes, weights=values, minlength=self.count).astype(np.float64)

    def variance_of_sum(self, residuals: Floats) -> float:
        """Variance of the sum of n residuals that add up to about 0; infinite if there is one cluster."""
        if self.count < 2:
            return float("inf")
        sums = unbiased(self.totals(residuals), self.sizes)
        return float(sums @ sums)

    def effect(self, residuals: Floats) -> float:
        """The design effect of a share: how many clustered samples are worth one independent sample."""
        if self.trivial:
            return 1.0
        return design_effect(self.totals(residuals), float(residuals @ residuals), self.sizes)


def design_effect(sums: Floats, squares: float, sizes: Floats, *, least: float = 1.0) -> float:
    """Variance of a sum over clusters, by the variance of as many independent samples.

    `sums` [C] are residuals summed by cluster, `squares` what independent samples would give for the sum of
    their squares, `sizes` [C] how many samples a cluster has.

    Where nearly all samples agree, the data cannot tell how alike the samples of a cluster are (0/0 when all
    agree). One imaginary dissenting sample, weighted with the worst case (whole clusters agree: the mean
    cluster size as seen by a sample, sum m^2 / n), decides there and fades as dissenters are counted. For 0/1
    outcomes it is not let below 1 (`least`): an estimate below 1 is nearly always noise, and believing it
    costs coverage.
    """
    worst = float(sizes @ sizes / sizes.sum())
    if len(sums) < 2:
        return max(least, worst)
    sums = unbiased(sums, sizes)
    return max(least, (float(sums @ sums) + _PRIOR_WEIGHT * worst) / (squares + _PRIOR_WEIGHT))


def unbiased(sums: Floats, sizes: Floats) -> Floats:
    """Residuals summed by cluster [C] or [C, K], with what each cluster pulled the mean to itself undone.

    Divided by sqrt(1 - share of the cluster) their squares are unbiased for independent samples (Bell and
    McCaffrey 2002, "CR2"); with C equal clusters it is the usual factor C / (C - 1). `sizes` has the shape of
    `sums`; no cluster may have all samples.
    """
    return np.asarray(sums / np.sqrt(1 - sizes / sizes.sum(axis=0)))


def effective_number(sizes: Floats) -> float:
    """How many equal clusters tell as much as these: n^2 / sum m^2 (Kish 1965)."""
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def student(degrees: float, level: float) -> float:
    """The two-sided quantile of Student's t, infinite without degrees of freedom."""
    return float(stdtrit(degrees, 0.5 + level / 2)) if degrees > 0 else float("inf")


def design(clusters: Clusters, n: int) -> Design:
    """The design of n samples; `clusters` None means that every sample is its own cluster."""
    if clusters is None:
        return Design(np.arange(n), n, np.ones(n), True, None)
    names = labels(clusters)
    if names.shape != (n,):
        raise ValueError(f"{n} samples, but clusters of shape {names.shape}")
    known, codes = np.unique(names, return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    return Design(codes, len(known), np.bincount(codes).astype(np.float64), len(known) == n, known)


def common(first: Design, second: Design) -> tuple[Ints, Ints, int | None]:
    """Where the clusters that both have lie in each, and how many there are in all (None if none were given)."""
    if first.names is None or second.names is None:
        none = np.zeros(0, dtype=np.int64)
        named = first.names is not None or second.names is not None
        return none, none, first.count + second.count if named else None
    shared, left, right = np.intersect1d(first.names, second.names, assume_unique=True, return_indices=True)
    return left, right, first.count + second.count - len(shared)


def sum_by_cluster(values: ArrayLike | Any, clusters: Clusters) -> Floats:
    """Sums of `values` [N, ...] by cluster [C, ...], clusters in the order of their sorted names.

    None for `clusters` means that every sample is its own: the values themselves come back.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError("no samples")
    if clusters is None:
        return array
    layout = design(clusters, array.shape[0])
    flat = array.reshape(array.shape[0], -1)
    sums = np.stack([layout.totals(column) for column in flat.T], axis=1) if flat.shape[1] else flat
    return sums.reshape(layout.count, *array.shape[1:])


def sums_by_group(values: ArrayLike | Any, groups: Any, known: Sequence[str], clusters: Clusters = None) -> Floats:
    """Sums of `values` [N] and counts of samples by cluster and group [C, G, 2]; unknown groups add nothing."""
    member = (np.asarray(groups, dtype=str)[:, None] == np.asarray(known, dtype=str)).astype(np.float64)
    return sum_by_cluster(np.stack([member * numbers(values)[:, None], member], axis=2), clusters)
