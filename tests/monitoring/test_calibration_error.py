"""Calibration error and selective prediction as pure functions: golden values, brute force, simulated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, ndtr

from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability import selective as sel
from muroan.monitoring.reliability.sum_of_gaps import sum_of_gaps


def brute_ece(confidence, correct, bins):
    """Sample by sample, as the definition reads."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if (b / bins < c <= (b + 1) / bins) or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("bins", [10, 15])
def test_golden_ece(bins):
    assert ce.ece([0.95, 0.85, 0.65, 0.55], [1, 1, 0, 1], bins=bins) == pytest.approx(0.325, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_ece_is_what_the_definition_reads(samples, bins):
    confidence, correct = [c for c, _ in samples], [int(y) for _, y in samples]
    # Edges as k / bins on both sides, so that a confidence on an edge falls the same way.
    assert ce.ece(confidence, correct, bins=bins) == pytest.approx(brute_ece(confidence, correct, bins), abs=1e-12)


def test_bins_are_closed_on_the_right():
    assert ce.equal_width([0.0, 0.1, 0.1000001, 0.2, 1.0], 10).tolist() == [0, 0, 1, 1, 9]


def test_diagram_and_error_are_the_same_figure():
    rng = np.random.default_rng(0)
    c = rng.random(500)
    y = rng.random(500) < c**2
    r = ce.reliability(c, y, ce.equal_width(c), ce.BINS)
    full = r.n > 0
    assert (r.n[full] / 500 * np.abs(r.accuracy[full] - r.confidence[full])).sum() == pytest.approx(
        ce.ece(c, y), abs=1e-12
    )


def test_equal_mass_bins_hold_equally_many_and_keep_ties_together():
    c = np.random.default_rng(1).random(300)
    assert set(np.bincount(ce.equal_mass(c, 15))) == {20}
    tied = np.repeat([0.5, 0.9, 1.0], [10, 10, 80])
    where = ce.equal_mass(tied, 15)
    assert len(np.unique(where)) == 3
    assert len(np.unique(where[tied == 1.0])) == 1


def test_adaptive_and_classwise_against_brute_force():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(4), 300)
    y = rng.integers(0, 4, 300)
    c, right = p.max(axis=1), p.argmax(axis=1) == y
    parts = np.array_split(np.argsort(c, kind="stable"), 15)
    by_hand = sum(len(i) / 300 * abs(right[i].mean() - c[i].mean()) for i in parts)
    adaptive = ce.calibration_error(c, right, where=ce.equal_mass(c)).error
    assert adaptive.value == pytest.approx(by_hand, abs=1e-12)
    assert ce.classwise_error(p, y).error.value == pytest.approx(
        np.mean([brute_ece(p[:, k].tolist(), (y == k).astype(int).tolist(), 15) for k in range(4)]), abs=1e-12
    )


def test_golden_null_ece():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([ce.null_ece(rng.random(400), draws=40, seed=s) for s in range(100)])
    assert drawn.mean() == pytest.approx(0.061, abs=0.001)
    assert np.quantile(drawn, 0.975) == pytest.approx(0.087, abs=0.003)


@pytest.mark.parametrize("shape", ["uniform", "sharp", "edge"])
def test_null_ece_is_that_of_labels_redrawn_one_by_one(shape):
    rng = np.random.default_rng(3)
    c = {"uniform": rng.random(400), "sharp": 1 - 0.5 * rng.random(400) ** 8, "edge": rng.choice([0.2, 0.4, 1.0], 400)}
    confidence = c[shape]
    slow = [ce.ece(confidence, rng.random(400) < confidence) for _ in range(2000)]
    fast = ce.null_ece(confidence, draws=4000)
    for q in (0.05, 0.5, 0.95):
        assert np.quantile(fast, q) == pytest.approx(np.quantile(slow, q), abs=0.004)
    assert fast.mean() == pytest.approx(np.mean(slow), abs=0.002)


def test_null_over_bins_of_equal_mass():
    rng = np.random.default_rng(4)
    c = 1 - 0.5 * rng.random(400) ** 4
    where = ce.equal_mass(c)
    slow = [ce.reliability(c, rng.random(400) < c, where, ce.BINS).ece for _ in range(2000)]
    assert ce.null_ece(c, where=where).mean() == pytest.approx(np.mean(slow), abs=0.002)


def clustered(rng, clusters, size, confidence, truth, alike):
    """Confidences and labels that are alike within clusters, each one alone calibrated by `truth`."""
    shared = rng.normal(size=(2, clusters)).repeat(size, axis=1)
    u, v = ndtr(np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=(2, clusters * size)))
    c = confidence(u)
    return c, v < truth(c), np.arange(clusters).repeat(size)


def half_up(u):
    return 0.5 + u / 2


TRUTHS = {
    "perfect": lambda c: c,
    "a little": lambda c: np.clip(c - 0.02, 0, 1),
    "far too sure": lambda c: expit(logit(np.clip(c, 1e-9, 1 - 1e-9)) / 3),
    "up and down": lambda c: np.clip(c + 0.03 * np.sign(np.sin(47 * c)), 0, 1),
}


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize(("clusters", "size", "alike"), [(400, 1, 0.0), (100, 8, 0.5), (400, 8, 0.5)])
def test_the_interval_of_ece_holds_the_true_error(truth, clusters, size, alike):
    u = (np.arange(200_000) + 0.5) / 200_000
    c = half_up(u)
    where = ce.equal_width(c)
    true = np.abs(np.bincount(where, TRUTHS[truth](c) - c, ce.BINS)).sum() / len(c)
    below = above = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        confidence, correct, names = clustered(rng, clusters, size, half_up, TRUTHS[truth], alike)
        error = ce.calibration_error(confidence, correct, names if size > 1 else None).error
        below += error.high < true
        above += error.low > true
    # 2.5 % on either side is promised; 5.5 % of 400 is what a 99.9 % binomial band leaves to chance.
    assert above <= 22
    assert below <= 22


