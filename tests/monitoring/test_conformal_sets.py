"""Conformal sets as pure functions: golden values, the definitions by hand, and the guarantee itself by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest, norm

from muroan.monitoring.reliability.conformal import sets as cs


@pytest.mark.parametrize(
    ("n", "alpha", "k"), [(9, 0.1, 9), (8, 0.1, 9), (19, 0.05, 19), (99, 0.1, 90), (101, 0.1, 92), (201, 0.1, 182)]
)
def test_golden_ranks(n, alpha, k):
    assert cs.rank(n, alpha) == k
    threshold = cs.quantile(np.arange(1, n + 1), alpha)
    assert threshold == (k if k <= n else math.inf)


def test_rank_in_floating_point():
    assert 10 * (1 - 0.7) > 3
    assert cs.rank(9, 0.7) == 3


def test_golden_beta_law():
    a, b = cs.beta_law(100, 0.1)
    assert (a, b) == (91, 10)
    assert beta.mean(a, b) == pytest.approx(0.900990, abs=1e-6)
    assert beta.std(a, b) == pytest.approx(0.029573, abs=1e-6)
    assert cs.beta_band(100, 0.1) == pytest.approx((0.7795, 0.9721), abs=5e-5)


def test_coverage_follows_the_beta_law():
    rng = np.random.default_rng(0)
    covered = [norm.cdf(cs.quantile(rng.normal(size=100), 0.1)) for _ in range(2000)]
    assert kstest(covered, beta(*cs.beta_law(100, 0.1)).cdf).pvalue > 0.001


def test_coverage_seen_stays_in_the_band_as_often_as_it_says():
    rng = np.random.default_rng(1)
    low, high = cs.chance_band(100, 300, 0.1, 0.95)
    seen = np.array([(rng.random(300) <= cs.quantile(rng.random(100), 0.1)).mean() for _ in range(2000)])
    outside = ((seen < low) | (seen > high)).mean()
    assert 0.02 < outside <= 0.065


def by_hand(p, u, *, penalty=0.0, free=0):
    """Label by label, as the papers write it."""
    return np.array(
        [
            sum(q for q in p if q > p[k]) + u * p[k] + penalty * max(0, 1 + sum(q > p[k] for q in p) - free)
            for k in range(len(p))
        ]
    )


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=7),
    st.floats(0.001, 0.999),
    st.sampled_from([0.0, 0.01, 0.5]),
    st.integers(0, 3),
)
@settings(max_examples=200, deadline=None)
def test_aps_and_raps_are_what_the_papers_write_ties_included(weights, u, penalty, free):
    p = np.array(weights) / sum(weights)
    assert cs.raps([p], [u], penalty=penalty, free=free)[0] == pytest.approx(
        by_hand(p, u, penalty=penalty, free=free), abs=1e-9
    )
    assert cs.aps([p], [u])[0] == pytest.approx(by_hand(p, u), abs=1e-9)


def test_scores_do_not_depend_on_the_chunk(monkeypatch):
    rng = np.random.default_rng(2)
    p, u = rng.dirichlet(np.ones(5), 50), rng.random(50)
    whole = cs.aps(p, u)
    monkeypatch.setattr(cs, "_CHUNK", 15)
    np.testing.assert_array_equal(cs.aps(p, u), whole)


def test_lac_keeps_digits_of_a_sure_model():
    lp = np.log1p(-np.array([[1e-12, 0.5]]))
    assert cs.lac(lp)[0, 0] == pytest.approx(1e-12, rel=1e-9)


def drawn(rng, n, k=6):
    """Probabilities and labels drawn from them: an ideal model."""
    p = rng.dirichlet(np.full(k, 0.4), n)
    y = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)
    return p, y, rng.random(n)


SCORES = {
    "LAC": lambda p, u: cs.lac(np.log(p.clip(1e-300))),
    "APS": cs.aps,
    "RAPS": lambda p, u: cs.raps(p, u, penalty=0.1, free=2),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", [20, 99, 400])
def test_coverage_is_what_was_promised_whatever_the_model(name, n):
    """Of a model that is wrong on purpose: its probabilities are those of other classes."""
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        p, y, u = drawn(rng, n + 200)
        scores = SCORES[name](np.roll(p, 1, axis=1), u)
        own = cs.own(scores, y)
        inside = cs.sets(scores[n:], cs.quantile(own[:n], 0.1))[np.arange(200), y[n:]]
        covered.append(inside.mean())
    expected = cs.rank(n, 0.1) / (n + 1)
    error = np.std(covered) / np.sqrt(len(covered))
    # Scores of LAC and of APS with u have no ties, so coverage is exact, not only at least as promised.
    assert np.mean(covered) == pytest.approx(expected, abs=4 * error)


def test_randomised_aps_of_an_ideal_model_is_uniform():
    p, y, u = drawn(np.random.default_rng(3), 4000)
    assert kstest(cs.own(cs.aps(p, u), y), "uniform").pvalue > 0.001


def test_permuting_labels_keeps_coverage():
    rng = np.random.default_rng(4)
    p, y, u = drawn(rng, 600)
    turn = rng.permutation(6)
    inverse = np.argsort(turn)
    first = cs.own(cs.aps(p, u), y) <= cs.quantile(cs.own(cs.aps(p, u), y)[:300], 0.1)
    q, z = p[:, turn], inverse[y]
    second = cs.own(cs.aps(q, u), z) <= cs.quantile(cs.own(cs.aps(q, u), z)[:300], 0.1)
    np.testing.assert_array_equal(first, second)


def test_promising_everything_gives_the_full_set():
    p, y, u = drawn(np.random.default_rng(5), 50)
    scores = cs.aps(p, u)
    assert cs.sets(scores, cs.quantile(cs.own(scores, y), 1e-6)).all()


def test_thresholds_per_class_are_infinite_where_too_few():
    rng = np.random.default_rng(6)
    kind = np.repeat([0, 1, 2], [100, 9, 8])
    scores = rng.random(117)
    own = cs.quantiles_by(scores, kind, 4, 0.1)
    assert own[0] == cs.quantile(scores[:100], 0.1)
    assert own[1] == scores[100:109].max()
    assert np.isinf(own[2:]).all()


def test_tuning_finds_the_temperature_and_a_penalty_that_shortens_sets():
    p, y, u = drawn(np.random.default_rng(7), 3000)
    sharp = np.log(p.clip(1e-12)) * 2
    sharp -= np.log(np.exp(sharp).sum(axis=1, keepdims=True))
    tuned = cs.tune_raps(sharp, u, y, 0.1)
    assert tuned.temperature == pytest.approx(2, rel=0.1)
    assert tuned.penalty in cs.LAMBDAS
    ranks = 1 + (p > cs.own(p, y)[:, None]).sum(axis=1)
    assert (ranks <= tuned.free).mean() >= 0.9 > (ranks < tuned.free).mean()


def clustered(rng, clusters, size, alike, shift=0.0):
    shared = rng.normal(size=clusters).repeat(size)
    scores = np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=clusters * size) + shift
    return scores, np.arange(clusters).repeat(size) if size > 1 else None


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.1, 0.05])
@pytest.mark.parametrize("short", [0.0, 0.05])
@pytest.mark.parametrize(
    ("fitted", "seen", "size", "alike"),
    [(100, 400, 1, 0), (400, 400, 10, 0.5), (400, 1000, 10, 0.9), (40, 100, 10, 0.5)],
)
def test_the_interval_of_a_shortfall_holds_the_true_one(alpha, short, fitted, seen, size, alike):
    """With the calibration drawn anew each time, and both sides in clusters."""
    shift = norm.ppf(1 - alpha) - norm.ppf(1 - alpha - short)
    above = below = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        reference, names = clustered(rng, fitted, size, alike)
        scores, clusters = clustered(rng, seen, size, alike, shift)
        found = cs.shortfall(scores, reference, alpha, clusters, names)
        above += found.low > short
        below += found.high < short
    # 2.5 % on either side is promised; 6 % of 300 is above what a 99.9 % binomial band leaves to chance.
    assert above <= 18
    assert below <= 18


def test_treating_clusters_as_samples_would_alarm_too_often():
    """What the effective sizes are for: the same intervals without them miss the truth."""
    naive = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        reference, _ = clustered(rng, 100, 10, 0.9)
        scores, _ = clustered(rng, 200, 10, 0.9)
        naive += cs.shortfall(scores, reference, 0.1).low > 0
    assert naive > 20


def test_a_reference_of_one_cluster_tells_nothing():
    rng = np.random.default_rng(8)
    found = cs.shortfall(rng.random(100), rng.random(50), 0.1, None, ["only"] * 50)
    assert found.low == pytest.approx(-0.1)
    assert found.high > 0.3


def test_too_small_a_reference_covers_everything_and_says_so():
    rng = np.random.default_rng(9)
    found = cs.shortfall(rng.random(50), rng.random(5), 0.1)
    assert found.value == pytest.approx(-0.1)
    assert found.high <= 0.1
