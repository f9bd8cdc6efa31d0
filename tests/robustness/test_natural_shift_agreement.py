"""Rank agreement over models: the same as SciPy's, exact where it can be, and not fooled by the best of many."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from muroan.errors import AskedWrongly
from muroan.robustness.distribution_shift.natural_shift.agreement import agreement_by_change, rank_agreement


def test_it_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 12, 40):
        a, b = rng.integers(0, 4, n) + 0.0, rng.normal(size=n)
        found = rank_agreement(a, b)
        assert found.estimate.value == pytest.approx(spearmanr(a, b).statistic)
        assert found.estimate.low <= found.estimate.value <= found.estimate.high
        assert found.estimate.n == n
        assert found.p == found.adjusted


def test_a_perfect_order_is_1_whatever_its_scale_and_its_p_is_that_of_permutations() -> None:
    x = np.arange(10.0)
    assert rank_agreement(x, np.exp(x)).estimate.value == 1.0
    assert rank_agreement(x, -x).estimate.value == -1.0
    assert rank_agreement(x, x).p < 0.002
    # Of the 24 orders of four models two are perfect, one either way.
    assert rank_agreement(x[:4], x[:4], draws=20_000).p == pytest.approx(2 / 24, abs=0.01)


def test_with_no_relation_p_is_uniform_and_the_best_of_many_is_no_surprise() -> None:
    rng = np.random.default_rng(1)
    ones, best = [], []
    for _ in range(120):
        natural = rng.normal(size=10)
        changes = {str(k): rng.normal(size=10) for k in range(12)}
        found = agreement_by_change(changes, natural, draws=200)
        first = next(iter(found.values()))
        assert first.estimate.value == max((f.estimate.value for f in found.values()), key=abs)
        ones.append(found["0"].p <= 0.1)
        best.append(first.adjusted <= 0.1)
        assert first.adjusted >= first.p
    assert 0.03 < np.mean(ones) < 0.2
    assert 0.03 < np.mean(best) < 0.2


def test_what_predicts_is_found_among_many() -> None:
    rng = np.random.default_rng(2)
    natural = rng.normal(size=12)
    changes = {f"noise {k}": rng.normal(size=12) for k in range(20)} | {"blur": natural + 0.1 * rng.normal(size=12)}
    found = agreement_by_change(changes, natural)
    assert next(iter(found)) == "blur"
    assert found["blur"].adjusted < 0.01
    assert found["blur"].estimate.low > 0.5


def test_what_has_no_order_is_refused() -> None:
    with pytest.raises(AskedWrongly, match="3 models"):
        rank_agreement([1, 2, 3], [1, 2, 3])
    with pytest.raises(AskedWrongly, match="no order"):
        rank_agreement([1, 1, 1, 1], [1, 2, 3, 4])
    with pytest.raises(AskedWrongly, match="one finite number a model"):
        rank_agreement([1, 2, 3, 4, 5], [1, 2, 3, 4])
    assert list(agreement_by_change({"a": [0, 0, 0, 0], "b": [1, 2, 3, 4]}, [1, 2, 3, 4])) == ["b"]
