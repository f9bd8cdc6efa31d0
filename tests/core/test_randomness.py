"""Draws that belong to a sample: functions of its key alone, uniform, never on the border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muroan.randomness import _GOLDEN, choose, integers, key, normal, sample_keys, seeded, uniform

WORD = 2**64


def key_that_draws(word: int) -> np.ndarray:
    """The key whose first raw draw is `word`: every step of the mixing function undone."""

    def unshifted(x: int, by: int) -> int:
        out = x
        for _ in range(64 // by + 1):
            out = x ^ (out >> by)
        return out

    x = unshifted(word, 31)
    x = unshifted(x * pow(0x94D049BB133111EB, -1, WORD) % WORD, 27)
    x = unshifted(x * pow(0xBF58476D1CE4E5B9, -1, WORD) % WORD, 30)
    return np.array([(x - int(_GOLDEN)) % WORD], dtype=np.uint64)


def test_a_key_is_the_same_on_every_machine():
    assert key("probe", 3, "a") == 14014129621250520448
    assert key("a", "b") != key("ab")
    assert key("a", "b") != key("b", "a")


def test_keys_differ_by_sample_and_by_purpose():
    ids = [f"s{i}" for i in range(500)]
    assert len({*sample_keys(ids, "x"), *sample_keys(ids, "y"), *sample_keys(ids, "x", 0)}) == 1500


@pytest.mark.parametrize("draw", [lambda k: uniform(k, 3, 4), lambda k: normal(k, 3, 4), lambda k: integers(k, 9, 3)])
def test_a_draw_depends_on_its_key_and_not_on_the_batch(draw):
    keys = sample_keys([f"s{i}" for i in range(20)], "alone or not")
    together = draw(keys)
    assert together.shape[0] == 20
    order = np.random.default_rng(0).permutation(20)
    assert np.array_equal(draw(keys[order]), together[order])
    assert np.array_equal(np.concatenate([draw(keys[i : i + 1]) for i in range(20)]), together)


def test_a_longer_draw_begins_with_the_shorter_one():
    keys = sample_keys(["a", "b"], 0)
    assert np.array_equal(uniform(keys, 10)[:, :4], uniform(keys, 4))


@pytest.mark.parametrize("seed", range(3))
def test_draws_are_uniform_within_a_sample_and_over_samples(seed):
    keys = sample_keys([f"s{i}" for i in range(4000)], "ks", seed)
    assert stats.kstest(uniform(keys[:1], 4000)[0], "uniform").pvalue > 1e-3
    assert stats.kstest(uniform(keys), "uniform").pvalue > 1e-3
    assert stats.kstest(normal(keys), "norm").pvalue > 1e-3
    # Of one key to the next nothing is to be seen: neither in the counter nor over samples.
    first, second = uniform(keys, 2).T
    assert abs(stats.spearmanr(first, second).statistic) < 4 / np.sqrt(4000)
    assert abs(stats.spearmanr(first[1:], first[:-1]).statistic) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("word", [0, WORD - 1])
def test_the_extreme_words_stay_inside_the_open_interval(word):
    keys = key_that_draws(word)
    assert 0 < uniform(keys)[0] < 1
    assert np.isfinite(normal(keys)).all()
    assert 0 <= integers(keys, 10)[0] < 10
    assert uniform(keys)[0] == pytest.approx(word / WORD, abs=1e-15)


@settings(max_examples=30, deadline=None)
@given(high=st.integers(1, 1000), seed=st.integers(0, 10**6))
def test_integers_stay_in_range(high, seed):
    drawn = integers(sample_keys([f"s{i}" for i in range(50)], seed), high, 20)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < high


def test_integers_reach_every_value_equally_and_take_a_bound_a_row():
    keys = sample_keys([f"s{i}" for i in range(200)], "dice")
    counts = np.bincount(integers(keys, 6, 60).ravel(), minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-3
    bounds = np.arange(1, 201)[:, None]
    drawn = integers(keys, bounds, 50)
    assert (drawn < bounds).all()
    assert (drawn[0] == 0).all()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 40), k=st.integers(0, 45), m=st.integers(0, 45), seed=st.integers(0, 10**6))
def test_a_choice_is_nested_and_does_not_depend_on_the_order(n, k, m, seed):
    ids = [f"s{i}" for i in range(n)]
    few, many = sorted((k, m))
    small, large = choose(ids, few, seed), choose(ids, many, seed)
    assert len(small) == min(few, n) == len(set(small))
    assert small == sorted(small)
    assert set(small) <= set(large)
    turned = ids[::-1]
    assert {turned[i] for i in choose(turned, few, seed)} == {ids[i] for i in small}


def test_every_sample_is_chosen_equally_often():
    ids = [f"s{i}" for i in range(10)]
    counts = np.zeros(10)
    for seed in range(2000):
        counts[choose(ids, 3, "fair", seed)] += 1
    assert counts.sum() == 6000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_torch_draws_by_purpose_and_goes_on_as_if_nothing_was_drawn():
    import torch

    def drawn(*purpose: object) -> torch.Tensor:
        with seeded(*purpose):
            return torch.rand(3)

    torch.manual_seed(5)
    without = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(drawn("a", 1), drawn("a", 1))
    assert not torch.equal(drawn("a", 1), drawn("a", 2))
    assert torch.equal(torch.rand(2), without)
