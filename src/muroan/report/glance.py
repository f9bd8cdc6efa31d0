"""The small picture beside a verdict."""

from __future__ import annotations

from markupsafe import Markup

from muroan.estimate import Estimate
from muroan.finding import Limit
from muroan.report.svg import figure, finite, line, rect, scale, tag


def glance(estimate: Estimate, limit: Limit | None, words: str) -> Markup:
    """A value's interval against its limit in one line; the shaded side is the one that keeps the limit."""
    known = finite([estimate.value, estimate.low, estimate.high, limit.value if limit else None])
    low, high = min([*known, 0.0]), max(known)
    pad = (high - low) * 0.12 or 0.5
    width, y = 160.0, 14.0
    x_at = scale(low - (pad if low < 0 else 0), high + pad, 5, width - 5)
    body: list[Markup] = [line(5, y, width - 5, y, "track")]
    if limit is not None:
        x = x_at(limit.value)
        safe = (5.0, x) if limit.max is not None else (x, width - 5)
        body = [rect(safe[0], 4, safe[1] - safe[0], 20, "safe"), *body, line(x, 1, x, 27, "limit")]
    body += [
        line(x_at(estimate.low), y, x_at(estimate.high), y, "range"),
        tag("circle", cx=x_at(estimate.value), cy=y, r=4.5, class_="point"),
    ]
    return figure(width, 28, "Interval and limit", words, *body, class_="glance")