def test_the_interval_of_classwise_error_starts_at_0_for_a_perfect_model():
    misses = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.full(5, 0.5), 400)
        y = (rng.random(400)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=4)
        misses += ce.classwise_error(p, y).error.low > 0
    assert misses <= 13


def test_one_cluster_tells_nothing_about_noise():
    error = ce.calibration_error([0.9, 0.8, 0.7], [1, 0, 1], ["a", "a", "a"]).error
    assert (error.low, error.high) == (0.0, 1.0)


def test_a_sum_of_clear_gaps_is_as_certain_as_their_signed_sum():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(500, 4))
    noise -= noise.mean(axis=0)
    found = sum_of_gaps(np.array([5.0, -5.0, 5.0, -5.0]) * 100, noise)
    half = 1.96 * np.sqrt(500 / 499 * ((noise @ [1, -1, 1, -1]) ** 2).sum())
    assert found.chance == 0
    assert found.high - found.value == pytest.approx(half, rel=1e-3)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_temperature_undoes_a_known_one():
    rng = np.random.default_rng(6)
    z = 2 * rng.normal(size=(4000, 5))
    lp = ce.tempered(z, 1.0)
    y = (rng.random(4000)[:, None] > np.exp(lp).cumsum(axis=1)).sum(axis=1).clip(max=4)
    assert ce.fit_temperature(ce.tempered(3 * z, 1.0), y) == pytest.approx(3.0, rel=0.07)
    assert ce.fit_temperature(lp, y) == pytest.approx(1.0, rel=0.07)
    assert ce.nll(ce.tempered(3 * lp, 3.0), y) == pytest.approx(ce.nll(lp, y))


def test_proper_scores_against_scikit_learn():
    from sklearn.metrics import brier_score_loss, log_loss

    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.ones(2), 200)
    y = rng.integers(0, 2, 200)
    assert ce.nll(np.log(p), y).mean() == pytest.approx(log_loss(y, p))
    assert ce.brier(p, y).mean() == pytest.approx(2 * brier_score_loss(y, p[:, 1]))


def test_golden_avu():
    right = np.repeat([1, 1, 0, 0], [50, 10, 15, 25])
    u = np.repeat([0.1, 0.9, 0.1, 0.9], [50, 10, 15, 25])
    assert tuple(sel.avu_counts(u, right, 0.5)) == (50, 10, 15, 25)
    assert sel.avu_counts(u, right, 0.5).avu == 0.75


def test_golden_aurc():
    c, y = [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1]
    assert sel.aurc(c, y) == pytest.approx(0.2708333, abs=1e-7)
    assert sel.oracle_aurc(y) == pytest.approx(0.0625)
    assert sel.excess_aurc_estimate(c, y).value == pytest.approx(0.2083333, abs=1e-7)


def test_ties_are_averaged_over_their_orders():
    c, y = [0.9, 0.5, 0.5, 0.5, 0.1], [1, 0, 1, 1, 0]
    orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
    strict = np.arange(5, 0, -1)
    expected = np.mean([sel.aurc(strict, np.array(y)[order]) for order in orders])
    assert sel.aurc(c, y) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_order_beats_the_oracle_and_order_of_samples_is_nothing(samples):
    c, y = np.array([c for c, _ in samples]), np.array([y for _, y in samples], dtype=float)
    assert sel.aurc(c, y) >= sel.oracle_aurc(y) - 1e-12
    assert sel.aurc(c[::-1], y[::-1]) == pytest.approx(sel.aurc(c, y), abs=1e-12)


def test_random_confidence_has_the_error_rate_as_its_area():
    rng = np.random.default_rng(10)
    y = rng.random(300) < 0.8
    areas = [sel.aurc(rng.random(300), y) for _ in range(500)]
    assert np.mean(areas) == pytest.approx(1 - y.mean(), abs=0.01)


@pytest.mark.parametrize("excess", [False, True])
@pytest.mark.parametrize("size", [1, 8])
def test_intervals_of_areas_hold_the_true_area(excess, size):
    make = sel.excess_aurc_estimate if excess else sel.aurc_estimate
    rng = np.random.default_rng(11)
    c = half_up(rng.random(400_000))
    y = rng.random(400_000) < c
    true = sel.aurc(c, y) - (sel.oracle_aurc(y) if excess else 0.0)
    misses = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        confidence, correct, names = clustered(draw, 1200 // size, size, half_up, TRUTHS["perfect"], 0.5)
        found = make(confidence, correct, names if size > 1 else None)
        misses += not found.low <= true <= found.high
    assert misses <= 30


def test_the_threshold_for_95_percent_of_the_right_answers():
    right, wrong = np.linspace(0, 1, 101), np.linspace(0, 1, 51)
    c, y = np.concatenate([right, wrong]), np.repeat([1, 0], [101, 51])
    threshold = sel.threshold_accepting(c, y)
    assert (right >= threshold).mean() >= 0.95 > (right > threshold).mean()
