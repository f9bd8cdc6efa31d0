"""The grid of budgets as it stands in the evidence: how often answers give way in each cell, and where half of them do.

A cell is a share of its full budget for every attackable input. Success of nested cells is nested by construction, so
"the smallest budget at which a sample gives way" is well defined, and so are medians of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from muroan.estimate import Estimate, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.robustness.adversarial.gradient.grid import Cell, contains, next_below

JOINT, NULL, UNBOUNDED = "joint", "null", "unbounded"
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
    """Rows of the attacked samples by condition, sorted by sample, and the cells (small before large) among them."""

    names: tuple[str, ...]
    by: Mapping[str, pl.DataFrame]
    level: float

    @staticmethod
    def of(evidence: Evidence) -> Cells:
        rows = evidence.of(AUDITED).filter(pl.col("attacked")).sort("sample")
        by = {c: rows.filter(pl.col("condition") == c) for c in evidence.conditions()}
        return Cells(tuple(m for m in evidence.about.modalities if SHARE + m in rows.columns), by, evidence.about.level)

    @cached_property
    def conditions(self) -> dict[Cell, str]:
        """Cell -> its condition."""
        found: dict[Cell, str] = {}
        for c, rows in self.by.items():
            if c not in (NULL, UNBOUNDED) and not c.startswith(RANDOM):
                found[tuple(float(rows[SHARE + m][0]) for m in self.names)] = c
        return dict(sorted(found.items(), key=lambda item: (sum(item[0]), item[0])))

    @cached_property
    def clusters(self) -> list[str] | None:
        """Of the attacked samples, in the order of every condition's rows."""
        return clusters(self.by[NULL])

    @cached_property
    def rates(self) -> dict[Cell, Estimate]:
        """Success in every cell."""
        return {c: self.estimate(self.success(c)) for c in self.conditions}

    def estimate(self, hits: np.ndarray) -> Estimate:
        """The share of the attacked samples [N] for which something holds."""
        return proportion(hits, self.clusters, level=self.level)

    def success(self, cell: Cell) -> np.ndarray:
        """Who gives way in a cell, bool [N]."""
        return self.by[self.conditions[cell]]["success"].to_numpy()

    def random(self, cell: Cell) -> np.ndarray:
        """Who gives way to random changes of everything that the cell's inputs may change, bool [N]."""
        return self.by[RANDOM + named(self.names, tuple(float(s > 0) for s in cell))]["success"].to_numpy()

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
        out = {}
        for share in sorted({max(c) for c in self.conditions}):
            out[share] = max((c for c in self.conditions if max(c) <= share), key=sum)
        return out

    def smallest(self, cells: Mapping[float, Cell]) -> np.ndarray:
        """Per attacked sample the smallest share at which it gives way, [N]; infinite where it never does."""
        least = np.full(len(self.by[NULL]), np.inf)
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
            level=self.level,
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
