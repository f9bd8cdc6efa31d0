"""Which input, and which combination of inputs, is cheapest to break: findings and pictures over the budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

from muroan.estimate import Estimate
from muroan.finding import Bar, BarChart, Chart, Line, LineChart, MatrixChart
from muroan.robustness.adversarial.attack_probe import SUCCESS, TURNED
from muroan.robustness.adversarial.gradient.cells import HALF, JOINT, Cells
from muroan.robustness.adversarial.gradient.grid import ALL_CELLS, Cell
from muroan.say import Say


def cheapest(say: Say, cells: Cells) -> list[str]:
    """Says the cheapest combinations at which half of the right answers give way, and the medians; returns notes."""
    frontier = cells.frontier()
    for cell in frontier:
        rate = cells.rates[cell]
        less = "; ".join(f"{cells.spelled(c)}: {cells.rates[c].value:.0%}" for c in cells.below(cell))
        doubt = "" if rate.low >= HALF else " The interval holds a half, so it may take a step more."
        say.detail(
            "success",
            f"Cheapest to break: {cells.spelled(cell)}",
            rate,
            condition=cells.conditions[cell],
            controls={"random change of the full budgets of the same inputs": SUCCESS(cells.chance(cell))},
            note=f"A step less: {less or 'nothing was tried'}.{doubt}",
        )
    for m, along in _ways(cells).items():
        never = float((cells.smallest(along) == math.inf).mean())
        what = "all inputs, each as much of its budget as the others" if m == JOINT else f"{m} alone"
        beyond = " Half is not reached: 1 stands for more than all of it." if never > 1 - HALF else ""
        say.detail(
            "half_budget",
            f"Share of the budget at which half of the right answers give way: {what}",
            cells.half(along),
            modality=None if m == JOINT else m,
            note=f"Tried: {', '.join(f'{s:.3g}' for s in along)}; {never:.0%} do not give way to any.{beyond}",
        )
    most = max(rate.value for rate in cells.rates.values())
    return [] if frontier else [f"In no combination do half of the right answers give way; the most is {most:.0%}."]


def _ways(cells: Cells) -> dict[str, dict[float, Cell]]:
    """Share -> cell, along the budget of each input alone and of all of them together."""
    return {m: cells.axis(m) for m in cells.names} | ({JOINT: cells.diagonal()} if len(cells.names) > 1 else {})


def charts(cells: Cells) -> list[Chart]:
    """Full budgets beside their random controls, the grid, and success over the share of the budgets."""
    whole = [c for c in cells.conditions if set(c) <= {0.0, 1.0}]
    bars = [Bar(label=cells.conditions[c], estimate=cells.rates[c], of="attack") for c in whole]
    bars += [
        Bar(label=cells.conditions[c], estimate=SUCCESS(cells.chance(c)), of="random, equal size", control=True)
        for c in whole
    ]
    lines = [_line(name, {s: cells.rates[c] for s, c in along.items()}) for name, along in _ways(cells).items()]
    grid = [_grid(cells)] if 1 < len(cells.names) <= ALL_CELLS else []
    return [
        BarChart(title="Which input is cheapest to break?", y_label=TURNED, bars=bars, y_range=(0, 1)),
        *grid,
        LineChart(
            title="Success over the share of the full budgets",
            x_label="share of the full budget",
            y_label=TURNED,
            lines=lines,
            y_range=(0, 1),
        ),
    ]


def _line(name: str, rates: Mapping[float, Estimate]) -> Line:
    """Success by the share of a budget, from none at none."""
    nothing = next(iter(rates.values())).model_copy(update={"value": 0.0, "low": 0.0, "high": 0.0})
    known = {0.0: nothing} | dict(sorted(rates.items()))
    return Line.of(name, list(known), list(known.values()))


def _grid(cells: Cells) -> MatrixChart:
    """Success in every cell: the first input down, the others across."""
    first, *others = cells.names
    down, across = cells.levels(first), list(product(*(cells.levels(m) for m in others)))
    return MatrixChart(
        title=f"Share of {len(cells.attacked)} right answers turned, by budget: {first} down, {' and '.join(others)} "
        "across",
        rows=[f"{first} {cells.worded(first, s)}" for s in down],
        columns=[", ".join(f"{m} {cells.worded(m, s)}" for m, s in zip(others, c, strict=True)) for c in across],
        values=[[cells.rates[s, *c].value if any((s, *c)) else 0.0 for c in across] for s in down],
        value_range=(0, 1),
    )
