"""The error-aware mixture: EM's promises, and the card's beds on scanned digits."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muroan.monitoring.anomaly.domino import Domino, confusion_start, one_hot

Arrays = NDArray[np.float64]


def digits(seed: int, share: float) -> tuple[Arrays, NDArray[np.int64], Arrays, NDArray[np.bool_]]:
    """The low-contrast bed: a share of the 8s, those highest on the 21st principal axis, is called 3 with 0.82."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    found = load_digits()
    x, y = found.data / 16, found.target
    order = np.random.default_rng(seed).permutation(len(y))
    trained, tested = order[:900], order[900:]
    said = LogisticRegression(max_iter=2000).fit(x[trained], y[trained]).predict_proba(x[tested])
    z = PCA().fit(x[trained]).transform(x[tested])
    eights = np.flatnonzero(y[tested] == 8)
    planted = np.zeros(len(tested), dtype=bool)
    planted[eights[np.argsort(-z[eights, 20])[: round(share * len(eights))]]] = True
    said[planted] = 0.02
    said[planted, 3] = 0.82
    return z, y[tested], said, planted


def precision_at_10(slices: Arrays, planted: NDArray[np.bool_]) -> float:
    """Of the best slice: the share of its ten likeliest samples that were planted. Complements do not count."""
    return float(max(planted[np.argsort(-s, kind="stable")[:10]].mean() for s in slices.T))


def found(seed: int, share: float, **more: Any) -> float:
    z, y, said, planted = digits(seed, share)
    assert planted.sum() >= 10
    fitted = Domino.fit(z, y, said, classes=10, seed=seed, **more)
    assert rises(fitted)
    return precision_at_10(fitted.predict_proba(z, y, said), planted)


def rises(fitted: Domino) -> bool:
    steps = np.diff(fitted.likelihood)
    return bool((steps >= -1e-9 * np.abs(fitted.likelihood[1:])).all())


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_low_contrast_digits_need_the_error_term(share: float) -> None:
    """The card's golden value: precision@10 of 1.00 with γ = 10 and confusion initialisation, apart from γ = 0."""
    with_errors = np.array([found(seed, share, gamma=10.0) for seed in range(3)])
    without = np.array([found(seed, share, gamma=0.0) for seed in range(3)])
    assert with_errors.tolist() == [1.0] * 3
    assert (with_errors - without).min() > 0.1


@pytest.mark.parametrize("gamma", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("init", ["confusion", "kmeans"])
@pytest.mark.parametrize("soft", [True, False])
def test_the_likelihood_never_falls(gamma: float, init: Any, soft: bool) -> None:
    z, y, said, _ = digits(0, 0.5)
    fitted = Domino.fit(
        z[:, :12],
        y,
        said if soft else said.argmax(axis=1),
        classes=10,
        gamma=gamma,
        init=init,
        components=13,
        tolerance=0,
    )
    assert len(fitted.likelihood) > 3
    assert rises(fitted)
    # The floor holds, and rows are distributions.
    assert (fitted.variance >= 1e-3 * z[:, :12].var(axis=0) * (1 - 1e-9)).all()
    assert fitted.weight.sum() == pytest.approx(1)
    assert fitted.predicted.sum(axis=1) == pytest.approx(1)


def test_gamma_0_is_a_gaussian_mixture() -> None:
    """The same as scikit-learn's from the same start, step by step, labels or not."""
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(c, s, (150, 3)) for c, s in ((0, 1), (3, 0.5), (-2, 2))])
    start = rng.dirichlet(np.ones(3), len(z))
    steps = 12
    ours = Domino.fit(
        z,
        rng.integers(0, 2, len(z)),
        rng.integers(0, 2, len(z)),
        classes=2,
        gamma=0.0,
        init=start,
        iterations=steps,
        tolerance=0,
        floor=1e-9,
    )
    mean = start.T @ z / start.sum(axis=0)[:, None]
    variance = start.T @ z**2 / start.sum(axis=0)[:, None] - mean**2
    theirs = GaussianMixture(
        3,
        covariance_type="diag",
        means_init=mean,
        precisions_init=1 / variance,
        weights_init=start.mean(axis=0),
        reg_covar=0,
        max_iter=steps,
        tol=0,
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(z)
    assert ours.mean == pytest.approx(theirs.means_, rel=1e-6)
    assert ours.variance == pytest.approx(theirs.covariances_, rel=1e-6)
    assert ours.weight == pytest.approx(theirs.weights_, rel=1e-6)
    assert ours.predict_proba(z) == pytest.approx(theirs.predict_proba(z), abs=1e-6)


def test_what_is_not_given_is_left_out() -> None:
    z, y, said, planted = digits(0, 0.5)
    fitted = Domino.fit(z, y, said, classes=10)
    by_code, by_all = fitted.predict_proba(z), fitted.predict_proba(z, y, said)
    assert by_code.shape == (len(z), 25)
    assert by_code.sum(axis=1) == pytest.approx(1)
    assert not np.allclose(by_code, by_all)
    # One sample at a time gives what all together give.
    assert fitted.predict_proba(z[5:6], y[5:6], said[5:6])[0] == pytest.approx(by_all[5], abs=1e-9)
    # The slice with the planted samples is among the most severe: labels say 8, predictions 3.
    best = int(by_all[planted].sum(axis=0).argmax())
    assert best in np.argsort(-fitted.severity)[:5]
    assert fitted.label[best].argmax() == 8
    assert fitted.predicted[best].argmax() == 3


def test_confusion_start_follows_the_cells() -> None:
    y, said = np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 1])
    start = confusion_start(np.zeros((6, 2)), one_hot(y, 2), one_hot(said, 2), 4, np.random.default_rng(0))
    assert start.sum(axis=1) == pytest.approx(1)
    # Cells in order of size: (0, 0), (1, 1), (0, 1); then (0, 0) again.
    assert start[0].round(2).tolist() == [0.5, 0.0, 0.0, 0.5]
    assert start[3].round(2).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert start[5].round(2).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert (start > 0).all()


def test_constant_dimensions_and_repeated_samples_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    z = np.repeat(rng.normal(size=(10, 4)), 30, axis=0)
    z[:, 2] = 5.0
    y = rng.integers(0, 3, 300)
    fitted = Domino.fit(z, y, rng.integers(0, 3, 300), classes=3, components=20)
    assert np.isfinite(fitted.likelihood).all()
    assert np.isfinite(fitted.predict_proba(z)).all()


def test_same_seed_same_mixture() -> None:
    z, y, said, _ = digits(1, 0.5)
    first, second = (Domino.fit(z[:, :10], y, said, classes=10, components=12, seed=4) for _ in range(2))
    assert np.array_equal(first.mean, second.mean)
