"""Charts: well-formed whatever the numbers and labels are, true to the numbers, readable when small."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Limit, Line, LineChart, MatrixChart, TableChart
from muroan.report import svg
from muroan.report.charts import draw, left_out
from muroan.report.glance import glance
from muroan.report.tables import SHADES, shade
from tests.report.example import HOSTILE

LABEL = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=40))
NUMBER = st.one_of(st.floats(), st.floats(0, 1), st.sampled_from([0.0, 1.0, math.nan, math.inf, 1e300, 1e-300]))
MAYBE = st.one_of(st.none(), NUMBER)


def estimates() -> st.SearchStrategy[Estimate]:
    three = st.lists(st.floats(allow_nan=False), min_size=3, max_size=3).map(sorted)
    return three.map(lambda v: Estimate(low=v[0], value=v[1], high=v[2], n=7, method="any"))


def lines() -> st.SearchStrategy[Line]:
    return st.builds(
        Line,
        label=LABEL,
        x=st.lists(NUMBER, max_size=5),
        y=st.lists(MAYBE, max_size=5),
        low=st.none() | st.lists(MAYBE, max_size=5),
        high=st.none() | st.lists(MAYBE, max_size=5),
        n=st.none() | st.lists(st.integers(0, 10**9), max_size=5),
        control=st.booleans(),
    )


RANGE = st.none() | st.tuples(st.floats(-10, 10), st.floats(-10, 10))
CHARTS = st.one_of(
    st.builds(
        LineChart,
        title=LABEL,
        x_label=LABEL,
        y_label=LABEL | st.just("success rate"),
        lines=st.lists(lines(), max_size=10),
        diagonal=st.booleans(),
        log_x=st.booleans(),
        y_range=RANGE,
    ),
    st.builds(
        BarChart,
        title=LABEL,
        y_label=LABEL | st.just("accuracy"),
        limit=st.none() | st.floats(-2, 2),
        y_range=RANGE,
        bars=st.lists(
            st.builds(Bar, label=LABEL, of=LABEL | st.just(""), estimate=estimates(), control=st.booleans()), max_size=6
        ),
    ),
    st.builds(
        MatrixChart,
        title=LABEL,
        rows=st.lists(LABEL, max_size=4),
        columns=st.lists(LABEL, max_size=4),
        values=st.lists(st.lists(MAYBE, max_size=5), max_size=5),
        better=st.sampled_from(["lower", "higher"]),
        value_range=RANGE,
    ),
    st.builds(
        TableChart,
        title=LABEL,
        columns=st.lists(LABEL, max_size=4),
        rows=st.lists(st.lists(st.one_of(LABEL, NUMBER, st.integers(), st.none()), max_size=5), max_size=4),
    ),
)


@settings(max_examples=300, deadline=None)
@given(CHARTS)
def test_any_chart_is_well_formed_and_inert(chart: Chart) -> None:
    drawn = str(draw(chart))
    root = ET.fromstring(drawn)
    allowed = {
        "svg",
        "title",
        "desc",
        "text",
        "line",
        "rect",
        "circle",
        "polygon",
        "polyline",
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
        "th",
        "bdi",
    }
    for element in root.iter():
        assert element.tag in allowed
        assert not [a for a in element.attrib if a.startswith("on") or a in ("style", "href")]
        for name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy"):
            assert math.isfinite(float(element.attrib.get(name, 0)))
    assert "nan" not in re.sub(r">[^<]*<", "><", drawn)
    left_out(chart)


def series(drawn: str, class_: str) -> list[tuple[float, float]]:
    found = ET.fromstring(drawn).find(f".//polyline[@class='{class_}']")
    assert found is not None
    return [tuple(map(float, p.split(","))) for p in found.attrib["points"].split()]  # type: ignore[misc]


def test_a_line_is_where_its_numbers_are() -> None:
    drawn = str(
        draw(
            LineChart(
                title="t", x_label="x", y_label="y", y_range=(0, 2), lines=[Line(label="l", x=[0, 1, 4], y=[0, 2, 1])]
            )
        )
    )
    (x0, y0), (x1, y1), (x2, y2) = series(drawn, "line s0")
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=0.001)
    assert (y0 - y2) / (y0 - y1) == pytest.approx(0.5, abs=0.001)


def test_a_logarithmic_axis_spaces_powers_evenly() -> None:
    drawn = str(
        draw(
            LineChart(
                title="t", x_label="x", y_label="y", log_x=True, lines=[Line(label="l", x=[1, 10, 100], y=[0, 1, 2])]
            )
        )
    )
    xs = [x for x, _ in series(drawn, "line s0")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


@pytest.mark.parametrize("log_x", [False, True])
def test_the_diagonal_is_where_y_is_x(log_x: bool) -> None:
    """A line whose own y is its x lies on the diagonal, on either axis."""
    x = [0.01, 0.03, 0.1, 0.3, 1.0]
    line = Line(label="l", x=x, y=list(x))
    drawn = str(draw(LineChart(title="t", x_label="x", y_label="y", lines=[line], diagonal=True, log_x=log_x)))
    found = series(drawn, "ideal")
    own = series(drawn, "line s0")
    across, up = [p[0] for p in found], [p[1] for p in found]
    for px, py in own:
        assert np.interp(px, across, up) == pytest.approx(py, abs=0.5)


def test_a_gap_is_not_bridged() -> None:
    drawn = str(
        draw(
            LineChart(
                title="t", x_label="x", y_label="y", lines=[Line(label="l", x=[0, 1, 2, 3, 4], y=[0, 1, None, 3, 4])]
            )
        )
    )
    assert len(ET.fromstring(drawn).findall(".//polyline")) == 2


def test_a_bar_is_as_long_as_its_value_and_its_whisker_as_its_interval() -> None:
    values = [(0.2, 0.1, 0.3), (0.4, 0.3, 0.8)]
    found = [
        Bar(label=str(v), estimate=Estimate(value=v, low=lo, high=hi, n=5, method="known")) for v, lo, hi in values
    ]
    root = ET.fromstring(str(draw(BarChart(title="t", y_label="y", bars=found, y_range=(0, 1)))))
    short, long = (float(r.attrib["width"]) for r in root.iter("rect"))
    assert long / short == pytest.approx(2, rel=0.01)
    whiskers = [e for e in root.iter("line") if e.attrib["class"] == "whisker" and e.attrib["y1"] == e.attrib["y2"]]
    lengths = [float(w.attrib["x2"]) - float(w.attrib["x1"]) for w in whiskers]
    assert lengths[1] / lengths[0] == pytest.approx(0.5 / 0.2, rel=0.01)


def test_bars_stand_together_under_what_they_share() -> None:
    def bar(label: str, of: str) -> Bar:
        return Bar(label=label, of=of, estimate=Estimate(value=0.5, low=0.4, high=0.6, n=9, method="known"))

    def heads(bars: list[Bar]) -> list[str | None]:
        root = ET.fromstring(str(draw(BarChart(title="t", y_label="y", bars=bars))))
        return [t.text for t in root.iter("text") if t.attrib["class"] == "group"]

    assert heads([bar("red", "image"), bar("teal", "image"), bar("red", "question")]) == ["red", "teal"]
    assert heads([bar("red", "colour"), bar("circle", "shape"), bar("teal", "colour")]) == ["colour", "shape"]


@pytest.mark.parametrize("count", [2, 5, 12, 40])
def test_labels_of_an_axis_never_overlap(count: int) -> None:
    chart = LineChart(
        title="t",
        x_label="x",
        y_label="y",
        lines=[Line(label="l", x=[i * 1234.5 for i in range(count)], y=[0.5] * count)],
    )
    root = ET.fromstring(str(draw(chart)))
    ticks = [t for t in root.iter("text") if t.attrib.get("text-anchor") == "middle" and t.attrib["class"] == "tick"]
    spans = [(float(t.attrib["x"]), svg.width_of(t.text or "", svg.SIZE) / 2) for t in ticks]
    assert len(spans) >= 2
    assert all(a + half < b - other for (a, half), (b, other) in pairwise(spans))


def test_text_stays_inside_of_the_picture() -> None:
    bars = [Bar(label=h, of=h, estimate=Estimate(value=0.5, low=0, high=1, n=9, method="known")) for h in HOSTILE]
    charts: list[Chart] = [
        LineChart(
            title="t",
            x_label=HOSTILE[9],
            y_label=HOSTILE[9],
            lines=[Line(label=h, x=[0, 1e9], y=[0, 1e9]) for h in HOSTILE],
        ),
        BarChart(title="t", y_label=HOSTILE[9], bars=bars, limit=0.99),
    ]
    for chart in charts:
        root = ET.fromstring(str(draw(chart)))
        bottom = float(root.attrib["viewBox"].split()[3])
        for t in root.iter("text"):
            x, width = float(t.attrib["x"]), svg.width_of(t.text or "", svg.SIZE)
            left = {"start": x, "middle": x - width / 2, "end": x - width}[t.attrib.get("text-anchor", "start")]
            assert left >= -1, t.text
            assert left + width <= svg.WIDTH + 1, t.text
            assert float(t.attrib["y"]) <= bottom


def test_what_is_too_much_is_counted() -> None:
    many = LineChart(title="t", x_label="x", y_label="y", lines=[Line(label=str(i), x=[0], y=[0]) for i in range(20)])
    assert left_out(many) == "12 more lines in findings.json"
    points = Line(label="l", x=list(range(5000)), y=[float(i) for i in range(5000)])
    drawn = str(draw(LineChart(title="t", x_label="x", y_label="y", lines=[points])))
    assert len(drawn) < 12_000
    assert len(series(drawn, "line s0")) == 200


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_worse_is_darker(better: str) -> None:
    shades = [shade(v, 0, 1, better) for v in (0, 0.25, 0.5, 0.75, 1)]
    assert shades == sorted(shades, reverse=better == "higher")
    assert {shades[0], shades[-1]} == {0, SHADES}


def test_a_matrix_says_every_value() -> None:
    chart = MatrixChart(title="t", rows=["a", "b"], columns=["c", "d"], values=[[0.397, None], [0.00667, 0.1]])
    root = ET.fromstring(str(draw(chart)))
    assert [td.text for td in root.iter("td")][1:] == ["0.397", "–", "0.007", "0.100"]
    assert [th.attrib["scope"] for th in root.iter("th")] == ["col", "col", "row", "row"]


def test_a_chart_says_in_words_what_it_shows() -> None:
    chart = LineChart(
        title="Flips", x_label="parts", y_label="rate", lines=[Line(label="image", x=[0, 1], y=[0.25, None])]
    )
    root = ET.fromstring(str(draw(chart)))
    assert root.attrib["role"] == "img"
    assert root.findtext("title") == "Flips"
    assert root.findtext("desc") == "rate over parts. image: 0.25 at 0."


@pytest.mark.parametrize(("limit", "side"), [(Limit(max=0.3), "left"), (Limit(min=0.3), "right")])
def test_the_shaded_side_keeps_the_limit(limit: Limit, side: str) -> None:
    root = ET.fromstring(str(glance(Estimate(value=0.5, low=0.45, high=0.55, n=9, method="known"), limit, "words")))
    safe = root.find(".//rect[@class='safe']")
    point = root.find(".//circle")
    bound = root.find(".//line[@class='limit']")
    assert safe is not None
    assert point is not None
    assert bound is not None
    start, end = float(safe.attrib["x"]), float(safe.attrib["x"]) + float(safe.attrib["width"])
    assert (end if side == "left" else start) == pytest.approx(float(bound.attrib["x1"]), abs=0.2)
    assert (start <= float(point.attrib["cx"]) <= end) == (side == "right")


def _words(chart: Chart) -> str:
    return " ".join(ET.fromstring(str(draw(chart))).itertext())


def test_lines_that_rest_on_different_counts_say_so() -> None:
    found = [Line(label=str(n), x=[0, 1], y=[0.5, 0.4], n=[n, n]) for n in (19, 64)]
    chart = LineChart(title="t", x_label="share without it", y_label="accuracy", lines=found)
    assert "n = 19 to 64 a line" in _words(chart)
    assert "n = 19 each" in _words(chart.model_copy(update={"lines": found[:1]}))


def test_whole_numbers_get_whole_ticks_and_a_long_axis_name_is_not_cut() -> None:
    name = "wordings of one question that all have to be answered right by the model"
    chart = LineChart(title="t", x_label=name, y_label="score", lines=[Line(label="a", x=[1, 2], y=[0.5, 0.4])])
    words = _words(chart)
    assert "1.2" not in words
    assert "by the model" in words


def test_a_matrix_of_shares_is_read_in_percent() -> None:
    chart = MatrixChart(title="Accuracy lost", rows=["fog"], columns=["1"], values=[[0.367]])
    assert "36.7\u202f%" in _words(chart)
    assert "36.7\u202f%" not in _words(chart.model_copy(update={"title": "Distance"}))
