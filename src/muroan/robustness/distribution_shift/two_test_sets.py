"""Outcomes of several models on two test sets, one of them shifted, and what drawing samples or models again does.

The shifted set may be other samples (a second collection) or the same ones perturbed. Then, or where samples of both
sets share a cluster, they are drawn together, so that what a sample adds to both accuracies does not count twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, bootstrap_draws, sum_by_cluster
from muroan.estimate.clusters import student
from muroan.estimate.interval import around
from muroan.randomness import key

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ModelOutcomes:
    """Outcomes of K models.

    clean [K, N], shifted [K, S]: 1 right, 0 wrong, or between (right on a share of the perturbations of a sample).
    clean_clusters [N], shifted_clusters [S]: names; equal names in both sets are one cluster. None for both: samples
    are independent, and other ones in each set.
    """

    clean: ArrayLike
    shifted: ArrayLike
    clean_clusters: Sequence[Any] | None = None
    shifted_clusters: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        if (self.clean_clusters is None) != (self.shifted_clusters is None):
            raise AskedWrongly("clusters are given for both test sets or for none")
        for name in ("clean", "shifted"):
            table = np.atleast_2d(np.asarray(getattr(self, name), dtype=np.float64))
            if table.ndim != 2 or not table.size or not ((table >= 0) & (table <= 1)).all():
                raise AskedWrongly(f"{name} outcomes are numbers from 0 to 1 [models, samples], got {table.shape}")
            object.__setattr__(self, name, table)
            if (names := getattr(self, f"{name}_clusters")) is not None:
                object.__setattr__(self, f"{name}_clusters", [str(c) for c in names])
        clean, shifted = map(len, self.tables)
        if clean != shifted:
            raise AskedWrongly(f"{clean} models on the clean set, {shifted} on the shifted")

    def __len__(self) -> int:
        return len(self.tables[0])

    @property
    def tables(self) -> tuple[Floats, Floats]:
        return self.clean, self.shifted  # type: ignore[return-value]

    @property
    def accuracies(self) -> tuple[Floats, Floats]:
        """Clean and shifted [K]."""
        return self.tables[0].mean(axis=1), self.tables[1].mean(axis=1)

    def joined(self, other: ModelOutcomes) -> ModelOutcomes:
        """The models of both, on the same samples."""
        mine, theirs = ((m.clean_clusters, m.shifted_clusters) for m in (self, other))
        if any(a.shape[1] != b.shape[1] for a, b in zip(self.tables, other.tables, strict=True)) or mine != theirs:
            raise AskedWrongly("the models were not tested on the same samples")
        clean, shifted = (np.concatenate(both) for both in zip(self.tables, other.tables, strict=True))
        return ModelOutcomes(clean, shifted, *mine)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Accuracies of resampled test sets, (clean, shifted) [B, K] each, and of the sets themselves, [1, K] each.

    clusters: how many were drawn from; samples: how many there are in both sets.
    """

    accuracies: tuple[Floats, Floats]
    fixed: tuple[Floats, Floats]
    clusters: int
    samples: int
    clustered: bool
    seed: int

    @staticmethod
    def of(tested: ModelOutcomes, *, draws: int, seed: int) -> Drawn:
        """Clusters of both sets drawn together: what a resample has more of one set, its count takes account of."""
        clean, shifted = tested.tables
        k, n, s = len(tested), clean.shape[1], shifted.shape[1]
        table = np.zeros((n + s, 2 * k + 2))
        table[:n, :k], table[:n, 2 * k] = clean.T, 1
        table[n:, k : 2 * k], table[n:, 2 * k + 1] = shifted.T, 1
        names = [*(tested.clean_clusters or ()), *(tested.shifted_clusters or ())] or None
        sums = sum_by_cluster(table, names)

        def accuracies(t: Floats) -> Floats:
            return np.concatenate([t[:, :k] / t[:, 2 * k, None], t[:, k : 2 * k] / t[:, 2 * k + 1, None]], axis=1)

        value, drawn = bootstrap_draws(sums, accuracies, draws=draws, seed=seed)
        return Drawn(
            (drawn[:, :k], drawn[:, k:]), (value[None, :k], value[None, k:]), len(sums), n + s, names is not None, seed
        )

    def weights(self, *sizes: int) -> Floats:
        """How often each model is drawn, each group of models from itself: [B, sum of sizes]."""
        rng = np.random.default_rng(key("models drawn again", self.seed))
        b = len(self.accuracies[0])
        return np.concatenate([rng.multinomial(k, np.full(k, 1 / k), size=b) for k in sizes], axis=1).astype(np.float64)

    @cached_property
    def counts(self) -> dict[str, Any]:
        """n and clusters of an estimate over samples."""
        return {"n": self.samples, "clusters": self.clusters if self.clustered else None}


def widened(deviations: Floats, units: int) -> Floats:
    """Deviations as much larger as Student's t of so few units is than the normal; infinite for one unit."""
    if units < 2:
        return np.full_like(deviations, math.inf)
    return deviations * math.sqrt(units / (units - 1)) * student(units - 1, 0.95) / student(1e9, 0.95)


def interval(
    value: float, deviations: Floats, of: str, *, n: int, level: float, clusters: int | None = None
) -> Estimate:
    """Percentiles of value + deviations, their ends rounded outwards to draws.

    Draws that have no figure are left out; `method` says their share.
    """
    kept = deviations[~np.isnan(deviations)]
    lost = 1 - len(kept) / len(deviations)
    name = f"bootstrap of {of}, {len(deviations)} draws" + (f", {lost:.1%} undefined" if lost else "")
    low, high = -math.inf, math.inf
    if len(kept) and np.isfinite(kept).all():
        alpha = (1 - level) / 2
        low = value + float(np.quantile(kept, alpha, method="lower"))
        high = value + float(np.quantile(kept, 1 - alpha, method="higher"))
    return around(value, low, high, level=level, n=n, method=name, clusters=clusters)
