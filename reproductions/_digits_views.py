"""Scanned digits (scikit-learn's copy of the UCI digits) as three views: the upper, middle and lower rows of a picture.

The bed of the reliability rows. The specification's own bed, the UCI multiple features, is not among this project's
dependencies; this one is real, small, and its views alone are weak, so that claims about missing views mean something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan import Splits, Tabular
from muroan.data.memory import InMemory
from muroan.model import BlackBox

VIEWS = {"upper": slice(0, 3), "middle": slice(3, 5), "lower": slice(5, 8)}
"""Rows of the 8×8 picture that each view sees."""

Arrays = NDArray[np.float64]


def pictures() -> tuple[Arrays, NDArray[np.int64]]:
    """1,797 pictures [N, 8, 8] in [0, 1] and their digits [N]."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images / 16.0, found.target


def views(x: Arrays) -> dict[str, Arrays]:
    """Each view's pixels [N, 8 · rows]."""
    return {name: x[:, rows].reshape(len(x), -1) for name, rows in VIEWS.items()}


def split(seed: int, trained: int, held_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the training, the held-out (reference) and the test pictures."""
    order = np.random.default_rng(seed).permutation(len(pictures()[1]))
    return order[:trained], order[trained : trained + held_out], order[trained + held_out :]


def network(x: Arrays, y: NDArray[np.int64], seed: int = 0) -> Any:
    """A small network on all pixels, with scikit-learn's defaults but for its size."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(hidden_layer_sizes=(64,), max_iter=1000, random_state=seed).fit(x.reshape(len(x), -1), y)


def naive_bayes(x: Arrays, y: NDArray[np.int64], seed: int = 0) -> Any:
    """Gaussian naive Bayes, which takes neighbouring pixels for independent and is known to be too sure."""
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(var_smoothing=1e-3).fit(x.reshape(len(x), -1), y)


def world(
    seed: int = 0, trained: int = 700, held_out: int = 500, fit: Callable[..., Any] = network
) -> tuple[BlackBox, Splits]:
    """A model trained on some pictures; the test and the held-out ones as audited data and reference.

    A missing view is its mean over the training pictures.
    """
    x, y = pictures()
    train, reference, test = split(seed, trained, held_out)
    model = fit(x[train], y[train], seed)
    means = {m: v.mean(axis=0) for m, v in views(x[train]).items()}
    modalities = {
        m: Tabular(columns=tuple(f"{m} {i}" for i in range(len(v))), fill=tuple(v.tolist())) for m, v in means.items()
    }
    names = tuple(str(k) for k in range(10))

    def predict(inputs: Mapping[str, Any]) -> Arrays:
        whole = np.concatenate([inputs[m].numpy() for m in VIEWS], axis=1)
        probabilities: Arrays = model.predict_proba(whole)
        return probabilities

    def data(index: NDArray[np.int64], name: str) -> InMemory:
        return InMemory(
            {m: v.astype(np.float32) for m, v in views(x[index]).items()},
            targets=y[index],
            modalities=modalities,
            classes=names,
            ids=[f"{name} {i}" for i in index],
            name=f"digits ({name})",
        )

    box = BlackBox(predict, modalities=tuple(VIEWS), classes=names, name="digits")
    return box, Splits(data(test, "test"), data(reference, "held out"))
