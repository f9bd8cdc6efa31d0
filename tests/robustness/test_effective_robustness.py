"""The line of baselines, and how far a model lies above it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muroan.errors import AskedWrongly
from muroan.robustness.distribution_shift.effective_robustness import (
    effective_robustness_line,
    line,
    relative_robustness_delta,
    useful,
)
from muroan.robustness.distribution_shift.two_test_sets import ModelOutcomes

G4B = ([0.60, 0.70, 0.80, 0.90], [0.40, 0.52, 0.65, 0.80])


def test_the_golden_fit_of_four_baselines() -> None:
    found = line(*G4B)
    assert (round(found.slope, 6), round(found.intercept, 6), round(found.r, 6)) == (0.995483, -0.783632, 0.999471)
    assert found.n == 4
    assert round(100 * float(found.expected(0.85)), 4) == 71.9732
    assert round(100 * float(found.excess(0.85, 0.75)), 4) == 3.0268


@pytest.mark.parametrize("transform", ["logit", "probit", "linear"])
def test_what_lies_on_the_line_has_no_excess(transform: str) -> None:
    found = line(*G4B, transform=transform)
    assert float(found.excess(0.75, found.expected(0.75))) == pytest.approx(0)


def test_the_linear_line_is_that_of_the_accuracies_themselves() -> None:
    found = line([0.5, 0.6, 0.8], [0.4, 0.45, 0.55], transform="linear")
    assert (found.slope, found.intercept) == (pytest.approx(0.5), pytest.approx(0.15))


@pytest.mark.parametrize(
    ("clean", "shifted", "says"),
    [
        ([60, 70, 80], [40, 50, 60], "percent"),
        ([0.6, 0.7], [0.4, 0.5], "at least 3"),
        ([0.6, 0.6, 0.6], [0.4, 0.5, 0.6], "all equal"),
        ([0.6, 0.7, 0.8], [0.4, 0.5], "one shifted"),
    ],
)
def test_a_line_that_cannot_be_is_refused(clean: list[float], shifted: list[float], says: str) -> None:
    with pytest.raises(AskedWrongly, match=says):
        line(clean, shifted)


def test_an_unknown_transform_is_refused() -> None:
    with pytest.raises(AskedWrongly, match="logit"):
        line(*G4B, transform="logits")


def test_all_right_and_none_right_are_not_infinite() -> None:
    found = line([0.0, 0.5, 1.0], [0.0, 0.4, 1.0])
    assert all(map(math.isfinite, (found.slope, found.intercept, float(found.expected(1.0)))))


def test_extrapolation_and_a_low_r_are_said() -> None:
    good = line(*G4B)
    assert not good.extrapolates(0.75)
    assert good.extrapolates([0.75, 0.95])
    assert len(good.notes(0.75)) == 1
    assert "extrapolated" in good.notes(0.95)[-1]
    poor = line([0.6, 0.7, 0.8, 0.9], [0.5, 0.7, 0.4, 0.6])
    assert any("explains little" in note for note in poor.notes(0.75))


def drawn(
    accuracies: list[tuple[float, float]], n: int = 2000, seed: int = 0, clusters: bool = False, models: int = 2
) -> tuple[ModelOutcomes, ModelOutcomes]:
    """Baselines and the last models, with outcomes at these accuracies; one difficulty a sample for all models."""
    rng = np.random.default_rng(seed)
    hard = rng.permutation(n) / n
    ways = (hard, rng.permutation(n) / n)
    clean, shifted = (np.array([way < a[k] for a in accuracies], dtype=float) for k, way in enumerate(ways))
    names = [str(i // 4) for i in range(n)] if clusters else None
    parts = slice(None, -models), slice(-models, None)
    first, second = (ModelOutcomes(clean[p], shifted[p], names, names) for p in parts)
    return first, second


ON_LINE = [
    (0.60, 0.45),
    (0.66, 0.51),
    (0.70, 0.55),
    (0.75, 0.62),
    (0.80, 0.68),
    (0.84, 0.72),
    (0.88, 0.79),
    (0.9, 0.82),
]


def test_a_planted_gain_is_found_and_a_plain_model_has_none() -> None:
    helped = effective_robustness_line(*drawn([*ON_LINE, (0.78, 0.76), (0.82, 0.80)]))
    assert helped.rho.value == pytest.approx(0.10, abs=0.02)
    assert min(e.low for e in (helped.rho.models, helped.rho.samples, helped.rho.both)) > 0.03
    assert helped.rho.both.width >= max(helped.rho.models.width, helped.rho.samples.width) * 0.9
    assert (helped.line.n, helped.extrapolates) == (8, False)
    assert helped.slope.low < helped.line.slope < helped.slope.high
    plain = effective_robustness_line(*drawn([*ON_LINE, (0.78, 0.655), (0.82, 0.70)]))
    assert plain.rho.both.low < 0 < plain.rho.both.high


def test_one_model_is_enough_and_says_where_it_lies_outside() -> None:
    base, two = drawn([*ON_LINE, (0.95, 0.9), (0.95, 0.9)])
    one = ModelOutcomes(two.tables[0][:1], two.tables[1][:1])
    found = effective_robustness_line(base, one)
    assert found.extrapolates
    assert any("extrapolated" in n for n in found.notes)
    assert found.rho.value == pytest.approx(float(found.line.excess(0.95, 0.9)))


def test_what_is_gained_over_the_same_models_before() -> None:
    base, after = drawn([(0.7, 0.5), (0.75, 0.55), (0.7, 0.62), (0.75, 0.65)])
    tau = relative_robustness_delta(base, after)
    assert tau.value == pytest.approx(0.11)
    assert tau.samples.low > 0.08
    single = relative_robustness_delta(
        ModelOutcomes(base.tables[0][:1], base.tables[1][:1]), ModelOutcomes(after.tables[0][:1], after.tables[1][:1])
    )
    assert (single.models.low, single.both.low) == (-math.inf, -math.inf)
    assert single.samples.low > 0.08


def test_useful_is_above_the_line_and_above_the_models_before() -> None:
    helped = [(0.70, 0.65), (0.72, 0.67), (0.78, 0.76), (0.82, 0.80)]
    plain = [(0.70, 0.55), (0.72, 0.58), (0.78, 0.66), (0.82, 0.70)]
    base, after = drawn([*ON_LINE, *helped], models=4)
    _, before = drawn([*ON_LINE, *plain], models=4)
    rho, tau = effective_robustness_line(base, after).rho, relative_robustness_delta(before, after)
    assert useful(rho, tau)
    assert not useful(rho, relative_robustness_delta(before, before))


def test_equal_clusters_are_drawn_together() -> None:
    base, two = drawn([*ON_LINE, (0.78, 0.76), (0.82, 0.80)], clusters=True)
    found = effective_robustness_line(base, two)
    assert (found.rho.samples.clusters, found.rho.samples.n) == (500, 4000)
    # The same samples under a shift that changes nothing: both accuracies move together, and rho stays.
    same = ModelOutcomes(base.tables[0], base.tables[0], base.clean_clusters, base.clean_clusters)
    unshifted = effective_robustness_line(
        same, ModelOutcomes(two.tables[0], two.tables[0], two.clean_clusters, two.clean_clusters)
    )
    assert unshifted.rho.samples.width == pytest.approx(0, abs=1e-9)
    assert unshifted.line.slope == pytest.approx(1)


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = (effective_robustness_line(*drawn([*ON_LINE, (0.78, 0.76), (0.82, 0.8)]), draws=200) for _ in range(2))
    assert a == b


@pytest.mark.parametrize(
    "bad",
    [
        lambda: ModelOutcomes([[1, 0]], [[1, 0], [0, 1]]),
        lambda: ModelOutcomes([[50, 60]], [[40, 50]]),
        lambda: ModelOutcomes([[1, 0]], [[1, 0]], ["a", "b"], None),
        lambda: ModelOutcomes([[1, 0]], [[1, 0]]).joined(ModelOutcomes([[1, 0, 1]], [[1, 0]])),
        lambda: relative_robustness_delta(ModelOutcomes([[1, 0]], [[1, 0]]), ModelOutcomes([[1, 0]] * 2, [[1, 0]] * 2)),
    ],
)
def test_outcomes_that_do_not_fit_are_refused(bad: object) -> None:
    with pytest.raises(AskedWrongly):
        bad()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("shift", "slope", "intercept", "r", "greedy", "uniform"),
    [
        ("ImageNetV2", 0.746420, -0.268857, 0.932630, 0.2385, 0.2749),
        ("ImageNetR", 0.654296, -0.430458, 0.233538, 1.5030, 4.8729),
        ("ImageNetSketch", 0.961922, -1.544955, 0.533994, 1.4811, 3.0140),
        ("ObjectNet", 0.419291, -0.869612, 0.221259, 1.3825, 3.1285),
        ("ImageNetA", 0.651096, -2.003504, 0.154409, 2.1300, 4.2374),
    ],
)
def test_the_line_of_71_published_models(
    shift: str, slope: float, intercept: float, r: float, greedy: float, uniform: float
) -> None:
    """On a copy of github.com/mlfoundations/model-soups (MIT), whose *_results.jsonl are not ours to ship."""
    copy = os.environ.get("MUROAN_MODEL_SOUPS")
    if copy is None:
        pytest.skip("MUROAN_MODEL_SOUPS names no copy of mlfoundations/model-soups")

    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (Path(copy) / f"{name}_results.jsonl").read_text().splitlines()]

    models = [m for m in read("individual_model") if m["model_name"] != "model_0"]
    found = line([m["ImageNet"] for m in models], [m[shift] for m in models])
    assert (found.n, round(found.slope, 6), round(found.intercept, 6), round(found.r, 6)) == (71, slope, intercept, r)
    for name, points in (("greedy_soup", greedy), ("uniform_soup", uniform)):
        (soup,) = read(name)
        assert round(100 * float(found.excess(soup["ImageNet"], soup[shift])), 4) == points
