"""Which input, and which combination of inputs, is cheapest to break: findings and pictures over the budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

from muroan.estimate import Estimate
from muroan.evidence import About
from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart, MatrixChart
from muroan.modality import Text
from muroan.robustness.adversarial.gradient.cells import HALF, JOINT, Cells, named
from muroan.robustness.adversarial.gradient.grid import ALL_CELLS, Cell

if TYPE_CHECKING:
    from muroan.robustness.adversarial.gradient.probe import Gradient


def budget_of(probe: Gradient, about: About, m: str, share: float) -> str:
    """A share of an input's budget in its own unit: "4/255", "0.05", "1 word"; of none: "unchanged"."""
    kind = about.modalities[m]
    if not share:
        return "unchanged"
    full = probe.full_budget(m, kind)
    if kind == Text.kind:
        words = round(full.words * share)
        return f"{words} word{'s' if words != 1 else ''}"
    radius = full.radius * share
    return f"{radius * 255:.3g}/255" if kind == "image" else f"{radius:.3g}"


def spelled(probe: Gradient, about: About, cells: Cells, cell: Cell) -> str:
    """A cell in words: "image 4/255 + question 1 word"."""
    used = [(m, s) for m, s in zip(cells.names, cell, strict=True) if s]
    return " + ".join(f"{m} {budget_of(probe, about, m, s)}" for m, s in used)


def cheapest(probe: Gradient, about: About, cells: Cells) -> tuple[list[Finding], list[str]]:
    """The cheapest combinations at which half of the right answers give way, and the medians; notes."""
    found, notes = [], []
    for cell in cells.frontier():
        rate = cells.rates[cell]
        less = "; ".join(f"{spelled(probe, about, cells, c)}: {cells.rates[c].value:.0%}" for c in cells.below(cell))
        doubt = "" if rate.low >= HALF else " The interval holds a half, so it may take a step more."
        found.append(
            Finding(
                probe=probe.name,
                metric="success",
                title=f"Cheapest to break: {spelled(probe, about, cells, cell)}",
                estimate=rate,
                condition=named(cells.names, cell),
                judged=False,
                controls={"random change of the full budgets of the same inputs": cells.estimate(cells.random(cell))},
                note=f"A step less: {less or 'nothing was tried'}.{doubt}",
            )
        )
    if not found:
        best = max(cells.rates.values(), key=lambda e: e.value)
        notes.append(f"In no combination do half of the right answers give way; the most is {best.value:.0%}.")
    lines: list[tuple[str | None, Mapping[float, Cell]]] = [(m, cells.axis(m)) for m in cells.names]
    if len(cells.names) > 1:
        lines.append((None, cells.diagonal()))
    for m, along in lines:
        estimate = cells.half(along)
        never = float((cells.smallest(along) == math.inf).mean())
        what = f"{m} alone" if m else "all inputs, each as much of its budget as the others"
        beyond = " Half is not reached: 1 stands for more than all of it." if never > 1 - HALF else ""
        found.append(
            Finding(
                probe=probe.name,
                metric="half_budget",
                title=f"Share of the budget at which half of the right answers give way: {what}",
                estimate=estimate,
                modality=m,
                judged=False,
                note=f"Tried: {', '.join(f'{s:.3g}' for s in along)}; {never:.0%} do not give way to any.{beyond}",
            )
        )
    return found, notes


def charts(probe: Gradient, about: About, cells: Cells, rates: Mapping[str, Estimate]) -> list[Chart]:
    """Full budgets beside their random controls, the grid, and success over the share of the budgets.

    rates: of every condition.
    """
    whole = [cells.conditions[c] for c in cells.conditions if set(c) <= {0.0, 1.0}]
    bars = [Bar(label=c, estimate=rates[c], of="attack") for c in whole]
    bars += [Bar(label=c, estimate=rates[f"random {c}"], of="random, equal size", control=True) for c in whole]
    title, y_label = "Which input is cheapest to break?", "share of right answers turned"
    out: list[Chart] = [BarChart(title=title, y_label=y_label, bars=bars, y_range=(0, 1))]
    along = {m: cells.axis(m) for m in cells.names} | ({JOINT: cells.diagonal()} if len(cells.names) > 1 else {})
    lines = [_line(name, {s: cells.rates[c] for s, c in some.items()}) for name, some in along.items()]
    title = "Success over the share of the full budgets"
    if 1 < len(cells.names) <= ALL_CELLS:
        out.append(_grid(probe, about, cells))
    out.append(LineChart(title=title, x_label="share of the full budget", y_label=y_label, lines=lines, y_range=(0, 1)))
    return out


def _line(name: str, rates: Mapping[float, Estimate]) -> Line:
    known = sorted(rates.items())
    some = [e for _, e in known]
    return Line(
        label=name,
        x=[0.0, *(s for s, _ in known)],
        y=[0.0, *(e.value for e in some)],
        low=[0.0, *(e.low for e in some)],
        high=[0.0, *(e.high for e in some)],
        n=[some[0].n, *(e.n for e in some)],
    )


def _grid(probe: Gradient, about: About, cells: Cells) -> MatrixChart:
    """Success in every cell: the first input down, the others across."""
    first, *others = cells.names
    across = list(product(*(cells.levels(m) for m in others)))
    down = cells.levels(first)
    n = next(iter(cells.rates.values())).n
    return MatrixChart(
        title=f"Share of {n} right answers turned, by budget: {first} down, {' and '.join(others)} across",
        rows=[f"{first} {budget_of(probe, about, first, s)}" for s in down],
        columns=[
            ", ".join(f"{m} {budget_of(probe, about, m, s)}" for m, s in zip(others, c, strict=True)) for c in across
        ],
        values=[[cells.rates[s, *c].value if any((s, *c)) else 0.0 for c in across] for s in down],
        value_range=(0, 1),
    )
