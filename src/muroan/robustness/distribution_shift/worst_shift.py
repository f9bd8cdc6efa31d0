"""The worst of several shifted test sets for one model, with an interval that holds for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.estimate.totals import Floats, totals, worst


class WorstShift(NamedTuple):
    """Accuracy on the test set where it is least (0: never right; 1: always), and which set that is."""

    accuracy: Estimate
    shift: str


def worst_shift(
    right: Mapping[str, ArrayLike],
    clusters: Mapping[str, Sequence[Any]] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> WorstShift:
    """right: by shift, 1 or 0 of its samples [N_s], which may be other ones in each, and as many as there are.

    The least of several noisy accuracies is biased downwards: of equal shifts one always looks worst. So all have
    simultaneous intervals (max-t over resamples), and the worst is at most the least upper bound. clusters: by shift
    a name a sample; equal names, also in two shifts, are one cluster (the same sample under several perturbations).
    """
    if not right:
        raise AskedWrongly("no shifted test set is given")
    if clusters is not None and set(clusters) != set(right):
        raise AskedWrongly(f"clusters are of {sorted(clusters)}, outcomes of {sorted(right)}")
    outcomes = {name: np.asarray(hits, dtype=np.float64) for name, hits in right.items()}
    for name, hits in outcomes.items():
        if hits.ndim != 1 or not len(hits) or not ((hits >= 0) & (hits <= 1)).all():
            raise AskedWrongly(f"{name}: one outcome from 0 to 1 a sample is needed")
    k = len(right)
    table = np.concatenate([_columns(hits, at, k) for at, hits in enumerate(outcomes.values())])
    labels = None if clusters is None else [str(c) for name in right for c in clusters[name]]
    sums = totals(table, labels, np.concatenate([_columns(np.array([0.0, 1.0]), at, k) for at in range(k)]))
    found = worst(sums, lambda t: t[:, :k] / t[:, k:], largest=False, bounds=(0, 1), level=level, seed=seed)
    return WorstShift(found.estimate, list(right)[found.at])


def _columns(hits: Floats, at: int, k: int) -> Floats:
    """Outcomes [n] of one shift of k as columns [n, 2 k]: what was right under each, and who was asked."""
    own = np.eye(k)[at]
    return np.concatenate([np.outer(hits, own), np.outer(np.ones_like(hits), own)], axis=1)
