"""Numbers as a reader expects them, known answers one by one."""

from __future__ import annotations

import math

import pytest

from muroan.estimate import Estimate
from muroan.finding import Limit
from muroan.report import figures, words


def estimate(value: float, low: float, high: float, n: int = 100, clusters: int | None = None) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n, method="known", clusters=clusters)


def plain(text: str) -> str:
    return text.replace(figures.THIN, " ")


@pytest.mark.parametrize(
    ("found", "unit", "text"),
    [
        (estimate(0.345, 0.312, 0.379), "share", "34.5 % [31.2, 37.9]"),
        (estimate(1.0, 0.98, 1.0), "accuracy", "100.0 % [98.0, 100.0]"),
        (estimate(0.00012, 0.0001, 0.0004), "share", "0.012 % [0.010, 0.040]"),
        (estimate(-0.05, -0.1, 0.0), "points", "−5.0 points [−10.0, 0.0]"),
        (estimate(0.9021, 0.881, 0.9212), "number", "0.902 [0.881, 0.921]"),
        (estimate(3.4, 3.2, 3.6), "number", "3.40 [3.20, 3.60]"),
        (estimate(1234.0, 1100.0, 1300.0), "number", "1234 [1100, 1300]"),
        (estimate(0.5, -math.inf, math.inf), "share", "50.0 % [−∞, ∞]"),
        (estimate(0.7, -math.inf, 0.9), "nats", "0.700 nats [−∞, 0.900]"),
        (estimate(0.0, 0.0, 0.0), "share", "0.0 % [0.0, 0.0]"),
    ],
)
def test_value_and_interval(found: Estimate, unit: str, text: str) -> None:
    assert plain(figures.both(found, unit)) == text


def test_no_negative_zero() -> None:
    assert figures.plain(-0.0001, 1) == "0.0"


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0"), (999, "999"), (9999, "9999"), (12345, "12 345"), (1234567, "1 234 567")]
)
def test_counts(n: int, text: str) -> None:
    assert plain(figures.count(n)) == text


def test_n_says_its_clusters() -> None:
    assert plain(figures.samples(estimate(0.5, 0.4, 0.6, 12000, 250), "image")) == "n = 12 000 in 250 clusters by image"
    assert plain(figures.samples(estimate(0.5, 0.4, 0.6))) == "n = 100"


def test_limits() -> None:
    assert plain(figures.limit(Limit(max=0.05), "share")) == "at most 5 %"
    assert plain(figures.limit(Limit(min=0.9), "number")) == "at least 0.9"
    assert plain(figures.limit(Limit(max=0.125), "points")) == "at most 12.5 points"


@pytest.mark.parametrize(
    ("s", "text"), [(0.012, "12 ms"), (3.21, "3.2 s"), (138.0, "138.0 s"), (900, "15 min"), (9000, "2.5 h")]
)
def test_seconds(s: float, text: str) -> None:
    assert plain(figures.seconds(s)) == text


def test_a_column_has_the_same_decimals() -> None:
    assert figures.alike([0.397, 0.00667]) == 3
    assert figures.alike([120.0, 3.5]) == 0
    assert figures.alike([]) == figures.alike([0.0, math.nan]) == 0


def test_an_accuracy_beside_a_difference_is_a_share() -> None:
    level, change = estimate(0.993, 0.958, 0.999), estimate(0.1, 0.05, 0.2)
    assert words.unit_of_control("points", "accuracy, reference", level) == "share"
    assert words.unit_of_control("points", "confidence without", level) == "share"
    assert words.unit_of_control("points", "confidence lost", change) == "points"
    assert words.unit_of_control("points", "null change", change) == "points"
    assert words.unit_of_control("nats", "accuracy", level) == "nats"
