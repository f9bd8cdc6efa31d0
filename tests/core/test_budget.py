"""Budgets: what is refused, what scaling does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muroan import Budget
from muroan.budget import usual
from muroan.errors import AskedWrongly


def test_a_budget_of_nothing_is_empty_and_any_other_is_not():
    assert Budget().empty
    assert Budget(norm="2").empty
    assert not any(b.empty for b in (Budget(radius=0.1), Budget(words=1), Budget(share=0.01)))


def test_the_norm_as_a_number():
    assert Budget(norm="inf").p == math.inf
    assert Budget(norm="2").p == 2.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": "1"},
        {"radius": -0.1},
        {"words": -1},
        {"share": -0.5},
        {"share": 1.01},
        {"radius": math.nan},
        {"share": math.nan},
    ],
)
def test_what_is_no_budget_is_refused(wrong):
    with pytest.raises(AskedWrongly):
        Budget(**wrong)


def test_an_unbounded_radius_is_a_budget():
    assert Budget(radius=math.inf).radius == math.inf


def test_words_are_rounded_down_and_shares_stop_at_all():
    half = Budget(radius=0.3, norm="2", words=5, share=0.8).scaled(0.5)
    assert half == Budget(radius=0.15, norm="2", words=2, share=0.4)
    assert Budget(share=0.8).scaled(2).share == 1.0
    assert Budget(radius=0.3, words=5, share=0.8).scaled(0).empty


@pytest.mark.parametrize(("words", "factor", "expected"), [(100, 0.29, 29), (3, 1 / 3, 1), (10, 0.3, 3), (10, 0.39, 3)])
def test_words_are_rounded_down_from_the_product_not_from_its_floating_point_error(words, factor, expected):
    assert Budget(words=words).scaled(factor).words == expected


@given(radius=st.floats(0, 100), words=st.integers(0, 50), share=st.floats(0, 1), a=st.floats(0, 3), b=st.floats(0, 3))
def test_a_larger_factor_never_gives_a_smaller_budget(radius, words, share, a, b):
    budget = Budget(radius=radius, words=words, share=share)
    small, large = budget.scaled(min(a, b)), budget.scaled(max(a, b))
    assert small.radius <= large.radius
    assert small.words <= large.words
    assert small.share <= large.share
    assert budget.scaled(1) == budget


def test_usual_budgets_are_by_kind_and_given_radii_outweigh_them():
    kinds = {"picture": "image", "note": "text", "row": "tabular", "sound": "audio"}
    assert usual(kinds) == {"picture": Budget(radius=8 / 255), "sound": Budget(radius=0.01)}
    found = usual(kinds, radii=[("row", 0.1), ("picture", 0.0)], words=2, norm="2")
    assert found == {
        "note": Budget(words=2),
        "row": Budget(radius=0.1, norm="2"),
        "sound": Budget(radius=0.01, norm="2"),
    }
