"""DOMINO's error-aware mixture: groups of samples that look alike, bear one label and get one (wrong) prediction.

Eyuboglu, Varma et al., "Domino: Discovering Systematic Errors with Cross-Modal Embeddings", ICLR 2022. A sample
belongs to a slice S ~ Cat(w); given the slice its embedding is Z ~ N(mean, diagonal variance), its label Y ~ Cat(p)
and its prediction Ŷ ~ Cat(p̂), independent of each other. EM maximises

    l = sum_i log sum_s w_s N(z_i; mean_s, variance_s) P(y_i | s)^γ P(ŷ_i | s)^γ̂

For soft predictions log P(ŷ_i | s) is the *expected* log, sum_j ŷ_ij log p̂_s(j), for which the usual M-step is
exact, so l never falls (with log sum_j ŷ_ij p̂_s(j) it may). Plain arrays, no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LEAST = 1e-300
"""Stands in for a probability of 0 under a logarithm: a class that a slice never saw rules the slice out."""
_NOBODY = 1e-8
"""Components that hold less than this many samples keep the place that they had."""
_LARGEST_NOISE = 1e-3


@dataclass(frozen=True)
class Domino:
    """A fitted mixture of S slices over D dimensions and K classes.

    weight [S], mean and variance [S, D], label and predicted [S, K] (rows add up to 1). likelihood: l after each
    iteration, non-decreasing. converged: whether l had stopped growing when the iterations ended.
    """

    weight: Floats
    mean: Floats
    variance: Floats
    label: Floats
    predicted: Floats
    gamma: float
    gamma_predicted: float
    likelihood: tuple[float, ...]
    converged: bool

    @staticmethod
    def fit(
        z: ArrayLike,
        y: ArrayLike,
        predicted: ArrayLike,
        *,
        classes: int,
        components: int = 25,
        gamma: float = 10.0,
        gamma_predicted: float | None = None,
        init: Literal["confusion", "kmeans"] | Floats = "confusion",
        iterations: int = 100,
        tolerance: float = 1e-3,
        floor: float = 1e-3,
        seed: int = 0,
    ) -> Domino:
        """EM from `init` until l grows by less than `tolerance` a sample, or for `iterations`.

        z [N, D]; y [N] class indices; predicted [N] indices or [N, K] probabilities. gamma: how much labels and
        predictions weigh against the embedding (0: not at all, a plain Gaussian mixture). init may be
        responsibilities [N, S]. floor: the least variance in a dimension, as a share of the variance of all samples.
        """
        z = np.asarray(z, dtype=np.float64)
        truth, said = one_hot(y, classes), one_hot(predicted, classes)
        if isinstance(init, str):
            rng = np.random.default_rng(seed)
            start = confusion_start if init == "confusion" else _kmeans_start
            share = start(z, truth, said, components, rng)
        else:
            share = np.asarray(init, dtype=np.float64)
        weights = (gamma, gamma if gamma_predicted is None else gamma_predicted)
        least = np.maximum(floor * z.var(axis=0), 1e-12)
        at = _step(z, truth, said, share, least, None, weights)
        trace: list[float] = []
        converged = False
        for _ in range(iterations):
            joint = at._joint(z, truth, said)
            total = _logsumexp(joint)
            trace.append(float(total.sum()))
            if len(trace) > 1 and trace[-1] - trace[-2] < tolerance * len(z):
                converged = True
                break
            at = _step(z, truth, said, np.exp(joint - total[:, None]), least, at, weights)
        return Domino(*at._parts(), tuple(trace), converged)

    def _parts(self) -> tuple[Floats, Floats, Floats, Floats, Floats, float, float]:
        return (
            self.weight,
            self.mean,
            self.variance,
            self.label,
            self.predicted,
            self.gamma,
            self.gamma_predicted,
        )

    def _joint(self, z: Floats, truth: Any = None, said: Any = None) -> Floats:
        """log of w N(z) P(y)^γ P(ŷ)^γ̂ [N, S]; what is not given is left out."""
        precision = 1 / self.variance
        distance = (z * z) @ precision.T - 2 * z @ (self.mean * precision).T + (self.mean**2 * precision).sum(axis=1)
        constant = np.log(2 * np.pi * self.variance).sum(axis=1)
        out: Floats = np.log(np.maximum(self.weight, _LEAST)) - 0.5 * (distance + constant)
        for power, given, table in ((self.gamma, truth, self.label), (self.gamma_predicted, said, self.predicted)):
            if power and given is not None:
                out = out + power * np.asarray(given @ np.log(np.maximum(table, _LEAST)).T)
        return out

    def predict_proba(self, z: ArrayLike, y: ArrayLike | None = None, predicted: ArrayLike | None = None) -> Floats:
        """P(slice | what is given) [N, S].

        From z alone a new sample is placed by what it looks like. Given also y and ŷ, a sample that was answered
        wrongly goes where wrong answers go: fine to look at, but the error rate of such a slice is high by definition
        and says nothing about new samples.
        """
        classes = self.label.shape[1]
        joint = self._joint(
            np.asarray(z, dtype=np.float64),
            None if y is None else one_hot(y, classes),
            None if predicted is None else one_hot(predicted, classes),
        )
        return np.asarray(np.exp(joint - _logsumexp(joint)[:, None]))

    @property
    def severity(self) -> Floats:
        """How far labels and predictions part in each slice: max over classes of |p̂ − p| [S]. 0: they agree."""
        return np.asarray(np.abs(self.predicted - self.label).max(axis=1))


def one_hot(labels: ArrayLike, classes: int) -> Any:
    """[N] class indices as a sparse matrix [N, K]; probabilities [N, K] as they are."""
    from scipy.sparse import csr_array

    array = np.asarray(labels)
    if array.ndim == 2:
        return array.astype(np.float64)
    n = len(array)
    return csr_array((np.ones(n), array.astype(np.int64), np.arange(n + 1)), shape=(n, classes))


def confusion_start(z: Floats, truth: Any, said: Any, components: int, rng: np.random.Generator) -> Floats:
    """Responsibilities [N, S] that follow the cells of the confusion matrix.

    Component s stands for one observed cell (label, prediction), the most frequent first, round and round where there
    are more components than cells; a sample's share is 1 + ε in the components of its own cell and ε elsewhere,
    ε ~ U(0, 0.001], rows normalised. Soft predictions count as their most likely class.
    """
    cell = np.asarray(truth.argmax(axis=1)).ravel() * truth.shape[1] + np.asarray(said.argmax(axis=1)).ravel()
    known, own, counts = np.unique(cell, return_inverse=True, return_counts=True)
    rank = np.empty(len(known), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(known))
    share: Floats = _LARGEST_NOISE * (1 - rng.random((len(z), components)))
    share += rank[own.ravel()][:, None] == np.arange(components) % len(known)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _kmeans_start(z: Floats, truth: Any, said: Any, components: int, rng: np.random.Generator) -> Floats:
    from sklearn.cluster import KMeans

    found = KMeans(components, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(z)
    return np.asarray(np.eye(components)[found])


def _step(
    z: Floats, truth: Any, said: Any, share: Floats, least: Floats, before: Domino | None, powers: tuple[float, float]
) -> Domino:
    """The M-step: weighted shares, means, variances (not below `least`) and class frequencies."""
    total = share.sum(axis=0)
    safe = np.maximum(total, _NOBODY)[:, None]
    mean = share.T @ z / safe
    # About the overall mean, which is 0 after PCA: E[z²] − mean² loses no digits that matter in double precision.
    variance = np.maximum(share.T @ (z * z) / safe - mean**2, least)
    label, predicted = np.asarray((truth.T @ share).T) / safe, np.asarray((said.T @ share).T) / safe
    gone = total < _NOBODY
    if before is not None and gone.any():
        mean[gone], variance[gone] = before.mean[gone], before.variance[gone]
        label[gone], predicted[gone] = before.label[gone], before.predicted[gone]
    return Domino(total / len(z), mean, variance, label, predicted, *powers, (), False)


def _logsumexp(x: Floats) -> Floats:
    top = x.max(axis=1)
    return np.asarray(top + np.log(np.exp(x - top[:, None]).sum(axis=1)))
