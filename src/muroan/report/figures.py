"""Numbers as people read them: shares as percentages, intervals in brackets, counts with thin separators.

An estimate's value and both ends of its interval have the same number of decimals, as many as the interval's
width deserves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from muroan.estimate import Estimate
from muroan.finding import Limit

THIN = "\u202f"
"""A narrow space that does not break."""
PERCENT = f"{THIN}%"
SCALED = {"share": PERCENT, "accuracy": PERCENT, "points": f"{THIN}points", "nats": f"{THIN}nats", "number": ""}


def count(n: int) -> str:
    """12 345 for 12345, from five digits on; the space is narrow and does not break."""
    return f"{n:,}".replace(",", THIN) if abs(n) >= 10_000 else str(n)


def plain(x: float, places: int) -> str:
    """A number with a real minus sign; never −0."""
    if math.isnan(x):
        return "not a number"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    text = f"{x:,.{places}f}".replace(",", THIN if abs(x) >= 10_000 else "")
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def _factor(unit: str) -> float:
    return 100.0 if unit in ("share", "accuracy", "points") else 1.0


def places(width: float, largest: float, unit: str) -> int:
    """Decimals for an interval of this width around figures of this size."""
    factor = _factor(unit)
    if factor == 100.0:
        points = width * factor
        return 1 if points <= 0 or points >= 1 else (2 if points >= 0.1 else 3)
    if width > 0 and math.isfinite(width):
        return min(max(1 - math.floor(math.log10(width)), 0), 4)
    return 3 if largest < 10 else 1


def _suffix(unit: str) -> str:
    return SCALED.get(unit, "")


def amount(x: float, unit: str, digits: int | None = None) -> str:
    """One number with its unit: 34.5 % of a share."""
    scaled = x * _factor(unit)
    if digits is None:
        return trimmed(scaled) + _suffix(unit)
    return plain(scaled, digits) + _suffix(unit)


def trimmed(x: float) -> str:
    """A number with at most four significant digits and no trailing zeros, as on an axis or in a limit."""
    if x == 0 or not math.isfinite(x):
        return plain(x, 0)
    if not 1e-5 <= abs(x) < 1e7:
        mantissa, _, exponent = f"{x:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "−")
    digits = min(max(3 - math.floor(math.log10(abs(x))), 0), 6)
    text = plain(x, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def alike(values: Sequence[float]) -> int:
    """Decimals for numbers that stand in one column: three digits of the largest, the same for all."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return min(max(2 - math.floor(math.log10(largest)), 0), 5) if largest > 0 else 0


def value(estimate: Estimate, unit: str) -> str:
    """The value alone, with its unit."""
    return amount(estimate.value, unit, _digits(estimate, unit))


def interval(estimate: Estimate, unit: str) -> str:
    """The interval in brackets, in the value's unit, without repeating it."""
    digits, factor = _digits(estimate, unit), _factor(unit)
    return f"[{plain(estimate.low * factor, digits)}, {plain(estimate.high * factor, digits)}]"


def both(estimate: Estimate, unit: str) -> str:
    """Value and interval."""
    return f"{value(estimate, unit)} {interval(estimate, unit)}"


def _digits(estimate: Estimate, unit: str) -> int:
    finite = [abs(x) for x in (estimate.value, estimate.low, estimate.high) if math.isfinite(x)]
    return places(estimate.high - estimate.low, max(finite, default=0.0), unit)


def samples(estimate: Estimate, cluster: str | None = None) -> str:
    """n, and in how many clusters they came."""
    text = f"n{THIN}={THIN}{count(estimate.n)}"
    if estimate.clusters is None:
        return text
    return f"{text} in {count(estimate.clusters)} clusters" + (f" by {cluster}" if cluster else "")


def limit(bound: Limit, unit: str) -> str:
    """The limit in words."""
    return ("at most " if bound.max is not None else "at least ") + amount(bound.value, unit)


def seconds(s: float) -> str:
    """A time span as one reads it."""
    if s < 0.1:
        return f"{s * 1000:.0f}{THIN}ms"
    if s < 600:
        return f"{s:.1f}{THIN}s"
    if s < 7200:
        return f"{s / 60:.0f}{THIN}min"
    return f"{s / 3600:.1f}{THIN}h"
