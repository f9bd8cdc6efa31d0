"""Verdicts: the whole interval on one side of the limit, and decisions that survive the false-discovery control."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from muroan.estimate import Estimate, mean, proportion
from muroan.finding import Finding, Limit, Metric, Verdict, judge


def estimate(low: float, value: float, high: float, n: int = 100) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n, method="test")


def finding(e: Estimate | None, limit: Limit | None, **more) -> Finding:
    return Finding(probe="p", metric="m", title="t", estimate=e, limit=limit, **more)


def verdict(e: Estimate | None, limit: Limit | None) -> Verdict:
    return judge([finding(e, limit)])[0].verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "at_most", "at_least"),
    [
        (0.0, 0.05, 0.1, Verdict.PASS, Verdict.FAIL),
        (0.4, 0.5, 0.6, Verdict.FAIL, Verdict.PASS),
        (0.1, 0.2, 0.4, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (0.29, 0.31, 0.4, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (-math.inf, 0.0, math.inf, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (0.0, 0.0, 0.0, Verdict.PASS, Verdict.FAIL),
        (0.5, 0.5, 0.5, Verdict.FAIL, Verdict.PASS),
    ],
)
def test_verdicts_by_hand_at_a_limit_of_three_tenths(low, value, high, at_most, at_least):
    e = estimate(low, value, high)
    assert verdict(e, Limit(max=0.3)) is at_most
    assert verdict(e, Limit(min=0.3)) is at_least


def test_a_value_known_exactly_that_equals_its_limit_keeps_it():
    assert verdict(estimate(0.3, 0.3, 0.3), Limit(max=0.3)) is Verdict.PASS
    assert verdict(estimate(0.3, 0.3, 0.3), Limit(min=0.3)) is Verdict.PASS


def test_without_a_limit_or_a_figure_nothing_is_judged():
    assert verdict(estimate(0, 0.5, 1), None) is Verdict.MEASURED
    lacking = finding(None, Limit(max=0.3), verdict=Verdict.NOT_APPLICABLE, reason="needs gradients")
    assert judge([lacking]) == [lacking]
    assert judge([]) == []


def test_limits_in_words_and_where_they_come_from():
    assert str(Limit(max=0.05)) == "at most 0.05"
    assert str(Limit(min=0.9)) == "at least 0.9"
    lower = Metric(name="m", says="s").limited(0.1)
    higher = Metric(name="m", says="s", better="higher").limited(0.1, "gate")
    assert (lower.max, lower.min, lower.source) == (0.1, None, "default")
    assert (higher.max, higher.min, higher.source) == (None, 0.1, "gate")


@pytest.mark.parametrize("wrong", [{"most": 0.1}, {}, {"max": 0.1, "min": 0.0}, {"max": math.nan}, {"min": math.inf}])
def test_what_is_no_limit_is_refused(wrong):
    with pytest.raises(ValidationError):
        Limit(**wrong)


def test_a_key_names_what_qualifies_the_finding():
    plain = finding(None, None)
    assert plain.key == "p/m"
    assert plain.model_copy(update={"condition": "without image"}).key == "p/m[condition=without image]"
    full = plain.model_copy(update={"modality": "image", "group": "sex=f", "condition": "noise"})
    assert full.key == "p/m[modality=image,group=sex=f,condition=noise]"


def test_one_borderline_finding_among_many_is_taken_back():
    borderline = finding(estimate(0.301, 0.35, 0.399), Limit(max=0.3))
    clear = finding(estimate(0.05, 0.06, 0.07), Limit(max=0.3))
    noise = [finding(estimate(0.2, 0.3 + 0.001 * k, 0.4), Limit(max=0.3)) for k in range(20)]
    assert judge([borderline])[0].verdict is Verdict.FAIL
    judged = judge([borderline, clear, *noise])
    assert judged[0].verdict is Verdict.UNDECIDED
    assert judged[0].adjusted_p > 0.05
    assert judged[1].verdict is Verdict.PASS
    assert all(f.verdict is Verdict.UNDECIDED for f in judged[2:])


def test_adjusted_values_are_those_of_benjamini_and_hochberg():
    from scipy.stats import false_discovery_control, norm

    half = 0.1
    gaps = [0.25, 0.2, 0.15, 0.05]
    found = judge([finding(estimate(0.5 - g - half, 0.5 - g, 0.5 - g + half), Limit(max=0.5)) for g in gaps])
    p = [2 * norm.sf(g / half * norm.ppf(0.975)) for g in gaps]
    assert [f.adjusted_p for f in found] == pytest.approx(list(false_discovery_control(p)))


def test_an_undecided_finding_says_how_many_more_samples_would_decide():
    # The half-width must shrink by 2: four times the samples, three times as many more.
    found = judge([finding(estimate(0.0, 0.2, 0.4, n=100), Limit(max=0.3))])[0]
    assert found.more_samples == pytest.approx(300, abs=1)
    assert judge([finding(estimate(0.0, 0.05, 0.1), Limit(max=0.3))])[0].more_samples is None


def test_a_value_that_all_but_equals_its_limit_is_undecided_for_good():
    found = judge([finding(estimate(-1, 0.0, 1), Limit(max=-1e-200))])[0]
    assert (found.verdict, found.more_samples) == (Verdict.UNDECIDED, None)


intervals = st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)).map(
    lambda t: estimate(t[0] - t[1], t[0], t[0] + t[2])
)


@settings(max_examples=200, deadline=None)
@given(found=st.lists(st.tuples(intervals, st.floats(-1, 1), st.booleans()), max_size=8))
def test_a_decision_always_has_the_interval_on_its_side_and_order_does_not_matter(found):
    findings = [finding(e, Limit(max=v) if side else Limit(min=v)) for e, v, side in found]
    judged = judge(findings)
    for before, after in zip(findings, judged, strict=True):
        assert after.estimate == before.estimate
        if after.verdict is Verdict.PASS:
            assert after.limit.keeps(after.estimate)
        if after.verdict is Verdict.FAIL:
            assert after.limit.breaks(after.estimate)
        if not (after.limit.keeps(after.estimate) or after.limit.breaks(after.estimate)):
            assert after.verdict is Verdict.UNDECIDED
    turned = judge(findings[::-1])[::-1]
    assert [f.verdict for f in turned] == [f.verdict for f in judged]


def test_false_discoveries_stay_at_their_level():
    """Forty rates that sit exactly on their limits: any decision is false, and few audits make one."""
    rng = np.random.default_rng(0)
    wrong = [
        any(
            f.verdict in (Verdict.PASS, Verdict.FAIL)
            for f in judge([finding(mean(rng.normal(0.5, 1, 200)), Limit(max=0.5)) for _ in range(40)])
        )
        for _ in range(100)
    ]
    assert proportion(wrong).low <= 0.05


def test_a_finding_survives_its_file():
    found = judge([finding(estimate(0, 0.5, math.inf), Limit(max=0.3), controls={"chance": estimate(0, 0, 0)})])[0]
    assert Finding.model_validate_json(found.model_dump_json()) == found
