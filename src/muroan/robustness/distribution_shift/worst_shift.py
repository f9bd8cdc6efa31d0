"""The worst of several shifted test sets for one model, with an interval that holds for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.estimate.totals import totals, worst


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
    names, k = list(right), len(right)
    blocks, labels, ways = [], [], []
    for at, name in enumerate(names):
        hits = np.asarray(right[name], dtype=np.float64)
        if hits.ndim != 1 or not len(hits) or not ((hits >= 0) & (hits <= 1)).all():
            raise AskedWrongly(f"{name}: one outcome from 0 to 1 a sample is needed")
        block = np.zeros((len(hits), 2 * k))
        block[:, at], block[:, k + at] = hits, 1
        blocks.append(block)
        if clusters is not None:
            labels += [str(c) for c in clusters[name]]
        for outcome in (0, 1):
            way = np.zeros(2 * k)
            way[at], way[k + at] = outcome, 1
            ways.append(way)
    sums = totals(np.concatenate(blocks), labels if clusters is not None else None, np.stack(ways))
    found = worst(sums, lambda t: t[:, :k] / t[:, k:], largest=False, bounds=(0, 1), level=level, seed=seed)
    return WorstShift(found.estimate, names[found.at])
