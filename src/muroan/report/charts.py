"""Charts as inline SVG and tables as HTML: pure functions from the models of `finding.py` to safe text.

Drawn in a space 400 units wide, so that letters stay readable at 360 pixels. Series differ in colour, dash and
mark, never in colour alone; every chart says in words what it shows. Colours are CSS classes.
"""

from __future__ import annotations

from markupsafe import Markup

from muroan.finding import BarChart, Chart, LineChart, MatrixChart
from muroan.report.bars import BARS, bars
from muroan.report.figures import count
from muroan.report.lines import LINES, lines
from muroan.report.tables import ROWS, SIDE, matrix, table


def draw(chart: Chart) -> Markup:
    """The chart as safe markup, without its title."""
    if isinstance(chart, LineChart):
        return lines(chart)
    if isinstance(chart, BarChart):
        return bars(chart)
    return matrix(chart) if isinstance(chart, MatrixChart) else table(chart)


def left_out(chart: Chart) -> str:
    """What is not drawn because there is too much of it, in words; empty if all is drawn."""
    if isinstance(chart, LineChart):
        return _more(len(chart.lines), LINES, "lines")
    if isinstance(chart, BarChart):
        return _more(len(chart.bars), BARS, "bars")
    if isinstance(chart, MatrixChart):
        rows, columns = _more(len(chart.rows), SIDE, "rows"), _more(len(chart.columns), SIDE, "columns")
        return "; ".join(part for part in (rows, columns) if part)
    return _more(len(chart.rows), ROWS, "rows")


def _more(n: int, most: int, what: str) -> str:
    return f"{count(n - most)} more {what} in findings.json" if n > most else ""
