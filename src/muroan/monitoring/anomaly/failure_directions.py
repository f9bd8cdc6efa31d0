"""Failure directions: the straight line among a class's embeddings along which a model goes from right to wrong.

Jain, Lawrence, Moitra, Madry, "Distilling Model Failures as Directions in Latent Space", ICLR 2023. Per class, a linear
support vector machine separates correct from incorrect samples of a labelled validation set; how well it does when
cross-validated says whether the class fails in one systematic way. Plain arrays, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

STRENGTHS = tuple(10.0**k for k in range(-6, 1))
"""Values of C that are tried."""
FOLDS = 2


@dataclass(frozen=True)
class Whitening:
    """Embeddings centred and scaled by the training data's mean and spread, then put on the unit sphere."""

    mean: Floats
    spread: Floats

    @staticmethod
    def fit(z: ArrayLike) -> Whitening:
        """z [N, D] of training samples. A dimension without spread stays as it is."""
        array = np.asarray(z, dtype=np.float64)
        spread = array.std(axis=0)
        return Whitening(array.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def __call__(self, z: ArrayLike) -> Floats:
        scaled = (np.asarray(z, dtype=np.float64) - self.mean) / self.spread
        return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class FailureDirection:
    """One class's direction. balanced_accuracy: cross-validated; 0.5: errors lie anywhere, 1: all on one side.

    It is the best over the values of C tried on the same folds, so it is slightly above what new samples would give.
    """

    direction: Floats
    offset: float
    strength: float
    balanced_accuracy: float
    errors: int
    n: int

    def __call__(self, z: ArrayLike) -> Floats:
        """The score of whitened embeddings [N]: positive where a sample is likely answered *correctly*."""
        return np.asarray(np.asarray(z, dtype=np.float64) @ self.direction + self.offset)


def failure_direction(
    z: ArrayLike, correct: ArrayLike, *, strengths: Sequence[float] = STRENGTHS, seed: int = 0
) -> FailureDirection:
    """The direction of one class: z [N, D] its whitened embeddings, correct [N] whether it was answered rightly.

    C is chosen among `strengths` by two-fold cross-validated balanced accuracy: plain accuracy would choose a machine
    that never says "wrong". ValueError if there are fewer than two samples of either kind.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    array, right = np.asarray(z, dtype=np.float64), np.asarray(correct, dtype=bool)
    errors = int((~right).sum())
    if min(errors, len(right) - errors) < FOLDS:
        raise ValueError(f"a failure direction needs {FOLDS} right and {FOLDS} wrong answers, not {errors} errors")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    reached = {
        c: float(
            cross_val_score(
                SVC(kernel="linear", class_weight="balanced", C=c), array, right, cv=folds, scoring="balanced_accuracy"
            ).mean()
        )
        for c in strengths
    }
    best = max(strengths, key=lambda c: (reached[c], -c))
    machine = SVC(kernel="linear", class_weight="balanced", C=best).fit(array, right)
    direction, offset = machine.coef_[0], float(machine.intercept_[0])
    return FailureDirection(np.asarray(direction), offset, best, reached[best], errors, len(right))
