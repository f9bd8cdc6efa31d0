"""Outcomes of the mismatch probe by input and condition, read from evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from muroan.data.pairs import FOUND
from muroan.evidence import Evidence
from muroan.interventions.swaps import SHIFTS, SWAPS, Elsewhere, Matched, OtherClass, Swapped
from muroan.rows import Rows, Worst

SAME = 1e-6
"""Confidence that falls by less has not fallen: less is rounding."""

# Of one sample: what is lost to the null change.
LOST = pl.col("was_right") - pl.col("right")
UNSURE = pl.col("was_sure") - pl.col("confidence")
HIDDEN = (pl.col("was_parts") - pl.col("parts_confidence")) - UNSURE
STAYS_SURE = UNSURE <= SAME
LENT, OWN = pl.col("predicted") == pl.col("donor_class"), pl.col("predicted") == pl.col("target")
BEFORE = pl.col("was_predicted") == pl.col("donor_class")
DECIDED = LENT | OWN


class View:
    """What came of each input, by what was done to it.

    cells[m][name]: rows of all samples, those to whom it was done first told by `done`, with what the null change made
    of them beside: was_right, was_sure, was_parts, was_predicted; of a shift `right` is the mean over its severities,
    and levels[m][name] holds them one by one. What was done to nobody is left out.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.about = evidence.about
        self.paired = self.about.classes == FOUND
        self.cells: dict[str, dict[str, Rows]] = {}
        self.levels: dict[str, dict[str, list[Rows]]] = {}
        self._known = set(evidence.conditions())
        for m in self.about.modalities:
            null = self._rows(evidence, Matched(m))
            if null is None:
                continue
            was = {"was_right": null["right"], "was_predicted": null["predicted"]}
            self.scored = not null.frame["confidence"].null_count()
            was |= {"was_sure": null["confidence"], "was_parts": null["parts_confidence"]} if self.scored else {}
            swapped = {swap.name: self._rows(evidence, swap(m)) for swap in SWAPS}
            cells = {Matched.name: null} | {name: rows for name, rows in swapped.items() if rows is not None}
            shifted = {s.name: [self._rows(evidence, s(m, k + 1)) for k in range(len(s.levels))] for s in SHIFTS}
            self.levels[m] = {name: [r for r in of if r is not None] for name, of in shifted.items() if any(of)}
            for name, of in self.levels[m].items():
                cells[name] = of[0].having(right=np.mean([rows["right"] for rows in of], axis=0))
            self.cells[m] = {name: rows.having(**was) for name, rows in cells.items()}

    def _rows(self, evidence: Evidence, change: Elsewhere) -> Rows | None:
        if change.condition not in self._known:
            return None
        rows = Rows.of(evidence, change.condition)
        place = {name: k for k, name in enumerate(self.about.classes)}
        return rows.having(predicted=[place[said] for said in rows.column("said")]) if rows["done"].any() else None

    def of(self, name: str) -> dict[str, Rows]:
        """What came of each input of one change."""
        return {m: cells[name] for m, cells in self.cells.items() if name in cells}

    @property
    def key(self) -> type[Elsewhere]:
        """The swap that a sample should not survive."""
        return Swapped if self.paired else OtherClass

    @property
    def keyed(self) -> dict[str, Rows]:
        return self.of(self.key.name)


def done(rows: Rows) -> Rows:
    """Those to whom something was done."""
    return rows.where(pl.col("done"))


def tied(rows: Rows) -> Rows:
    """Rows that are compared with themselves as they were: a sample without a cluster is one."""
    return replace(rows, frame=rows.frame.with_columns(pl.coalesce("cluster", "sample").alias("cluster")))


def worst(
    cells: Mapping[str, Rows],
    what: pl.Expr,
    bounds: tuple[float, float],
    *,
    ways: tuple[float, float] | None = None,
    among: pl.Expr | None = None,
) -> Worst[str]:
    """The input of which something is largest on average, over whom it was done to (and `among` holds for)."""
    counted = pl.col("done") if among is None else pl.col("done") & among
    any_rows = next(iter(cells.values()))
    columns = {m: rows[what] for m, rows in cells.items()}
    return any_rows.worst(columns, bounds, ways=ways, counted={m: rows[counted] for m, rows in cells.items()})
