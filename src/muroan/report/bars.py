"""Bar charts: horizontal bars with whiskers and values; long names have room, and many bars make it longer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from muroan.finding import Bar, BarChart
from muroan.report import svg
from muroan.report.figures import alike, amount, count, plain, trimmed
from muroan.report.svg import (
    SIZE,
    WIDTH,
    brief,
    figure,
    finite,
    fit,
    labels,
    line,
    rect,
    scale,
    series,
    shares,
    spaced,
    tag,
    text,
    wrap,
)
from muroan.report.text import one_line

BOLD = 13.5
"""Size that a bold number takes room for."""
BARS = 40
"""Most bars that are drawn."""


def bars(chart: BarChart) -> Markup:
    """Horizontal bars with whiskers and values; series stand together under their label."""
    chosen, heads, names = _grouped(chart.bars)
    shown, heads, names = chosen[:BARS], heads[:BARS], names[:BARS]
    values = finite([v for b in shown for v in (b.estimate.value, b.estimate.low, b.estimate.high)])
    percent = shares(chart.y_label, finite([b.estimate.value for b in shown]))
    low, high = _bar_range(chart, values)
    numbers = _figures([b.estimate.value for b in shown], percent)
    label_width = min(max((svg.width_of(one_line(n), SIZE) for n in names), default=40) + 8, 148.0)
    value_width = max((svg.width_of(f, BOLD) for f in numbers), default=30) + 8
    left, right = label_width, WIDTH - value_width
    x_at = scale(low, high, left, right)
    zero = x_at(min(max(0.0, low), high))
    order = {name: i for i, name in enumerate(dict.fromkeys(b.of for b in shown if not b.control))}
    rows: list[Markup] = []
    top = 24.0 if chart.limit is not None else 6.0
    y = top
    group = None
    for bar, head, name, number in zip(shown, heads, names, numbers, strict=True):
        if head and head != group:
            group = head
            rows.append(text(2, y + 14, fit(group, WIDTH - 4, SIZE), "group"))
            y += 20
        name_lines = wrap(name, label_width - 8, SIZE)
        height = 20.0 if len(name_lines) == 1 else 32.0
        middle = y + height / 2
        first = middle + 4 - 6.5 * (len(name_lines) - 1)
        for i, part in enumerate(name_lines):
            rows.append(text(label_width - 8, first + 13 * i, part, "tick", "end"))
        rows += _bar(bar, middle, x_at, zero, series(order.get(bar.of, 0), bar.control))
        rows.append(text(right + 7, middle + 4, number, "value"))
        y += height
    axis_ticks = [t for t in svg.ticks(low, high, 4) if low <= t <= high]
    at = [(x_at(t), label) for t, label in zip(axis_ticks, labels(axis_ticks, percent), strict=True)]
    body: list[Markup] = [line(x, top - 2, x, y + 2, "grid") for x, _ in at]
    body += rows
    body.append(line(zero, top - 2, zero, y + 2, "base"))
    if chart.limit is not None:
        x = x_at(chart.limit)
        name = f"limit {labels([chart.limit], percent)[0]}"
        half = svg.width_of(name, SIZE) / 2
        body += [
            line(x, 20, x, y + 2, "limit"),
            text(min(max(x, half + 2), WIDTH - half - 2), 13, name, "limit-name", "middle"),
        ]
    body += [text(x, y + 17, label, "tick", "middle") for x, label in spaced(at, SIZE)]
    for axis in wrap(chart.y_label, WIDTH - 8, SIZE):
        half = svg.width_of(axis, SIZE) / 2
        body.append(text(min(max((left + right) / 2, half), WIDTH - half), y + 34, axis, "axis", "middle"))
        y += 15
    y -= 15
    return figure(WIDTH, y + 42, chart.title, _bar_words(chart, shown), *body, class_="bars")


def _bar_range(chart: BarChart, values: Sequence[float]) -> tuple[float, float]:
    if chart.y_range is not None and chart.y_range[1] > chart.y_range[0]:
        return chart.y_range
    found = [*values, 0.0, *([chart.limit] if chart.limit is not None else [])]
    low, high = min(found), max(found)
    pad = (high - low) * 0.04 or 0.5
    return (low - pad if low < 0 else 0.0), (high + pad if high > 0 else 0.0)


def _figures(values: Sequence[float], percent: bool) -> list[str]:
    """The values beside the bars, all with the same decimals."""
    if percent:
        return [amount(v, "share", 1) for v in values]
    digits = alike(values)
    return [plain(v, digits) for v in values]


def _grouped(bars: Sequence[Bar]) -> tuple[list[Bar], list[str], list[str]]:
    """Bars that belong together side by side, with each one's heading and name.

    Where labels repeat, series are compared within a label, and the label is the heading; where each label comes
    once, `of` says what kind of label it is, and is the heading.
    """
    if not any(b.of for b in bars):
        return list(bars), [""] * len(bars), [b.label for b in bars]
    by_label = len({b.label for b in bars}) < len(bars)
    heads = [b.label if by_label else b.of or b.label for b in bars]
    order = {head: i for i, head in enumerate(dict.fromkeys(heads))}
    at = sorted(range(len(bars)), key=lambda i: order[heads[i]])
    names = [(b.of or b.label) if by_label else b.label for b in bars]
    return [bars[i] for i in at], [heads[i] for i in at], [names[i] for i in at]


def _bar(bar: Bar, y: float, x_at: Callable[[float], float], zero: float, class_: str) -> list[Markup]:
    e = bar.estimate
    x, lo, hi = x_at(e.value), x_at(e.low), x_at(e.high)
    words = _words(bar)
    out = [
        rect(min(zero, x), y - 6, abs(x - zero), 12, f"bar {class_}", tag("title", words)),
        line(lo, y, hi, y, "whisker"),
    ]
    out += [line(end, y - 3.5, end, y + 3.5, "whisker") for end, v in ((lo, e.low), (hi, e.high)) if math.isfinite(v)]
    return out


def _words(bar: Bar) -> str:
    e = bar.estimate
    name = " ".join(part for part in (brief(bar.label), brief(bar.of), "(control)" if bar.control else "") if part)
    return f"{name}: {trimmed(e.value)} [{trimmed(e.low)}, {trimmed(e.high)}], n = {count(e.n)}"


def _bar_words(chart: BarChart, shown: Sequence[Bar]) -> str:
    words = [f"{chart.y_label}."]
    words += [f"{_words(b)}." for b in shown[:24]]
    if chart.limit is not None:
        words.append(f"Limit: {trimmed(chart.limit)}.")
    return " ".join(words)
