"""A figure with its uncertainty, and what may be concluded from it against a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import pydantic
from scipy.special import ndtr, ndtri


def _json(bound: float) -> float | Literal["Infinity", "-Infinity"]:
    if math.isfinite(bound):
        return bound
    return "Infinity" if bound > 0 else "-Infinity"


# JSON has no infinite numbers; these words are what JavaScript's Number() and pydantic read back as infinite.
Bound = Annotated[float, pydantic.PlainSerializer(_json, float | Literal["Infinity", "-Infinity"], when_used="json")]


# Methods whose bounds solve Wilson's equation on the scale from 0 to 1.
_WILSON = ("Wilson", "Wilson, cluster-robust")


class Estimate(pydantic.BaseModel, frozen=True):
    """A figure, its confidence interval [low, high] at `level`, and what it rests on.

    `n` is the true number of samples (never an effective one), `clusters` the number of clusters they came in
    (None: independent samples). A bound may be infinite: the data say nothing on that side. `low <= value <=
    high`.
    """

    value: float
    low: Bound
    high: Bound
    level: float = 0.95
    n: int
    method: str
    clusters: int | None = None

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Estimate:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"not an interval around its value: {self.value} [{self.low}, {self.high}]")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {self.level}")
        return self

    @property
    def width(self) -> float:
        """Length of the interval."""
        return self.high - self.low

    def half(self, limit: float) -> float:
        """Distance from the value to the bound on the side of `limit`."""
        return self.high - self.value if limit > self.value else self.value - self.low

    def excludes(self, limit: float) -> bool:
        """True if the whole interval lies on one side of `limit`, without touching it."""
        return not self.low <= limit <= self.high

    def less(self, amount: float) -> Estimate:
        """The figure less a number that is known for certain."""
        moved = {name: getattr(self, name) - amount for name in ("value", "low", "high")}
        return self.model_copy(update=moved)

    def __str__(self) -> str:
        places = _places(self.width, max(abs(self.value), abs(self.low), abs(self.high)))
        text = f"{self.value:.{places}f} [{self.low:.{places}f}, {self.high:.{places}f}] n={self.n}"
        return text if self.clusters is None else f"{text} in {self.clusters} clusters"


def _places(width: float, largest: float) -> int:
    """Decimals that show two digits of the width, and never fewer than three for figures around 1."""
    fewest = 3 if largest < 10 else 0
    if width <= 0 or not math.isfinite(width):
        return 3
    return min(max(1 - math.floor(math.log10(width)), fewest), 6)


def around(
    value: float, low: float, high: float, *, level: float, n: int, method: str, clusters: int | None = None
) -> Estimate:
    """An `Estimate` whose bounds are widened to the value where rounding or shrinkage left it outside."""
    return Estimate(
        value=float(value),
        low=float(min(low, value)),
        high=float(max(high, value)),
        level=level,
        n=int(n),
        method=method,
        clusters=clusters,
    )


def _reach(estimate: Estimate, limit: float) -> float:
    """Distance from the value to the bound on the side of `limit`; where they meet, at least that to the other.

    A bound that meets the limit was mostly cut off there (a gap cannot be below 0) and would seem too near.
    """
    if limit in (estimate.low, estimate.high):
        return max(estimate.value - estimate.low, estimate.high - estimate.value)
    return estimate.half(limit)


def p_value(estimate: Estimate, limit: float) -> float:
    """Two-sided p of "the true value equals `limit`", read off the interval.

    The bound on the side of the limit fixes the standard error of a normal; so p <= 1 - level if and only if
    the interval excludes the limit. A verdict and its p can never disagree.
    """
    alpha = 1 - estimate.level
    gap, half = abs(limit - estimate.value), _reach(estimate, limit)
    if gap == 0 or math.isinf(half):
        return 1.0
    p = 0.0 if half == 0 else float(2 * ndtr(-float(ndtri(0.5 + estimate.level / 2)) * gap / half))
    return min(p, alpha) if estimate.excludes(limit) else max(p, math.nextafter(alpha, 1))


def more_samples(estimate: Estimate, limit: float) -> int | None:
    """How many more samples of the same design would clear the interval of `limit`, if the value stays.

    0 if it is clear already; None if no number would do (value and limit are equal) or none can be told (the
    interval is infinite). Half-widths shrink with the square root of n; for score intervals of a share the
    relation is solved exactly, since they are not symmetric.
    """
    gap, half = abs(limit - estimate.value), _reach(estimate, limit)
    if estimate.excludes(limit):
        return 0
    if gap == 0 or math.isinf(half):
        return None
    if math.isinf(half / gap * (half / gap) * estimate.n):  # as good as equal
        return None
    factor = (half / gap) ** 2
    bound = estimate.high if limit > estimate.value else estimate.low
    if estimate.method in _WILSON and 0 < limit < 1 and 0 < bound < 1:
        factor = (estimate.half(limit) / gap) ** 2
        # A Wilson bound L solves (value - L)^2 = z^2 L (1 - L) / n; ask for the n that puts it on the limit.
        factor *= limit * (1 - limit) / (bound * (1 - bound))
    return max(1, math.floor(estimate.n * (factor - 1)) + 1)


def adjust(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for the false discovery rate (Benjamini and Hochberg 1995), in the order given."""
    if len(p_values) == 0:
        return []
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)]
