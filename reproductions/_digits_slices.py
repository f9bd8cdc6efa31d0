"""Scanned digits on which a linear model fails in a known way: the beds of the slice discovery rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TRAINED = 900


class Bed(NamedTuple):
    """train: training pictures [900, 64]; x: evaluation pictures [897, 64] as the model saw them, y, said [897, 10]."""

    train: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.int64]
    said: NDArray[np.float64]
    planted: NDArray[np.bool_]


def _split(seed: int) -> tuple[Any, Any, Any, Any, Any]:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    found = load_digits()
    x, y = found.data / 16.0, found.target
    order = np.random.default_rng(seed).permutation(len(y))
    trained, tested = order[:TRAINED], order[TRAINED:]
    model = LogisticRegression(max_iter=2000).fit(x[trained], y[trained])
    return x[trained], y[trained], x[tested], y[tested], model


def rotated(seed: int, share: float) -> Bed:
    """A share of the evaluation 8s is turned by 90 degrees: the model, trained on upright digits, fails on them."""
    train, _, x, y, model = _split(seed)
    eights = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(y == 8))
    planted = np.zeros(len(y), dtype=bool)
    planted[eights[: round(share * len(eights))]] = True
    x = x.copy()
    x[planted] = np.rot90(x[planted].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    return Bed(train, x, y, model.predict_proba(x), planted)


def low_contrast(seed: int, share: float) -> Bed:
    """The evaluation 8s highest on the 21st principal axis of the training digits are called 3, with 0.82."""
    from sklearn.decomposition import PCA

    train, _, x, y, model = _split(seed)
    eights = np.flatnonzero(y == 8)
    high = np.argsort(-PCA().fit(train).transform(x[eights])[:, 20])
    planted = np.zeros(len(y), dtype=bool)
    planted[eights[high[: round(share * len(eights))]]] = True
    said = model.predict_proba(x)
    said[planted] = 0.02
    said[planted, 3] = 0.82
    return Bed(train, x, y, said, planted)
