"""Outcomes of the mismatch probe by input and condition, read from evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from muroan.data.pairs import FOUND
from muroan.evidence import Evidence
from muroan.interventions.swaps import REAL, SHIFTS, Elsewhere, Matched, OtherClass, Swapped
from muroan.rows import Rows, Worst

SAME = 1e-6
"""Confidence that falls by less has not fallen: less is rounding."""


class View:
    """What came of each input, by what was done to it.

    cells[m][name]: rows of all samples, `done` says to whom it was done; beside the evidence's columns what the null
    change made of the same sample (`was_right`, ...) and what follows from both. Of a shift `right` is the mean over
    its severities, and levels[m][name] holds them one by one. What was done to nobody is left out.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.about, self.paired, self.scored = evidence.about, evidence.about.classes == FOUND, False
        self.cells: dict[str, dict[str, Rows]] = {}
        self.levels: dict[str, dict[str, list[Rows]]] = {}
        known = set(evidence.conditions())

        def seen(change: Elsewhere) -> list[Rows]:
            if change.condition not in known:
                return []
            rows = Rows.of(evidence, change.condition)
            return [rows] if rows["done"].any() else []

        for m in self.about.modalities:
            cells = {change.name: rows for change in REAL for rows in seen(change(m))}
            if Matched.name not in cells:
                continue
            null = cells[Matched.name]
            self.scored = not null.frame["confidence"].null_count()
            shifted = {s.name: [r for k in range(len(s.levels)) for r in seen(s(m, k + 1))] for s in SHIFTS}
            self.levels[m] = {name: of for name, of in shifted.items() if of}
            for name, of in self.levels[m].items():
                cells[name] = of[0].having(right=np.mean([rows["right"] for rows in of], axis=0))
            self.cells[m] = {name: self._beside(rows, null) for name, rows in cells.items()}

    def _beside(self, rows: Rows, null: Rows) -> Rows:
        """Rows with what the null change made of the same samples, and with what follows from both."""
        place = {name: k for k, name in enumerate(self.about.classes)}
        said, was_said = ([place[word] for word in of.column("said")] for of in (rows, null))
        rows = rows.having(
            said_now=said,
            said_before=was_said,
            was_right=null["right"],
            was_sure=null["confidence"],
            was_parts=null["parts_confidence"],
        )
        now, before, donor, target = map(pl.col, ("said_now", "said_before", "donor_class", "target"))
        lost, unsure = pl.col("was_right") - pl.col("right"), pl.col("was_sure") - pl.col("confidence")
        return rows.having(
            lost=lost,
            unshown=lost - unsure,
            hidden=(pl.col("was_parts") - pl.col("parts_confidence")) - unsure,
            stays_sure=unsure <= SAME,
            lent=now == donor,
            decided=(now == donor) | (now == target),
            lent_before=before == donor,
            decided_before=(before == donor) | (before == target),
            doubt=self._doubt(pl.col("confidence"), now),
            was_doubt=self._doubt(pl.col("was_sure"), before),
        )

    def _doubt(self, sure: pl.Expr, said: pl.Expr) -> pl.Expr:
        """How little a model believes in a sample: 1 − confidence; for pairs 1 − p(found)."""
        return pl.when(said == FOUND.index("missed")).then(sure).otherwise(1 - sure) if self.paired else 1 - sure

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
    return replace(rows, frame=rows.frame.with_columns(cluster=pl.coalesce("cluster", "sample")))


def worst(
    cells: Mapping[str, Rows],
    what: str | pl.Expr,
    bounds: tuple[float, float],
    *,
    ways: tuple[float, float] | None = None,
    among: str = "done",
) -> Worst[str]:
    """The input of which something is largest on average, over whom it was done to (and `among` holds for)."""
    counted = {m: rows["done"] * rows[among] for m, rows in cells.items()}
    columns = {m: rows[what] for m, rows in cells.items()}
    return next(iter(cells.values())).worst(columns, bounds, ways=ways, counted=counted)
