"""Estimates against known answers, reference implementations, and their own promises (coverage by simulation)."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from muroan.estimate import (
    Estimate,
    adjust,
    auc,
    auc_difference,
    bootstrap,
    bootstrap_draws,
    by_group,
    difference,
    max_gap,
    mean,
    more_samples,
    p_value,
    paired_difference,
    proportion,
    quantile,
    sum_by_cluster,
)

Array = NDArray[np.float64]


def ones(k: int, n: int) -> list[int]:
    return [1] * k + [0] * (n - k)


def own_clusters(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def bounds(e: Estimate) -> tuple[float, float, float]:
    return e.value, e.low, e.high


def binary(low: int = 1, high: int = 60) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 1), min_size=low, max_size=high)


numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60)
scores = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


class TestKnownAnswers:
    @pytest.mark.parametrize(
        ("k", "n", "low", "high"),
        [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (50, 50, 0.9287, 1.0), (98, 100, 0.9300, 0.9945)],
    )
    def test_wilson(self, k: int, n: int, low: float, high: float) -> None:
        e = proportion(ones(k, n))
        assert (e.value, e.n, e.clusters) == (k / n, n, None)
        assert (e.low, e.high) == pytest.approx((low, high), abs=5e-5)

    @pytest.mark.parametrize(("k", "n", "level"), [(3, 17, 0.95), (120, 121, 0.9), (1, 1, 0.99), (4000, 9673, 0.95)])
    def test_wilson_is_scipys(self, k: int, n: int, level: float) -> None:
        ci = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        e = proportion(ones(k, n), level=level)
        assert (e.low, e.high) == pytest.approx((ci.low, ci.high), abs=1e-12)

    def test_mean_is_scipys_t_interval(self) -> None:
        x = np.random.default_rng(0).normal(3, 2, 23)
        ci = stats.ttest_1samp(x, 0).confidence_interval(0.9)
        assert bounds(mean(x, level=0.9)) == pytest.approx((x.mean(), ci.low, ci.high))

    def test_paired_mean_is_scipys_paired_t(self) -> None:
        x, y = np.random.default_rng(0).normal(0, 1, (2, 15))
        ci = stats.ttest_rel(x, y).confidence_interval()
        e = paired_difference(x, y)
        assert (e.low, e.high) == pytest.approx((ci.low, ci.high))

    def test_welch_is_scipys(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.normal(0, 1, 12), rng.normal(1, 5, 31)
        ci = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
        assert bounds(difference(x, y)) == pytest.approx((x.mean() - y.mean(), ci.low, ci.high))

    def test_newcombe_hybrid(self) -> None:
        # Newcombe (1998), example (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
        e = difference(ones(56, 70), ones(48, 80))
        assert (e.value, e.n) == (pytest.approx(0.2), 150)
        assert (e.low, e.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)

    def test_tango_solves_its_equation(self) -> None:
        # Both bounds are differences at which Tango's score, with the constrained estimate, is 1.96 exactly.
        up, down, n = 14, 5, 90
        a, b = ones(up, n), [0] * up + ones(down, n - up)
        e = paired_difference(a, b)
        for delta in (e.low, e.high):
            shares = np.linspace(1e-9, 1 - 1e-9, 2_000_001)
            # The constrained maximum of the likelihood by brute force, instead of the closed form.
            p_down = shares[(shares + delta > 0) & (2 * shares + delta < 1)]
            likelihood = (
                up * np.log(p_down + delta) + down * np.log(p_down) + (n - up - down) * np.log1p(-2 * p_down - delta)
            )
            best = p_down[likelihood.argmax()]
            variance = n * (2 * best + delta - delta**2)
            assert abs(up - down - n * delta) / math.sqrt(variance) == pytest.approx(1.959964, abs=1e-4)

    @pytest.mark.parametrize(("up", "down"), [(9, 2), (10, 2), (15, 6), (16, 6), (4, 0), (3, 0), (0, 4)])
    def test_paired_difference_agrees_with_mcnemar(self, up: int, down: int) -> None:
        a, b = ones(up, 200), [0] * up + ones(down, 200 - up)
        significant = (up - down) ** 2 / (up + down) > stats.chi2.ppf(0.95, 1)
        assert paired_difference(a, b).excludes(0) == significant

    def test_no_change_is_not_certainty(self) -> None:
        e = paired_difference([1] * 300, [1] * 300)
        assert e.value == 0
        assert e.low == pytest.approx(-e.high)
        assert e.high == pytest.approx(1.96**2 / (300 + 1.96**2), abs=1e-5)

    def test_quantile_ranks(self) -> None:
        # The classical table: for n = 20 the 95 % interval of the median runs from the 6th to the 15th value.
        e = quantile(np.arange(1, 21)[::-1], 0.5)
        assert bounds(e) == (10.5, 6, 15)

    def test_quantile_of_too_few(self) -> None:
        assert bounds(quantile([1, 2, 3], 0.5)) == (2, -math.inf, math.inf)
        assert quantile(range(50), 0.99).high == math.inf

    def test_adjust_is_benjamini_hochberg(self) -> None:
        assert adjust([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
        assert adjust([]) == []


def brute_force_auc(pos: Array, neg: Array) -> tuple[float, float]:
    """AUC and DeLong's variance from all pairs."""
    wins = (pos[:, None] > neg[None, :]) + 0.5 * (pos[:, None] == neg[None, :])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return float(wins.mean()), float(v10.var(ddof=1) / len(pos) + v01.var(ddof=1) / len(neg))


