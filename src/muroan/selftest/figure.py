"""A self test as pictures: the matrix of probes and faults, and power over the dose. Standalone SVG."""

from __future__ import annotations

from markupsafe import Markup

from muroan.report.svg import brief, figure, fit, line, path, rect, tag, text
from muroan.selftest.conclude import Pair, SelfTest
from muroan.selftest.words import count, dose

STYLE = """
svg { font-family: system-ui, sans-serif; background: #fff; }
text { fill: #222; } .dim { fill: #666; }
.cell { fill: #0b6e8f; } .empty { fill: #eee; } .own { fill: none; stroke: #c2410c; stroke-width: 2; }
.axis { stroke: #bbb; } .goal { stroke: #c2410c; stroke-dasharray: 3 3; }
.band { fill: #0b6e8f; opacity: .18; } .curve { fill: none; stroke: #0b6e8f; stroke-width: 2; }
.dot { fill: #0b6e8f; } .on { fill: #fff; }
"""
CELL, LABEL, HEAD = 34.0, 330.0, 150.0
CHART, COLUMNS, ROW = 230.0, 4, 150.0


def _standalone(width: float, height: float, title: str, description: str, parts: list[Markup]) -> str:
    head, rest = str(figure(width, height, title, description, *parts)).split(">", 1)
    size = f'width="{width:.0f}" height="{height:.0f}" font-size="12"'
    return f'{head} xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{rest}\n'


def matrix(result: SelfTest) -> str:
    """Faults down, probes across; darker: more alarms at the dose that matters; outlined: meant to find it."""
    probes = [q.probe for q in result.quiet]
    faults = list(dict.fromkeys(c.fault for c in result.cells))
    cells = {(c.fault, c.probe): c for c in result.cells}
    width, height = LABEL + CELL * len(probes) + 90, HEAD + CELL * len(faults) + 10
    parts: list[Markup] = []
    for j, probe in enumerate(probes):
        x, y = LABEL + CELL * (j + 0.6), HEAD - 8
        name = fit(probe.split(".")[-1].replace("_", " "), 150, 12)
        parts.append(tag("text", name, x=x, y=y, transform=f"rotate(-50 {x:.1f} {y:.1f})"))
    for i, fault in enumerate(faults):
        y = HEAD + CELL * i
        parts.append(text(LABEL - 8, y + CELL / 2 + 4, fit(fault, LABEL - 12, 12), "", "end"))
        for j, probe in enumerate(probes):
            cell, x = cells[fault, probe], LABEL + CELL * j
            parts.append(rect(x + 1, y + 1, CELL - 2, CELL - 2, "empty"))
            if cell.alarms is not None:
                tip = tag("title", brief(f"{probe} on {fault}: {count(cell.alarms)}"))
                shade = tag(
                    "rect", tip, x=x + 1, y=y + 1, width=CELL - 2, height=CELL - 2,
                    class_="cell", fill_opacity=f"{cell.alarms.value:.2f}",
                )  # fmt: skip
                parts.append(shade)
                if cell.alarms.value > 0:
                    shown = f"{100 * cell.alarms.value:.0f}"
                    on = "on" if cell.alarms.value > 0.5 else ""
                    parts.append(text(x + CELL / 2, y + CELL / 2 + 4, shown, on, "middle"))
            if cell.meant:
                parts.append(rect(x + 2, y + 2, CELL - 4, CELL - 4, "own"))
    what = "Percent of worlds with an alarm at the dose that matters; outlined: the probe is meant to find the fault."
    return _standalone(width, height, "Which probes fire on which fault", what, parts)


def curves(result: SelfTest) -> str:
    """One small chart a probe and fault: power over the dose, from the clean twin at 0, with intervals."""
    shown = [p for p in result.pairs if p.curve]
    rows = -(-len(shown) // COLUMNS)
    parts = [m for k, pair in enumerate(shown) for m in _chart(pair, CHART * (k % COLUMNS), ROW * (k // COLUMNS))]
    what = "Share of worlds with an alarm over the dose of the planted fault; dashed: 80 %."
    return _standalone(CHART * COLUMNS, max(ROW * rows, 20.0), "Power over the dose", what, parts)


def _chart(pair: Pair, x0: float, y0: float) -> list[Markup]:
    left, right, top, bottom = x0 + 34, x0 + CHART - 14, y0 + 40, y0 + ROW - 22
    points = [(0.0, pair.twins)] if pair.twins else []
    points += [(p.dose, p.power) for p in pair.curve]
    # Doses often rise by factors: even steps keep the small ones apart.
    xs = [left + (right - left) * k / max(1, len(points) - 1) for k in range(len(points))]

    def y(power: float) -> float:
        return bottom - power * (bottom - top)

    band = [(x, y(e.high)) for x, (_, e) in zip(xs, points, strict=True)]
    band += [(x, y(e.low)) for x, (_, e) in reversed(list(zip(xs, points, strict=True)))]
    out = [
        text(x0 + 6, y0 + 14, fit(pair.fault.split(".", 1)[-1], CHART - 10, 12), ""),
        text(x0 + 6, y0 + 29, fit(pair.probe, CHART - 10, 12), "dim"),
        line(left, bottom, right, bottom, "axis"),
        line(left, y(0.8), right, y(0.8), "goal"),
        text(left - 4, y(1.0) + 4, "1", "dim", "end"),
        text(left - 4, y(0.0) + 4, "0", "dim", "end"),
        tag("polygon", points=path(band), class_="band"),
        tag("polyline", points=path([(x, y(e.value)) for x, (_, e) in zip(xs, points, strict=True)]), class_="curve"),
    ]
    for x, (d, e) in zip(xs, points, strict=True):
        tip = tag("title", brief(f"dose {dose(d)}: {count(e)}"))
        out.append(tag("circle", tip, cx=x, cy=y(e.value), r=3.0, class_="dot"))
        out.append(text(x, bottom + 14, dose(d), "dim", "middle"))
    return out
