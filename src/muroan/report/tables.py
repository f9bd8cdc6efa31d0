"""Matrices and tables as HTML: words and numbers stay text, so that they can be read aloud, searched, copied."""

from __future__ import annotations

import math

from markupsafe import Markup

from muroan.finding import MatrixChart, TableChart
from muroan.report.figures import alike, amount, count, plain
from muroan.report.svg import finite, shares, tag
from muroan.report.text import one_line

SIDE, ROWS = 30, 40
"""Most rows or columns of a matrix, and rows of a table, that are shown."""
SHADES = 6


def shade(value: float, low: float, high: float, better: str) -> int:
    """How dark a cell is, 0 (as good as it gets) to SHADES (as bad as it gets)."""
    if not high > low:
        return 0
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return round((share if better == "lower" else 1 - share) * SHADES)


def matrix(chart: MatrixChart) -> Markup:
    """A coloured matrix, darker where it is worse; every cell also says its value."""
    columns, rows = chart.columns[:SIDE], chart.rows[:SIDE]
    values = [row[: len(columns)] for row in chart.values[: len(rows)]]
    known = finite([v for row in values for v in row])
    low, high = chart.value_range or (min(known, default=0.0), max(known, default=0.0))
    # As in charts: what is a share is read in percent.
    digits = None if shares(chart.title, known) else alike(known)
    head = tag("tr", tag("td"), *(tag("th", _cell_name(c), scope="col") for c in columns))
    body = [
        tag("tr", tag("th", _cell_name(name), scope="row"), *(_cell(v, low, high, chart.better, digits) for v in row))
        for name, row in zip(rows, values, strict=False)
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), class_="matrix")


def _cell_name(name: str) -> Markup:
    return tag("bdi", one_line(name, 80))


def _cell(value: float | None, low: float, high: float, better: str, digits: int | None) -> Markup:
    """One value; in percent where `digits` is None."""
    if value is None or math.isnan(value):
        return tag("td", "–", class_="none")
    said = amount(value, "share", 1) if digits is None else plain(value, digits)
    return tag("td", said, class_=f"h{shade(value, low, high, better)}")


def table(chart: TableChart) -> Markup:
    """Words and numbers; numbers of one column have the same decimals and are aligned right."""
    rows = [row[:SIDE] for row in chart.rows[:ROWS]]
    digits = [_decimals([row[k] for row in rows if k < len(row)]) for k in range(max(map(len, rows), default=0))]
    head = tag(
        "tr",
        *(
            tag(
                "th", _cell_name(c), scope="col", class_="number" if k < len(digits) and digits[k] is not None else None
            )
            for k, c in enumerate(chart.columns[:SIDE])
        ),
    )
    body = [tag("tr", *(_entry(v, digits[k] or 0) for k, v in enumerate(row))) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", *body), class_="plain")


def _decimals(column: list[str | float | int | None]) -> int | None:
    """Decimals of a column's numbers; None for a column of words."""
    numbers = [float(v) for v in column if v is not None and not isinstance(v, str)]
    if not numbers:
        return None
    return 0 if all(isinstance(v, int) for v in column if v is not None) else alike(numbers)


def _entry(value: str | float | None, digits: int) -> Markup:
    if value is None:
        return tag("td", "–", class_="none")
    if isinstance(value, str):
        return tag("td", tag("bdi", one_line(value, 300)))
    return tag("td", count(value) if isinstance(value, int) else plain(value, digits), class_="number")