class TestAuc:
    def test_value_and_variance_against_all_pairs(self) -> None:
        from muroan.estimate.ranks import _spread, placements

        rng = np.random.default_rng(3)
        pos, neg = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 70) + 0.0
        value, variance = brute_force_auc(pos, neg)
        assert auc(pos, neg).value == pytest.approx(value, abs=1e-12)
        assert _spread([placements(pos, neg)], None, None).covariance[0, 0] == pytest.approx(variance, rel=1e-12)

    def test_interval_is_delongs_where_the_order_is_far_from_perfect(self) -> None:
        rng = np.random.default_rng(3)
        # Unequal spreads, so that the binormal variance is too small and DeLong's decides.
        pos, neg = rng.normal(1.0, 3.0, 2000), rng.normal(0, 1, 2000)
        variance = brute_force_auc(pos, neg)[1]
        assert auc(pos, neg).width == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.02)

    def test_null_variance_of_the_rank_test(self) -> None:
        # At an AUC of 1/2 the variance is the one of the Mann-Whitney test, (m + n + 1) / (12 m n).
        from muroan.estimate.score import binormal_variance

        assert binormal_variance(0.5, 30, 50) == pytest.approx(81 / (12 * 30 * 50), rel=1e-12)

    def test_covariance_of_two_is_delongs(self) -> None:
        from muroan.estimate.ranks import _spread, placements

        rng = np.random.default_rng(0)
        a_pos, b_pos = rng.normal(1, 1, (2, 30))
        a_neg, b_neg = rng.normal(0, 1, (2, 40))
        wins = [(p[:, None] > q[None, :]).astype(float) for p, q in ((a_pos, a_neg), (b_pos, b_neg))]
        expected = (
            np.cov(*[w.mean(axis=1) for w in wins])[0, 1] / 30 + np.cov(*[w.mean(axis=0) for w in wins])[0, 1] / 40
        )
        found = _spread([placements(a_pos, a_neg), placements(b_pos, b_neg)], None, None).covariance
        assert found[0, 1] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("swap", [False, True])
    def test_perfect_order_is_not_certainty(self, swap: bool) -> None:
        pos, neg = list(range(50, 80)), list(range(40))
        e = auc(neg, pos) if swap else auc(pos, neg)
        assert e.value == (0 if swap else 1)
        # Never wider than if all 30 positives of the smaller side were coin flips with that share.
        t = stats.t.ppf(0.975, 29)
        assert 0.02 < e.width < t**2 / (30 + t**2)

    def test_constant_scores_are_guessing(self) -> None:
        e = auc([1.0] * 30, [1.0] * 30)
        assert e.value == 0.5
        assert e.low < 0.4 < 0.6 < e.high

    @settings(max_examples=60, deadline=None)
    @given(scores, scores)
    def test_reversed_scores_mirror_the_interval(self, pos: list[int], neg: list[int]) -> None:
        e, mirrored = auc(pos, neg), auc([-p for p in pos], [-q for q in neg])
        assert 0 <= e.low <= e.value <= e.high <= 1
        assert bounds(mirrored) == pytest.approx((1 - e.value, 1 - e.high, 1 - e.low), abs=1e-9)

    def test_difference_uses_the_pairing(self) -> None:
        rng = np.random.default_rng(1)
        pos, neg = rng.normal(1, 1, 200), rng.normal(0, 1, 200)
        noisy_pos, noisy_neg = pos + rng.normal(0, 0.1, 200), neg + rng.normal(0, 0.1, 200)
        e = auc_difference(pos, neg, noisy_pos, noisy_neg)
        assert e.value == pytest.approx(auc(pos, neg).value - auc(noisy_pos, noisy_neg).value)
        assert e.width < 0.3 * auc(pos, neg).width

    def test_difference_of_a_score_to_itself(self) -> None:
        rng = np.random.default_rng(1)
        pos, neg = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
        e = auc_difference(pos, neg, pos, neg)
        assert e.value == 0
        assert e.low <= 0 <= e.high


