"""Failure directions: found where they were planted, and only there."""

import numpy as np
import pytest

from muroan.monitoring.anomaly.failure_directions import STRENGTHS, Whitening, failure_direction


def rotated_eights(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whitened evaluation 8s of which a share is turned by 90 degrees, who was answered rightly, who was turned."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    found = load_digits()
    x, y = found.data / 16, found.target
    order = np.random.default_rng(seed).permutation(len(y))
    trained, tested = order[:900], order[900:]
    eights = tested[y[tested] == 8]
    turned = np.arange(len(eights)) < round(share * len(eights))
    seen = x[eights].copy()
    seen[turned] = np.rot90(seen[turned].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    correct = LogisticRegression(max_iter=2000).fit(x[trained], y[trained]).predict(seen) == 8
    return Whitening.fit(x[trained])(seen), correct, turned


def test_rotated_eights_lie_on_one_side() -> None:
    """The card's golden values: cross-validated balanced accuracy of .94 to .98, AUROC for "rotated" of 1.00."""
    from sklearn.metrics import roc_auc_score

    z, correct, turned = rotated_eights(0.5)
    assert not correct[turned].any()
    found = failure_direction(z, correct)
    assert 0.92 <= found.balanced_accuracy <= 1.0
    # Positive means correct: a flipped sign would give 0.
    assert roc_auc_score(turned, -found(z)) == pytest.approx(1.0, abs=0.005)
    assert found(z)[correct].mean() > 0 > found(z)[~correct].mean()
    assert found.errors == (~correct).sum()
    assert found.n == len(z)
    assert found.strength in STRENGTHS


def test_shuffled_correctness_has_no_direction() -> None:
    z, correct, _ = rotated_eights(0.5)
    rng = np.random.default_rng(0)
    reached = [failure_direction(z, rng.permutation(correct), seed=k).balanced_accuracy for k in range(10)]
    # The best of seven values of C on the same folds: a little above 0.5.
    assert 0.47 < np.mean(reached) < 0.58


def test_too_few_errors_have_no_direction() -> None:
    z, _, _ = rotated_eights(0.5)
    for errors in (0, 1, len(z) - 1):
        with pytest.raises(ValueError, match=f"not {errors} errors"):
            failure_direction(z, np.arange(len(z)) >= errors)


def test_whitening_is_that_of_the_training_data() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(3.0, [1.0, 10.0, 0.0], size=(500, 3))
    whiten = Whitening.fit(train)
    z = whiten([[4.0, 3.0, 3.0], [3.0, 23.0, 3.0]])
    assert np.linalg.norm(z, axis=1) == pytest.approx([1.0, 1.0])
    # A sample is the same whatever it comes with.
    assert z[1] == pytest.approx(whiten([[3.0, 23.0, 3.0]])[0])
    assert z[0][0] > 0.9
    assert z[1][1] > 0.9
