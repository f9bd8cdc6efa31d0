"""Areas under curves, excess over a baseline, and the worst of several shifts."""

from __future__ import annotations

import numpy as np
import pytest

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, mean
from muroan.estimate.curves import area_estimate, compared, curve_area, curve_excess_over_baseline, excess_estimate
from muroan.robustness.distribution_shift.missing_objects import detected, detection_score, missing_object_rate
from muroan.robustness.distribution_shift.worst_shift import worst_shift

LEVELS = np.linspace(0, 1, 11)


def outcomes(n: int, seed: int, loss: float = 0.4) -> np.ndarray:
    """Right or wrong of n samples at eleven levels: each is right up to a level of its own."""
    lost = np.random.default_rng(seed).random((n, 1))
    return (lost > 0.1 + loss * LEVELS).astype(float)


def test_golden_areas() -> None:
    assert curve_area(np.ones(11), LEVELS) == pytest.approx(1)
    assert curve_area(1 - 0.05 * np.arange(11), LEVELS) == pytest.approx(0.75)
    late = 1 - 0.03 * np.arange(11)
    assert curve_excess_over_baseline(late, late) == 0
    assert curve_excess_over_baseline(late - 0.2, late) == pytest.approx(0)
    assert curve_excess_over_baseline(np.full(11, 0.8), late) == pytest.approx(0.03 * 55)


def test_estimates_are_those_of_the_mean_curve_and_hold_the_truth() -> None:
    table, base = outcomes(400, 0), outcomes(400, 1, 0.6)
    area = area_estimate(table, LEVELS)
    assert area.value == pytest.approx(curve_area(table.mean(axis=0), LEVELS))
    assert (area.low < 0.7 < area.high, area.n) == (True, 400)
    excess = excess_estimate(table, base)
    assert excess.value == pytest.approx(curve_excess_over_baseline(table.mean(axis=0), base.mean(axis=0)))
    own = excess_estimate(base, base)
    assert (own.value, own.low, own.high) == (0, 0, 0)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    areas = [area_estimate(outcomes(200, seed), LEVELS) for seed in range(200)]
    assert 180 <= sum(e.low <= 0.7 <= e.high for e in areas) <= 199
    excesses = [excess_estimate(outcomes(200, seed), outcomes(200, 1000 + seed, 0.6)) for seed in range(200)]
    truth = 0.2 * float(LEVELS.sum())
    assert 180 <= sum(e.low <= truth <= e.high for e in excesses) <= 199


def test_samples_of_a_cluster_tell_less() -> None:
    table = np.repeat(outcomes(100, 0), 4, axis=0)
    alone, together = area_estimate(table, LEVELS), area_estimate(table, LEVELS, np.repeat(np.arange(100), 4))
    assert (together.clusters, together.n) == (100, 400)
    assert together.width > 1.5 * alone.width


def test_normalised_values_depend_on_who_is_compared_and_raw_ones_do_not() -> None:
    three = {name: mean([v - 0.01, v + 0.01]) for name, v in (("a", 0.6), ("b", 0.7), ("c", 0.9))}
    found = compared(three)
    assert found.normalised == pytest.approx({"a": 0, "b": 1 / 3, "c": 1})
    two = compared({n: three[n] for n in "bc"})
    assert two.normalised["b"] == 0
    assert two.raw["b"] == found.raw["b"] == three["b"]
    assert compared(three, better="lower").normalised == pytest.approx({"a": 1, "b": 2 / 3, "c": 0})
    assert compared({"a": three["a"]}).normalised == {"a": 1}


def test_curves_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AskedWrongly):
        excess_estimate(outcomes(4, 0), outcomes(5, 0))
    with pytest.raises(AskedWrongly):
        area_estimate(np.ones(11), LEVELS)
    with pytest.raises(AskedWrongly):
        compared({})


def test_the_worst_shift_is_found_and_equal_ones_do_not_look_bad() -> None:
    rng = np.random.default_rng(0)
    sets = {"sketch": rng.random(300) < 0.8, "fog": rng.random(500) < 0.5, "v2": rng.random(200) < 0.82}
    found = worst_shift({n: h.astype(float) for n, h in sets.items()})
    assert found.shift == "fog"
    assert found.accuracy.value == sets["fog"].mean()
    assert found.accuracy.low < 0.5 < found.accuracy.high
    missed = 0
    for seed in range(60):
        equal = np.random.default_rng(seed).random((12, 150)) < 0.7
        estimate: Estimate = worst_shift({str(k): h.astype(float) for k, h in enumerate(equal)}).accuracy
        missed += not estimate.low <= 0.7 <= estimate.high
    assert missed <= 6  # 5 % of 60, and chance


def test_a_sample_under_several_shifts_is_one_cluster() -> None:
    hits = (np.random.default_rng(0).random(300) < 0.7).astype(float)
    names = [str(i) for i in range(300)]
    found = worst_shift({"a": hits, "b": hits}, {"a": names, "b": names}).accuracy
    assert (found.clusters, found.n) == (300, 600)
    with pytest.raises(AskedWrongly):
        worst_shift({"a": hits}, {"b": names})
    with pytest.raises(AskedWrongly):
        worst_shift({})


def test_missing_objects_of_planted_counts() -> None:
    rng = np.random.default_rng(0)
    reference = rng.poisson(4, 300) + 1.0
    found = missing_object_rate(rng.binomial(reference.astype(int), 0.7), reference)
    assert found.low < 0.3 < found.high
    assert found.width < 0.1
    none = missing_object_rate(np.zeros(50), np.ones(50))
    assert none.value == 1
    assert 0.8 < none.low < 1  # fifty prompts do not make it certain
    assert missing_object_rate(2 * reference, reference).value == -1
    assert missing_object_rate(reference, reference).value == 0


def test_objects_are_boxes_from_the_threshold_on() -> None:
    counts, scores = detected([[[0.9, 0.69], [0.7]], [[0.2]]])
    assert counts.tolist() == [1.0, 0.0]
    assert scores.tolist() == pytest.approx([0.8, 0.0])
    assert detection_score(counts, scores).value == pytest.approx(0.8)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: missing_object_rate([1, 2], [0, 0]),
        lambda: missing_object_rate([1, 2], [1]),
        lambda: missing_object_rate([-1.0], [1]),
        lambda: detection_score([0], [0]),
        lambda: detected([[]]),
    ],
)
def test_counts_that_mean_nothing_are_refused(bad: object) -> None:
    with pytest.raises(AskedWrongly):
        bad()  # type: ignore[operator]