class TestClusters:
    """Clusters of one sample each are no clusters; clusters of copies are as much as one sample each."""

    def test_own_clusters_are_independent_samples(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
        v, w = rng.normal(size=80), rng.normal(size=80)
        ids, others = own_clusters(80), [f"d{i}" for i in range(80)]
        pairs = [
            (proportion(x), proportion(x, ids)),
            (mean(v), mean(v, ids)),
            (mean(abs(v) / 5, bounds=(0, 1)), mean(abs(v) / 5, ids, bounds=(0, 1))),
            (paired_difference(x, y), paired_difference(x, y, ids)),
            (paired_difference(v, w), paired_difference(v, w, ids)),
            (difference(x, y), difference(x, y, ids, others)),
            (difference(v, w), difference(v, w, ids, others)),
            (auc(v + 1, w), auc(v + 1, w, ids, others)),
            (auc_difference(v + 1, w, w + 1, v), auc_difference(v + 1, w, w + 1, v, ids, others)),
            (quantile(v, 0.3), quantile(v, 0.3, ids)),
        ]
        for plain, clustered in pairs:
            assert bounds(clustered) == pytest.approx(bounds(plain), rel=1e-9)
            assert clustered.clusters in (80, 160)
            assert plain.clusters is None

    @pytest.mark.parametrize("copies", [2, 7])
    def test_copies_add_nothing(self, copies: int) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=40)
        ids = np.repeat(own_clusters(40), copies)
        assert bounds(mean(np.repeat(x, copies), ids)) == pytest.approx(bounds(mean(x)))
        hits = np.repeat(x > -0.5, copies)
        e, plain = proportion(hits, ids), proportion(x > -0.5)
        assert e.n == 40 * copies
        # Student's t and C / (C - 1) make it a little wider, nothing makes it narrower.
        assert 1 <= e.width / plain.width < 1.12

    def test_positive_correlation_widens(self) -> None:
        rng = np.random.default_rng(0)
        ids = np.repeat(np.arange(50), 10)
        hits = rng.random(500) < np.repeat(rng.beta(0.5, 0.5, 50), 10)
        other = rng.random(500) < np.repeat(rng.beta(0.5, 0.5, 50), 10)
        assert proportion(hits, ids).width > 1.8 * proportion(hits).width
        assert paired_difference(hits, other, ids).width > 1.8 * paired_difference(hits, other).width

    def test_all_agree_takes_the_worst_case(self) -> None:
        # 50 hits in 10 clusters of 5 that always agree are worth 10 samples at the 97.5 % quantile of t(9).
        e = proportion([1] * 50, np.repeat(np.arange(10), 5))
        t = stats.t.ppf(0.975, 9)
        assert e.low == pytest.approx(10 / (10 + t * t))

    def test_one_cluster_tells_nothing(self) -> None:
        one = ["a"] * 20
        assert bounds(proportion(ones(15, 20), one)) == (0.75, 0, 1)
        assert bounds(mean(range(20), one)) == (9.5, -math.inf, math.inf)
        assert bounds(paired_difference(ones(15, 20), ones(10, 20), one)) == (0.25, -1, 1)
        assert bounds(auc([2.0] * 20, [1.0] * 20, one, one)) == (1, 0, 1)
        assert bounds(bootstrap(np.ones((1, 2)), lambda t: t[:, 0] / t[:, 1], n=20)) == (1, -math.inf, math.inf)

    def test_dominating_clusters_lower_the_degrees_of_freedom(self) -> None:
        rng = np.random.default_rng(0)
        hits = rng.integers(0, 2, 300)
        even = np.repeat(np.arange(30), 10)
        uneven = np.repeat(np.arange(30), [97] * 2 + [7] * 2 + [4] * 22 + [1] * 4)
        from muroan.estimate.clusters import design

        assert design(even, 300).degrees == pytest.approx(29)
        assert 1 <= design(uneven, 300).degrees < 5
        assert proportion(hits, uneven).width > proportion(hits, even).width

    def test_variance_between_uneven_clusters_is_unbiased_for_independent_samples(self) -> None:
        from muroan.estimate.clusters import design

        ids = np.repeat(np.arange(5), [1, 2, 3, 10, 34])
        layout = design(ids, 50)
        # The expectation over independent samples of variance 1 is the sum over unit vectors, and must be n.
        expected = sum(layout.variance_of_sum(unit - 1 / 50) for unit in np.eye(50))
        assert expected == pytest.approx(50, rel=1e-12)

    def test_shared_clusters_cancel_in_a_difference(self) -> None:
        rng = np.random.default_rng(0)
        shared = np.repeat(rng.normal(0, 3, 60), 2)
        a, b = shared + rng.normal(1, 0.1, 120), shared + rng.normal(0, 0.1, 120)
        ids = np.repeat(own_clusters(60), 2)
        together = difference(a, b, ids, ids)
        apart = difference(a, b, ids, np.char.add("other ", ids))
        assert together.clusters == 60
        assert apart.clusters == 120
        assert together.width < 0.1 * apart.width
        assert together.low < 1 < together.high

    def test_sum_by_cluster(self) -> None:
        x = np.arange(24.0).reshape(6, 2, 2)
        ids = ["b", "a", "b", "c", "a", "b"]
        sums = sum_by_cluster(x, ids)
        assert sums.shape == (3, 2, 2)
        assert (sums[0] == x[1] + x[4]).all()
        assert (sums[1] == x[0] + x[2] + x[5]).all()
        assert (sum_by_cluster(x, None) == x).all()


