"""Building blocks of inline SVG: elements that cannot be broken out of, scales, ticks, text that fits.

No style attribute and no script is ever written: looks come from classes, so that the page's content policy
can forbid everything else.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from muroan.report.figures import trimmed
from muroan.report.text import ELLIPSIS, one_line

WIDTH = 400.0
"""Of a chart, in units; at 360 pixels a letter of SIZE is still 10 pixels high."""
SIZE = 12.0
SERIES = 8
"""Colours, dashes and marks that there are."""
EM = 0.62
"""Mean width of a character as a share of the font size, for a wide sans serif."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element. Children that are not markup already are escaped; `class_` is class, `_` in names is `-`."""
    inside = Markup("").join(c if isinstance(c, Markup) else escape(one_line(c)) for c in children)
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-") if key != "viewBox" else key}="{escape(_attribute(v))}"'
        for key, v in attributes.items()
        if v is not None
    )
    return Markup(f"<{name}{pairs}>{inside}</{name}>")  # noqa: S704  all parts are escaped above


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0") if math.isfinite(value) else "0"
    return one_line(str(value))


def text(x: float, y: float, content: str, class_: str, anchor: str = "start") -> Markup:
    """One line of text; anchor: start, middle or end."""
    return tag("text", content, x=x, y=y, class_=class_, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, *children: str) -> Markup:
    return tag("rect", *children, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=class_)


def figure(width: float, height: float, title: str, description: str, *children: str, class_: str = "") -> Markup:
    """A whole picture with its name and its content in words, for those who do not see it."""
    return tag(
        "svg",
        tag("title", one_line(title, 300)),
        tag("desc", one_line(description, 1500)),
        *children,
        role="img",
        viewBox=f"0 0 {width:g} {height:g}",
        class_=f"chart {class_}".strip(),
    )


def width_of(content: str, size: float) -> float:
    """About how wide a text will be."""
    units = sum(2.0 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in content)
    return units * size * EM


def fit(content: str, width: float, size: float) -> str:
    """`content` cut off so that it fits."""
    content = one_line(content)
    if width_of(content, size) <= width:
        return content
    kept = ""
    for c in content:
        if width_of(kept + c + ELLIPSIS, size) > width:
            break
        kept += c
    return kept.rstrip() + ELLIPSIS


def wrap(content: str, width: float, size: float, most: int = 2) -> list[str]:
    """`content` in at most `most` lines that fit; what does not is cut off."""
    lines: list[str] = []
    words = one_line(content, 300).split(" ")
    while words and len(lines) < most:
        current = words.pop(0)
        if len(lines) == most - 1:
            current = " ".join([current, *words])
            words = []
        while words and width_of(f"{current} {words[0]}", size) <= width:
            current = f"{current} {words.pop(0)}"
        lines.append(fit(current, width, size))
    return lines or [""]


def finite(values: Sequence[float | None]) -> list[float]:
    """Those values that an axis can be made for; what is too small to tell from zero is zero."""
    return [v if abs(v) > 1e-150 else 0.0 for v in values if v is not None and abs(v) < 1e150]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`, with 2 and 5 between them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    within = [
        m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5) if low * 0.999 <= m * 10.0**k <= high * 1.001
    ]
    tens = [t for t in within if round(math.log10(t), 6) == round(math.log10(t))]
    return tens if len(tens) >= 3 else within or [low]


def spaced(at: Sequence[tuple[float, str]], size: float, gap: float = 6.0) -> list[tuple[float, str]]:
    """Those centred labels that do not run into the one before; one at the edge moves inside."""
    kept: list[tuple[float, str]] = []
    end = -math.inf
    for x, label in at:
        half = width_of(label, size) / 2
        x = min(max(x, half + 1), WIDTH - half - 1)
        if x - half >= end + gap:
            kept.append((x, label))
            end = x + half
    return kept


def labels(values: Sequence[float], percent: bool) -> list[str]:
    """Axis labels; percent: of shares."""
    return [f"{trimmed(v * 100)}\u202f%" if percent else trimmed(v) for v in values]


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A linear map from [low, high] to [start, end] that stays within it."""
    span = high - low or 1.0

    def to(v: float) -> float:
        share = 0.0 if v == -math.inf else 1.0 if v == math.inf else (v - low) / span
        return start + min(max(share, 0.0), 1.0) * (end - start)

    return to


_SHARES = ("share", "rate", "accuracy", "probability", "coverage", "confidence", "success", "risk")


def shares(label: str, values: Sequence[float]) -> bool:
    """Whether an axis is best read in percent: its name is that of a share and its numbers are."""
    named = any(word in label.lower() for word in _SHARES)
    return named and min(values, default=0.0) >= -1.0 and max(values, default=0.0) <= 1.0


def brief(label: str) -> str:
    """A label short enough for a tip or a description."""
    return one_line(label, 80)


def mark(kind: int, x: float, y: float, class_: str, *children: str) -> Markup:
    """The mark of a series, a different shape for each."""
    shapes: dict[int, list[tuple[float, float]]] = {
        1: [(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)],
        2: [(0, -4.6), (4.4, 3.4), (-4.4, 3.4)],
        3: [(0, -5), (5, 0), (0, 5), (-5, 0)],
        4: [(0, 4.6), (4.4, -3.4), (-4.4, -3.4)],
        5: [(-4.5, -1.5), (4.5, -1.5), (4.5, 1.5), (-4.5, 1.5)],
        6: [(-4, -4), (4, -4), (-4, 4), (4, 4)],
        7: [(-1.5, -4.5), (1.5, -4.5), (1.5, 4.5), (-1.5, 4.5)],
    }
    if kind % SERIES == 0:
        return tag("circle", *children, cx=x, cy=y, r=3.6, class_=class_)
    return tag("polygon", *children, points=path([(x + a, y + b) for a, b in shapes[kind % SERIES]]), class_=class_)


def series(index: int, control: bool) -> str:
    """The class of a series; controls have one of their own."""
    return "sc" if control else f"s{index % SERIES}"


def path(points: Sequence[tuple[float, float]]) -> str:
    """Points as SVG attributes have them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
