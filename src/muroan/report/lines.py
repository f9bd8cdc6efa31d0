"""Line charts: lines with bands, marks and a legend, and the counts that they rest on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from muroan.finding import Line, LineChart
from muroan.report import svg
from muroan.report.figures import count, trimmed
from muroan.report.svg import (
    SIZE,
    WIDTH,
    brief,
    figure,
    finite,
    fit,
    labels,
    line,
    mark,
    path,
    rect,
    scale,
    series,
    shares,
    spaced,
    tag,
    text,
    wrap,
)

LINES, POINTS = 8, 200
"""Most lines, and points a line, that are drawn."""


def _thin(found: Line) -> Line:
    """At most POINTS points, evenly taken, first and last kept."""
    rows = (found.x, found.y, found.low, found.high, found.n)
    n = min(len(row) for row in rows if row is not None)
    at = range(n) if n <= POINTS else sorted({round(i * (n - 1) / (POINTS - 1)) for i in range(POINTS)})
    return found.model_copy(
        update={
            "x": [found.x[i] for i in at],
            "y": [found.y[i] for i in at],
            "low": [found.low[i] for i in at] if found.low else None,
            "high": [found.high[i] for i in at] if found.high else None,
            "n": [found.n[i] for i in at] if found.n else None,
        }
    )


def _x_axis(chart: LineChart, drawn: Sequence[Line]) -> tuple[Callable[[float], float], list[float]]:
    """What maps x to 0..1, and the ticks. A zero stands at the left end of a logarithmic axis."""
    values = finite([x for found in drawn for x in found.x]) or [0.0, 1.0]
    if chart.log_x:
        positive = [x for x in values if x > 0]
        if positive:
            low, high = min(positive), max(positive)
            zero = low / 3 if any(x == 0 for x in values) else math.nan
            left = math.log10(zero if zero == zero else low)
            to = scale(left, math.log10(high) if high > low else left + 1, 0, 1)
            return (
                lambda x: to(math.log10(x)) if x > 0 else 0.0 if x == 0 else math.nan,
                [*([0.0] if zero == zero else []), *svg.log_ticks(low, high)],
            )
    low, high = min(values), max(values)
    if chart.diagonal:
        low, high = min(low, 0.0), max(high, 1.0)
    if high == low:
        low, high = low - 0.5, high + 0.5
    whole = all(x == round(x) for x in values)
    return scale(low, high, 0, 1), [t for t in svg.ticks(low, high) if not whole or t == round(t)]


def _y_range(chart: LineChart, drawn: Sequence[Line]) -> tuple[float, float]:
    if chart.y_range is not None and chart.y_range[1] > chart.y_range[0]:
        return chart.y_range
    values = finite([y for found in drawn for row in (found.y, found.low or [], found.high or []) for y in row])
    low, high = min(values, default=0.0), max(values, default=1.0)
    if chart.diagonal:
        low, high = min(low, 0.0), max(high, 1.0)
    if 0 < low < 0.6 * high:
        low = 0.0
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 0.5
    return (low if low == 0 else low - pad), (high if chart.diagonal and high == 1 else high + pad)


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Consecutive points that exist."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None or not math.isfinite(y) or math.isnan(x):
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def lines(chart: LineChart) -> Markup:
    """Lines with bands, marks, a legend, and the counts that they rest on."""
    drawn = [_thin(found) for found in chart.lines[:LINES]]
    to_unit, x_ticks = _x_axis(chart, drawn)
    y_low, y_high = _y_range(chart, drawn)
    y_values = finite([y for found in drawn for y in found.y])
    y_percent = shares(chart.y_label, y_values)
    x_percent = shares(chart.x_label, finite([x for found in drawn for x in found.x]))
    y_ticks = [t for t in svg.ticks(y_low, y_high) if y_low <= t <= y_high]
    y_labels = labels(y_ticks, y_percent)
    left = 10 + max((svg.width_of(label, SIZE) for label in y_labels), default=20)
    top, bottom, right = 26.0, 226.0, WIDTH - 12
    y_at = scale(y_low, y_high, bottom, top)

    def x_at(x: float) -> float:
        unit = to_unit(x)
        return left + 8 + unit * (right - left - 16) if unit == unit else math.nan

    body: list[Markup] = [text(2, 13, fit(chart.y_label, WIDTH - 4, SIZE), "axis")]
    for t, label in zip(y_ticks, y_labels, strict=True):
        body += [line(left, y_at(t), right, y_at(t), "grid"), text(left - 5, y_at(t) + 4, label, "tick", "end")]
    body.append(line(left, bottom, right, bottom, "base"))
    if chart.diagonal:
        body.append(_diagonal(chart, drawn, x_at, y_at, (y_low, y_high)))
    numbered = 0
    entries: list[tuple[str, str, int | None]] = []
    for found in drawn:
        kind = None if found.control else numbered
        class_ = series(numbered, found.control)
        body += _one_line(found, class_, kind, x_at, y_at)
        entries.append((found.label, class_, kind))
        numbered += not found.control
    y = bottom
    counted = next((f for f in drawn if f.n and not f.control), None)
    same = ""
    ns = [set(found.n) for found in drawn if found.n and not found.control]
    if ns and all(len(n) == 1 for n in ns):
        least, most = min(min(n) for n in ns), max(max(n) for n in ns)
        same = f", n = {count(most)} each" if least == most else f", n = {count(least)} to {count(most)} a line"
    elif counted is not None:
        body += _counts(counted, x_at, y + 3, left)
        y += 25
    at = [(x_at(t), label) for t, label in zip(x_ticks, labels(x_ticks, x_percent), strict=True)]
    body += [text(x, y + 15, label, "tick", "middle") for x, label in spaced(at, SIZE)]
    axis = chart.x_label + (" (logarithmic)" if chart.log_x else "") + same
    for name in wrap(axis, right - left, SIZE):
        body.append(text((left + right) / 2, y + 32, name, "axis", "middle"))
        y += 15
    y += 25
    if chart.diagonal:
        entries.append(("y = x", "ideal", None))
    if len(entries) > 1:
        legend, y = _legend(entries, y + 8)
        body += legend
    return figure(WIDTH, y + 4, chart.title, _line_words(chart, drawn), *body, class_="line")


def _diagonal(
    chart: LineChart,
    drawn: Sequence[Line],
    x_at: Callable[[float], float],
    y_at: Callable[[float], float],
    y_range: tuple[float, float],
) -> Markup:
    """y = x where both axes show it: a straight line, on a logarithmic axis a curve."""
    low, high = max(y_range[0], 0.0), min(y_range[1], 1.0)
    at = [low, high]
    if chart.log_x:
        left = min((x for x in finite([x for found in drawn for x in found.x]) if x > 0), default=0.01)
        left = max(min(left, high), high * 1e-12)
        at = [left * (high / left) ** (i / 60) for i in range(61)] if 0 < left < high else at
    points = [(x_at(v), y_at(v)) for v in at]
    return tag("polyline", points=path([(x, y) for x, y in points if x == x]), class_="ideal")


def _one_line(
    found: Line,
    class_: str,
    kind: int | None,
    x_at: Callable[[float], float],
    y_at: Callable[[float], float],
) -> list[Markup]:
    out: list[Markup] = []
    if found.low and found.high:
        band = [
            (x_at(x), (lo, hi))
            for x, lo, hi in zip(found.x, found.low, found.high, strict=False)
            if lo is not None and hi is not None and not (math.isnan(lo) or math.isnan(hi)) and x_at(x) == x_at(x)
        ]
        if len(band) > 1:
            upper = [(x, y_at(hi)) for x, (_, hi) in band]
            lower = [(x, y_at(lo)) for x, (lo, _) in reversed(band)]
            out.append(tag("polygon", points=path(upper + lower), class_=f"band {class_}"))
        elif band:
            x, (lo, hi) = band[0]
            out.append(line(x, y_at(lo), x, y_at(hi), f"whisker {class_}"))
    points = [(x_at(x), y) for x, y in zip(found.x, found.y, strict=False)]
    runs = _runs(points)
    out += [
        tag("polyline", points=path([(x, y_at(y)) for x, y in run]), class_=f"line {class_}")
        for run in runs
        if len(run) > 1
    ]
    if len(points) <= 25 and kind is not None:
        for i, (x, y) in enumerate(points):
            if y is not None and math.isfinite(y) and x == x:
                out.append(mark(kind, x, y_at(y), f"dot {class_}", tag("title", _point_words(found, i))))
    else:
        out += [mark(0, run[0][0], y_at(run[0][1]), f"dot {class_}") for run in runs if len(run) == 1]
    return out


def _point_words(found: Line, i: int) -> str:
    y = found.y[i]
    words = f"{brief(found.label)}: {trimmed(y) if y is not None else 'nothing'} at {trimmed(found.x[i])}"
    if found.low and found.high and i < min(len(found.low), len(found.high)):
        lo, hi = found.low[i], found.high[i]
        if lo is not None and hi is not None:
            words += f" [{trimmed(lo)}, {trimmed(hi)}]"
    if found.n and i < len(found.n):
        words += f", n = {count(found.n[i])}"
    return words


def _counts(found: Line, x_at: Callable[[float], float], top: float, left: float) -> list[Markup]:
    """A strip of small bars: how many samples each point rests on."""
    assert found.n is not None
    pairs = [(x_at(x), n) for x, n in zip(found.x, found.n, strict=False) if x_at(x) == x_at(x)]
    most = max((n for _, n in pairs), default=0) or 1
    places = sorted({x for x, _ in pairs})
    gaps = [b - a for a, b in itertools.pairwise(places)]
    width = min(max(min(gaps, default=14) * 0.6, 1.0), 14.0)
    out = [text(left - 5, top + 15, "n", "tick", "end")]
    for x, n in pairs:
        height = max(20.0 * n / most, 0.8 if n else 0.0)
        out.append(rect(x - width / 2, top, width, height, "count", tag("title", f"n = {count(n)}")))
    return out


def _legend(entries: Sequence[tuple[str, str, int | None]], y: float) -> tuple[list[Markup], float]:
    """Marks with names, in as many rows as they need; returns the height that they end at."""
    out: list[Markup] = []
    x = 4.0
    for label, class_, kind in entries:
        shown = fit(label, WIDTH - 40, SIZE)
        width = 30 + svg.width_of(shown, SIZE) + 14
        if x > 4 and x + width > WIDTH:
            x, y = 4.0, y + 17
        out.append(line(x, y + 6, x + 22, y + 6, f"line {class_}" if class_ != "ideal" else "ideal"))
        if kind is not None:
            out.append(mark(kind, x + 11, y + 6, f"dot {class_}"))
        out.append(text(x + 28, y + 10, shown, "tick"))
        x += width
    return out, y + 14


def _line_words(chart: LineChart, drawn: Sequence[Line]) -> str:
    words = [f"{chart.y_label} over {chart.x_label}."]
    for found in drawn:
        ends = [(x, y) for x, y in zip(found.x, found.y, strict=False) if y is not None and math.isfinite(y)]
        if not ends:
            words.append(f"{brief(found.label)}: no values.")
            continue
        step = max(1, math.ceil(len(ends) / 10))
        listed = ", ".join(f"{trimmed(y)} at {trimmed(x)}" for x, y in ends[::step])
        words.append(f"{brief(found.label)}{' (control)' if found.control else ''}: {listed}.")
    return " ".join(words)
