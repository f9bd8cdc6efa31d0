"""The grid of budgets as it stands in the evidence: how often answers give way in each cell, and where half of them do.

A cell is a share of its full budget for every attackable input. Success of nested cells is nested by construction, so
"the smallest budget at which a sample gives way" is well defined, and so are medians of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.budget import Budgets
from muroan.estimate import Estimate
from muroan.evidence import Evidence
from muroan.figure import conditions
from muroan.robustness.adversarial.attack_probe import NULL, SUCCESS
from muroan.robustness.adversarial.gradient.grid import Cell, contains, next_below
from muroan.rows import Floats, Rows

JOINT, UNBOUNDED = "joint", "unbounded"
RANDOM = "random "
"""What the names of random controls begin with."""
SHARE = "share."
"""What the columns begin with that say which share of its full budget an input may use."""
HALF = 0.5


def named(names: Sequence[str], cell: Cell) -> str:
    """A cell's condition: "image 0.25 + question"; all inputs at full budgets: "joint"."""
    if all(s == 1 for s in cell):
        return JOINT
    return " + ".join(m if s == 1 else f"{m} {s:g}" for m, s in zip(names, cell, strict=True) if s)


@dataclass(frozen=True)
class Cells:
    """Rows of the attacked samples [N] by condition, and the cells (small before large) among the conditions.

    names: the inputs that a cell has shares of; budgets: what these are shares of, for those who want words.
    """

    names: tuple[str, ...]
    rows: Mapping[str, Rows]
    budgets: Budgets = field(default_factory=dict)

    @staticmethod
    def of(evidence: Evidence, budgets: Budgets | None = None) -> Cells:
        rows = conditions(evidence, pl.col("attacked"))
        names = tuple(m for m in evidence.about.modalities if SHARE + m in rows[NULL].frame.columns)
        return Cells(names, rows, budgets or {})

    @property
    def attacked(self) -> Rows:
        """The attacked samples, in the order of every condition's rows."""
        return self.rows[NULL]

    @cached_property
    def conditions(self) -> dict[Cell, str]:
        """Cell -> its condition."""
        cells = {
            tuple(float(rows.frame[SHARE + m][0]) for m in self.names): c
            for c, rows in self.rows.items()
            if c not in (NULL, UNBOUNDED) and not c.startswith(RANDOM)
        }
        return dict(sorted(cells.items(), key=lambda item: (sum(item[0]), item[0])))

    @cached_property
    def rates(self) -> dict[Cell, Estimate]:
        """Success in every cell."""
        return {cell: SUCCESS(self.at(cell)) for cell in self.conditions}

    def at(self, cell: Cell) -> Rows:
        """The rows of a cell."""
        return self.rows[self.conditions[cell]]

    def chance(self, cell: Cell) -> Rows:
        """The rows of random changes of everything that the cell's inputs may change."""
        return self.rows[RANDOM + named(self.names, tuple(float(s > 0) for s in cell))]

    def success(self, cell: Cell) -> NDArray[np.bool_]:
        """Who gives way in a cell, bool [N]."""
        return self.at(cell).column("success")

    def worded(self, m: str, share: float) -> str:
        """A share of an input's budget in its own unit: "4/255", "0.05", "1 word"; of none: "unchanged"."""
        budget, kind = self.budgets[m].scaled(share), self.attacked.about.modalities[m]
        if budget.empty:
            return "unchanged"
        if budget.words:
            return f"{budget.words} word{'s' if budget.words != 1 else ''}"
        return f"{budget.radius * 255:.3g}/255" if kind == "image" else f"{budget.radius:.3g}"

    def spelled(self, cell: Cell) -> str:
        """A cell in words: "image 4/255 + question 1 word"."""
        return " + ".join(f"{m} {self.worded(m, s)}" for m, s in zip(self.names, cell, strict=True) if s)

    @property
    def full(self) -> Cell:
        return (1.0,) * len(self.names)

    def alone(self, m: str) -> Cell:
        """All that input m may change, and nothing else."""
        return tuple(float(m == other) for other in self.names)

    def axis(self, m: str) -> dict[float, Cell]:
        """Share -> the cell that allows input m alone that share of its budget."""
        k = self.names.index(m)
        return {c[k]: c for c in self.conditions if c[k] == sum(c)}

    def diagonal(self) -> dict[float, Cell]:
        """Share -> the cell that allows every input that share of its budget, words rounded down."""
        shares = sorted({max(c) for c in self.conditions})
        return {share: max((c for c in self.conditions if max(c) <= share), key=sum) for share in shares}

    def smallest(self, cells: Mapping[float, Cell]) -> Floats:
        """Per attacked sample the smallest share at which it gives way, [N]; infinite where it never does."""
        least = np.full(len(self.attacked), np.inf)
        for share, cell in cells.items():
            least[self.success(cell)] = np.minimum(least[self.success(cell)], share)
        return least

    def half(self, cells: Mapping[float, Cell]) -> Estimate:
        """The median of `smallest`: the first share at which half give way; 1 if all of the budget is not enough.

        The interval is that of shares at which the interval of success holds a half (as Woodruff's for a quantile):
        its upper end is infinite where more than the whole budget may be needed.
        """
        rates = {share: self.rates[cell] for share, cell in sorted(cells.items())}
        value, low, high = (
            next((share for share, rate in rates.items() if getattr(rate, bound) >= HALF), math.inf)
            for bound in ("value", "high", "low")
        )
        any_rate = next(iter(rates.values()))
        return Estimate(
            value=min(value, 1.0),
            low=min(low, 1.0),
            high=high,
            level=self.attacked.level,
            n=any_rate.n,
            method=f"where {any_rate.method} of success holds a half, of {len(rates)} budgets",
            clusters=any_rate.clusters,
        )

    def frontier(self) -> list[Cell]:
        """The cheapest combinations: cells where half give way and no smaller one does it."""
        enough = [c for c in self.conditions if self.rates[c].value >= HALF]
        return [c for c in enough if not any(d != c and contains(c, d) for d in enough)]

    def below(self, cell: Cell) -> list[Cell]:
        """The largest cells that this one contains."""
        return next_below(cell, list(self.conditions))

    def levels(self, m: str) -> list[float]:
        """The shares of input m's budget that were tried, 0 among them."""
        return sorted({0.0, *(c[self.names.index(m)] for c in self.conditions)})