class TestProperties:
    @settings(max_examples=80, deadline=None)
    @given(binary(), st.randoms(use_true_random=False), st.sampled_from([0.8, 0.95, 0.99]))
    def test_proportion(self, hits: list[int], random: object, level: float) -> None:
        ids = [f"c{i % 5}" for i in range(len(hits))]
        for clusters in (None, ids):
            e = proportion(hits, clusters, level=level)
            assert 0 <= e.low <= e.value <= e.high <= 1
            assert e.width > 0
            order = list(range(len(hits)))
            random.shuffle(order)  # type: ignore[attr-defined]
            moved = proportion([hits[i] for i in order], clusters and [ids[i] for i in order], level=level)
            assert bounds(moved) == pytest.approx(bounds(e), abs=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(numbers)
    def test_mean(self, values: list[float]) -> None:
        e = mean(values)
        assert e.low <= e.value <= e.high
        assert bounds(mean(values[::-1])) == pytest.approx(bounds(e), abs=1e-6)
        shifted = mean([v + 10 for v in values])
        assert bounds(shifted) == pytest.approx([b + 10 for b in bounds(e)], abs=1e-6)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.booleans())
    def test_bounded_mean_stays_within(self, values: list[float], clustered: bool) -> None:
        clusters = [str(i // 3) for i in range(len(values))] if clustered else None
        e = mean(values, clusters, bounds=(0, 1))
        assert 0 <= e.low <= e.value <= e.high <= 1
        assert e.width > 0

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
    def test_paired_difference(self, rows: list[tuple[int, int]]) -> None:
        a, b = [r[0] for r in rows], [r[1] for r in rows]
        e = paired_difference(a, b)
        assert -1 <= e.low <= e.value <= e.high <= 1
        assert e.width > 0
        assert bounds(paired_difference(b, a)) == pytest.approx((-e.value, -e.high, -e.low), abs=1e-9)
        assert bounds(paired_difference(a[::-1], b[::-1])) == pytest.approx(bounds(e), abs=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(binary(), binary())
    def test_difference(self, a: list[int], b: list[int]) -> None:
        e = difference(a, b)
        assert -1 <= e.low <= e.value <= e.high <= 1
        assert bounds(difference(b, a)) == pytest.approx((-e.value, -e.high, -e.low), abs=1e-9)

    @settings(max_examples=150, deadline=None)
    @given(binary(), st.floats(-0.2, 1.2), st.sampled_from([0.9, 0.95]))
    def test_p_at_most_alpha_if_and_only_if_excluded(self, hits: list[int], limit: float, level: float) -> None:
        e = proportion(hits, level=level)
        for at in (limit, e.low, e.high, e.value, math.nextafter(e.low, -1), math.nextafter(e.high, 2)):
            p = p_value(e, at)
            assert 0 <= p <= 1
            assert (p <= 1 - level) == e.excludes(at)

    @settings(max_examples=80, deadline=None)
    @given(binary(5, 200), st.floats(0.02, 0.98))
    def test_more_samples_of_a_share_are_enough_and_needed(self, hits: list[int], limit: float) -> None:
        e = proportion(hits)
        more = more_samples(e, limit)
        if more is None:
            assert e.value == limit
            return
        assert (more == 0) == e.excludes(limit)
        total = len(hits) + more
        if more > 0 and total < 10**9:
            c = stats.norm.ppf(0.975) ** 2 * limit * (1 - limit)
            # Wilson's interval at the same share holds the limit if and only if n (value - limit)^2 <= c.
            assert total * (e.value - limit) ** 2 > c * (1 - 1e-9)
            assert (total - 1) * (e.value - limit) ** 2 <= c * (1 + 1e-9)


class TestDecisions:
    def test_p_value_is_a_normal_test(self) -> None:
        x = np.random.default_rng(0).normal(0.05, 1, 2000)
        assert p_value(mean(x), 0) == pytest.approx(stats.ttest_1samp(x, 0).pvalue, abs=1e-3)

    def test_p_value_at_the_ends(self) -> None:
        e = proportion([1] * 40)
        assert p_value(e, 1.0) == 1
        assert p_value(mean([5.0]), 0.0) == 1
        assert p_value(mean([5.0, 5.0]), 0.0) == 0

    def test_no_number_of_samples_tells_what_is_as_good_as_equal(self) -> None:
        e = Estimate(value=0.0, low=-1.0, high=1.0, n=10**6, method="Student t")
        for gap in (1e-152, 1e-154, 1e-300):
            assert more_samples(e, gap) is None

    def test_more_samples(self) -> None:
        e = proportion(ones(98, 100))
        assert more_samples(e, 0.5) == 0
        assert more_samples(e, 0.98) is None
        more = more_samples(e, 0.95)
        assert more is not None
        assert more_samples(mean([1.0]), 0.0) is None
        # Clear at 2 % misses of so many samples, and not clear of 10 fewer.
        for n, clear in ((100 + more, True), (90 + more, False)):
            z2 = 1.959964**2
            assert (n * (0.98 - 0.95) ** 2 > z2 * 0.95 * 0.05) == clear

    def test_a_bound_cut_off_at_the_limit_is_not_taken_for_near(self) -> None:
        gap = Estimate(value=0.01, low=0.0, high=0.09, n=900, method="max-t over pairs of groups")
        assert p_value(gap, 0) > 0.8
        assert more_samples(gap, 0) == pytest.approx(900 * 63, rel=0.01)

    def test_more_samples_of_a_mean(self) -> None:
        x = np.tile([0.0, 1.0, 2.0, 5.0], 10)
        more = more_samples(mean(x), 1.7)
        assert more is not None
        grown = np.tile(x, round((len(x) + more) / len(x)) + 1)
        assert mean(grown).excludes(1.7)


class TestBootstrap:
    @staticmethod
    def ratio(t: Array) -> Array:
        return t[:, 0] / t[:, 1]

    def test_matches_scipys_percentiles(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.exponential(size=200)
        e = bootstrap(np.stack([x, np.ones(200)], axis=1), self.ratio, n=200, draws=20_000, correct_bias=False)
        reference = stats.bootstrap(
            (x,), np.mean, n_resamples=20_000, method="percentile", random_state=rng, vectorized=True
        ).confidence_interval
        assert bounds(e) == pytest.approx((x.mean(), reference.low, reference.high), rel=0.01)

    def test_cells_are_drawn_as_clusters_are(self) -> None:
        # The same hits, once with a few distinct rows and once made distinct by a third total that is not used.
        rng = np.random.default_rng(0)
        t = np.stack([rng.random(400) < 0.7, np.ones(400), np.zeros(400)], axis=1).astype(float)
        distinct = t.copy()
        distinct[:, 2] = np.arange(400)
        draws = [bootstrap_draws(x, self.ratio, draws=8000, seed=1)[1] for x in (t, distinct)]
        assert stats.ks_2samp(*draws).pvalue > 0.01
        assert draws[0].std() == pytest.approx(math.sqrt(0.7 * 0.3 / 400), rel=0.05)

    def test_same_seed_same_draws_whatever_the_order(self) -> None:
        t = np.random.default_rng(0).random((50, 2))
        first, again = (bootstrap(x, self.ratio, n=50, seed=3) for x in (t, t[::-1]))
        assert first == again
        assert bootstrap(t, self.ratio, n=50, seed=4) != first

    def test_draws_of_a_vector(self) -> None:
        t = np.random.default_rng(0).random((50, 3, 2))
        value, draws = bootstrap_draws(t, lambda s: s[..., 0] / s[..., 1], draws=100)
        assert value.shape == (3,)
        assert draws.shape == (100, 3)
        assert value == pytest.approx(t[..., 0].sum(axis=0) / t[..., 1].sum(axis=0))

    def test_undefined_draws_are_left_out_and_told(self) -> None:
        t = np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 30)
        e = bootstrap(t, self.ratio, n=31)
        assert "undefined" in e.method
        share = float(e.method.split(", ")[-1].split("%")[0]) / 100
        assert share == pytest.approx((30 / 31) ** 31, abs=0.05)
        with pytest.raises(ValueError, match="not a number"):
            bootstrap(np.zeros((5, 2)), self.ratio, n=5)

    def test_bias_is_corrected(self) -> None:
        # The largest of ten means is biased upwards; the correction moves the interval down.
        rng = np.random.default_rng(0)
        t = np.stack([rng.random((300, 10)), np.ones((300, 10))], axis=2)

        def largest(s: Array) -> Array:
            return np.asarray((s[..., 0] / s[..., 1]).max(axis=1))

        corrected, plain = (bootstrap(t, largest, n=300, correct_bias=c) for c in (True, False))
        assert corrected.low < plain.low
        assert corrected.high < plain.high

    def test_few_clusters_widen(self) -> None:
        t = np.array([[5.0, 10.0], [6.0, 10.0], [9.0, 10.0]])
        e = bootstrap(t, self.ratio, n=30)
        assert "jackknife" in e.method
        assert e.clusters == 3
        # Of equal counts the ratio is a mean, and the jackknife is its t interval.
        assert e.width >= mean(t[:, 0] / 10).width * (1 - 1e-9)


def totals(hits: Array, group: NDArray[np.int64], groups: int) -> Array:
    out = np.zeros((len(hits), groups, 2))
    out[np.arange(len(hits)), group, 0] = hits
    out[np.arange(len(hits)), group, 1] = 1
    return out


class TestGroups:
    def test_by_group(self) -> None:
        found = by_group([1, 0, 1, 1, 0], ["b", "a", "b", "a", ""])
        assert list(found) == ["a", "b"]
        assert bounds(found["a"]) == bounds(proportion([0, 1]))
        assert found["b"].n == 2

    def test_by_group_of_values_and_clusters(self) -> None:
        x = np.arange(12.0)
        groups = ["a", "b"] * 6
        ids = [str(i // 4) for i in range(12)]
        found = by_group(x, groups, ids)
        assert bounds(found["b"]) == bounds(mean(x[1::2], ids[1::2]))
        assert found["b"].clusters == 3

    def test_two_groups_are_newcombes_difference(self) -> None:
        rng = np.random.default_rng(0)
        group = rng.integers(0, 2, 2000)
        hits = (rng.random(2000) < np.array([0.9, 0.7])[group]).astype(float)
        gap = max_gap(totals(hits, group, 2), ["x", "y"], draws=100_000)
        d = difference(hits[group == 0], hits[group == 1])
        assert (gap.highest, gap.lowest, gap.left_out) == ("x", "y", ())
        assert bounds(gap.estimate) == pytest.approx(bounds(d), abs=1e-3)
        assert gap.estimate.n == 2000

    def test_metrics_beyond_rates_are_tukeys_intervals(self) -> None:
        # Independent groups of equal spread and size: max-t is Tukey's honest significant difference.
        rng = np.random.default_rng(0)
        x = rng.normal(0, 1, (4, 500)) + np.array([0, 0.3, 0.6, 2.0])[:, None]
        group = np.repeat(np.arange(4), 500)
        gap = max_gap(totals(x.ravel(), group, 4), list("abcd"), draws=100_000)
        tukey = stats.tukey_hsd(*x).confidence_interval()
        assert (gap.highest, gap.lowest) == ("d", "a")
        assert gap.estimate.low == pytest.approx(tukey.low[3, 0], abs=0.02)
        assert gap.estimate.high == pytest.approx(tukey.high[3, 0], abs=0.02)

    def test_a_small_group_without_a_miss_is_not_certain(self) -> None:
        hits = np.array([1.0] * 12 + ones(900, 1000))
        group = np.array([0] * 12 + [1] * 1000)
        gap = max_gap(totals(hits, group, 2), ["small", "large"])
        assert gap.estimate.value == pytest.approx(0.1)
        assert gap.estimate.low == 0
        assert gap.estimate.high > 0.1

    def test_small_groups_are_left_out_and_named(self) -> None:
        hits = np.ones(65)
        group = np.array([0] * 30 + [1] * 30 + [2] * 5)
        gap = max_gap(totals(hits, group, 3), ["a", "b", "c"])
        assert gap.left_out == ("c",)
        assert gap.estimate.n == 60
        with pytest.raises(ValueError, match="two groups"):
            max_gap(totals(hits, group, 3), ["a", "b", "c"], min_count=31)

    def test_groups_within_clusters(self) -> None:
        # Every cluster has both groups and its own level: the gap is much surer than the groups.
        rng = np.random.default_rng(0)
        level = np.repeat(rng.normal(0, 5, 100), 2)
        group = np.tile([0, 1], 100)
        x = level + group + rng.normal(0, 0.1, 200)
        t = totals(x, group, 2)
        by_cluster = sum_by_cluster(t, np.repeat(np.arange(100), 2))
        within = max_gap(by_cluster, ["a", "b"], draws=100_000).estimate
        assert bounds(within) == pytest.approx(bounds(paired_difference(x[1::2], x[::2])), abs=1e-3)
        assert max_gap(t, ["a", "b"]).estimate.width > 2

    def test_same_seed_same_gap_whatever_the_order(self) -> None:
        rng = np.random.default_rng(0)
        t = totals((rng.random(300) < 0.8).astype(float), rng.integers(0, 3, 300), 3)
        e, moved = (max_gap(x, list("abc"), seed=1).estimate for x in (t, t[::-1]))
        assert bounds(e) == pytest.approx(bounds(moved), abs=1e-12)


class TestEstimate:
    def test_shows_value_interval_and_n(self) -> None:
        e = Estimate(value=0.942, low=0.9312, high=0.9508, n=9673, method="Wilson")
        assert str(e) == "0.942 [0.931, 0.951] n=9673"
        assert str(e.model_copy(update={"clusters": 12})) == "0.942 [0.931, 0.951] n=9673 in 12 clusters"
        assert e.width == pytest.approx(0.0196)
        assert e.half(1) == pytest.approx(0.0088)
        assert e.half(0) == pytest.approx(0.0108)

    def test_shows_two_digits_of_the_width(self) -> None:
        assert str(Estimate(value=0.00012, low=0.0001, high=0.0002, n=5, method="")) == "0.00012 [0.00010, 0.00020] n=5"
        assert str(Estimate(value=1234.5, low=1200.0, high=1300.0, n=5, method="")) == "1234 [1200, 1300] n=5"

    def test_infinite_bounds_are_valid_json_and_come_back(self) -> None:
        e = mean([1.0])
        for text in (e.model_dump_json(), json.dumps(e.model_dump(mode="json"), allow_nan=False)):
            assert json.loads(text)["low"] == "-Infinity"
            assert Estimate.model_validate_json(text) == e
        assert json.loads(mean([1.0, 2.0]).model_dump_json())["value"] == 1.5

    @pytest.mark.parametrize("bad", [{"low": 2.0}, {"high": 0.5}, {"value": math.nan}, {"level": 95.0}])
    def test_refuses_what_is_no_interval(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=r"interval|level"):
            Estimate(**({"value": 1.0, "low": 0.0, "high": 2.0, "n": 3, "method": ""} | bad))


class TestInputs:
    def test_lists_arrays_and_tensors_are_the_same(self) -> None:
        x = [1, 0, 1, 1]
        forms = [x, np.array(x), np.array(x, bool), torch.tensor(x), torch.tensor([1.0, 0, 1, 1], requires_grad=True)]
        assert len({proportion(f) for f in forms}) == 1
        t = torch.rand(20, 2)
        assert bootstrap(t, lambda s: s[:, 0], n=20) == bootstrap(t.numpy(), lambda s: s[:, 0], n=20)

    @pytest.mark.parametrize(
        "call",
        [
            lambda x: proportion(x),
            lambda x: mean(x),
            lambda x: paired_difference(x, x),
            lambda x: difference(x, [1, 0]),
            lambda x: auc([1, 2], x),
            lambda x: quantile(x, 0.5),
            lambda x: by_group(x, ["a"] * len(x)),
        ],
    )
    def test_nothing_and_nan_are_errors(self, call: object) -> None:
        with pytest.raises(ValueError, match="no samples"):
            call([])  # type: ignore[operator]
        with pytest.raises(ValueError, match="1 of 2 are NaN"):
            call([1.0, math.nan])  # type: ignore[operator]

    def test_what_does_not_fit_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="only 0 and 1"):
            proportion([0.5])
        with pytest.raises(ValueError, match="2 samples, but clusters"):
            proportion([0, 1], ["a"])
        with pytest.raises(ValueError, match="same samples"):
            paired_difference([1, 0], [1])
        with pytest.raises(ValueError, match="both sides"):
            auc([1, 2], [0, 1], ["a", "b"])
        with pytest.raises(ValueError, match="between 0 and 1"):
            quantile([1, 2], 1.0)
        with pytest.raises(ValueError, match="one number per sample"):
            mean(np.ones((2, 2)))
        with pytest.raises(ValueError, match="not within"):
            mean([0.5, 1.5], bounds=(0, 1))
        with pytest.raises(ValueError, match="no samples"):
            bootstrap(np.zeros((0, 2)), lambda t: t[:, 0], n=0)


class TestCoverage:
    """A small part of benchmarks/coverage.py: the share of intervals that hold the truth is what `level` says."""

    REPETITIONS = 400

    def coverage(self, truth: float, estimates: list[Estimate]) -> float:
        return float(np.mean([e.low - 1e-12 <= truth <= e.high + 1e-12 for e in estimates]))

    # 400 draws at a true coverage of 0.95 fall below 0.92 once in 200 seeds; the seeds are fixed.
    @pytest.mark.parametrize(("p", "icc"), [(0.9, 0.1), (0.99, 0.5)])
    def test_clustered_proportion(self, p: float, icc: float) -> None:
        rng = np.random.default_rng(5)
        ids = np.repeat(np.arange(30), 10)
        a = 1 / icc - 1
        drawn = []
        naive = []
        for _ in range(self.REPETITIONS):
            hits = rng.random(300) < np.repeat(rng.beta(a * p, a * (1 - p), 30), 10)
            drawn.append(proportion(hits, ids))
            naive.append(proportion(hits))
        assert self.coverage(p, drawn) >= 0.92
        # What the clusters are for: without them it falls short.
        assert self.coverage(p, naive) < self.coverage(p, drawn) - 0.05

    def test_rare_one_sided_change(self) -> None:
        rng = np.random.default_rng(5)
        drawn = []
        for _ in range(self.REPETITIONS):
            up = rng.random(300) < 0.01
            drawn.append(paired_difference(up, np.zeros(300)))
        assert self.coverage(0.01, drawn) >= 0.92

    @pytest.mark.parametrize("area", [0.5, 0.8, 0.99])
    def test_auc_of_few_positives(self, area: float) -> None:
        rng = np.random.default_rng(5)
        shift = math.sqrt(2) * stats.norm.ppf(area)
        drawn = [auc(rng.normal(shift, 1, 30), rng.normal(0, 1, 270)) for _ in range(self.REPETITIONS)]
        assert self.coverage(area, drawn) >= 0.92

    def test_equal_groups_have_no_gap(self) -> None:
        rng = np.random.default_rng(5)
        drawn, naive = [], []
        for _ in range(self.REPETITIONS):
            group = rng.integers(0, 8, 800)
            hits = (rng.random(800) < 0.9).astype(float)
            t = totals(hits, group, 8)
            drawn.append(max_gap(t, list("abcdefgh"), draws=300).estimate)
            if len(naive) < 50:
                naive.append(bootstrap(t, self.gap, n=800, draws=200, correct_bias=False))
        assert self.coverage(0.0, drawn) >= 0.92
        # What max-t is for: the gap's own bootstrap never reaches 0.
        assert self.coverage(0.0, naive) < 0.1

    @staticmethod
    def gap(t: Array) -> Array:
        rates = t[..., 0] / t[..., 1]
        return np.asarray(rates.max(axis=1) - rates.min(axis=1))

    def test_bootstrap_of_a_ratio_by_clusters(self) -> None:
        rng = np.random.default_rng(5)
        drawn = []
        for _ in range(self.REPETITIONS):
            level = np.exp(0.5 * rng.normal(size=(30, 2)) - 0.125)
            t = (level[:, None] * rng.exponential(size=(30, 10, 2))).sum(axis=1)
            drawn.append(bootstrap(t, TestBootstrap.ratio, n=300, draws=400, seed=int(rng.integers(2**31))))
        assert self.coverage(1.0, drawn) >= 0.92

    def test_quantile(self) -> None:
        rng = np.random.default_rng(5)
        drawn = [quantile(rng.exponential(size=100), 0.9) for _ in range(self.REPETITIONS)]
        assert self.coverage(math.log(10), drawn) >= 0.92


def test_every_name_is_exported_once() -> None:
    from muroan import estimate

    assert len(set(estimate.__all__)) == len(estimate.__all__)
    assert all(hasattr(estimate, name) for name in estimate.__all__)


def test_start_up_leaves_heavy_modules_out() -> None:
    import subprocess
    import sys

    code = "import sys, muroan.estimate; print([m for m in ('scipy.stats', 'sklearn', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_pairs_of_groups_are_all_looked_at() -> None:
    # The extreme pair is found whatever the order of the groups.
    for order in itertools.permutations(range(3)):
        rates = np.array([0.9, 0.5, 0.7])[list(order)]
        hits = np.concatenate([ones(round(r * 100), 100) for r in rates]).astype(float)
        names = [f"g{k}" for k in order]
        gap = max_gap(totals(hits, np.repeat(np.arange(3), 100), 3), names)
        assert (gap.highest, gap.lowest) == ("g0", "g1")
        assert gap.estimate.value == pytest.approx(0.4)
