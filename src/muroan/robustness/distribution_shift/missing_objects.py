"""How many objects a text-to-image model leaves out, by what a detector finds (MM_Robustness, Qiu et al., DMLR 2024).

A detector is run on generated pictures and on reference ones (pictures of the unperturbed prompts, or real ones). The
source publishes the script that prints the counts, and GLIP-L's threshold of 0.7 on 16 pictures a prompt; the formula
of the missing-object rate, 1 − found in generated / found in reference pictures, is reconstructed from its text. Bring
any detector: these functions see its scores alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.estimate.totals import Floats, figure, totals

THRESHOLD = 0.7
"""Scores from which on a box is an object, the source's for GLIP-L."""
METHOD = "bootstrap over prompts"


def detected(scores: Sequence[Sequence[ArrayLike]], threshold: float = THRESHOLD) -> tuple[Floats, Floats]:
    """(objects a picture [P], sum of their scores a picture [P]) of prompts; scores[p][i]: those of a picture's boxes.

    Means over a prompt's pictures, so that prompts with more pictures weigh no more.
    """
    counts, sums = [], []
    for prompt in scores:
        if not len(prompt):
            raise AskedWrongly("a prompt has no picture; leave it out of both counts")
        kept = [b[b >= threshold] for b in (np.asarray(boxes, dtype=np.float64).ravel() for boxes in prompt)]
        counts.append(sum(map(len, kept)) / len(prompt))
        sums.append(sum(float(b.sum()) for b in kept) / len(prompt))
    return np.asarray(counts, dtype=np.float64), np.asarray(sums, dtype=np.float64)


def _columns(first: ArrayLike, second: ArrayLike) -> Floats:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or (np.minimum(a, b) < 0).any():
        raise AskedWrongly(f"one count of at least 0 a prompt is needed for both, got {a.shape} and {b.shape}")
    return np.column_stack([a, b])


def missing_object_rate(
    generated: ArrayLike,
    reference: ArrayLike,
    clusters: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """1 − sum(generated) / sum(reference) of objects a picture [P], with a bootstrap interval over prompts.

    0: as many as in the reference; 1: none at all; below 0: more than in the reference. Objects are counted, not
    matched: a wrong one makes up for a missing one. Reconstructed formula (see above).
    """
    table = _columns(generated, reference)
    if not table[:, 1].any():
        raise AskedWrongly("the detector finds nothing in the reference pictures, so nothing can be missing")
    size = float(table[:, 1].mean())
    sums = totals(table, clusters, [[0, size], [size, size]])
    return figure(sums, lambda t: 1 - _ratio(t[:, 0], t[:, 1]), level=level, seed=seed, method=METHOD)


def detection_score(
    counts: ArrayLike, scores: ArrayLike, clusters: Sequence[Any] | None = None, *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """The mean score of an object, sum of scores [P] / sum of counts [P]; from the threshold to 1, the surer."""
    table = _columns(counts, scores)
    if not table[:, 0].any():
        raise AskedWrongly("the detector finds no object, so none has a score")
    middle = float(table[:, 1].sum() / table[:, 0].sum())
    sums = totals(table, clusters, [[1, middle]])
    return figure(sums, lambda t: _ratio(t[:, 1], t[:, 0]), level=level, seed=seed, method=METHOD)


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.asarray(a / np.where(b > 0, b, np.nan))
