"""Classes and groups of two data sets side by side: what each loses from one to the other, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from muroan.estimate import Estimate
from muroan.finding import Cell, TableChart
from muroan.rows import SMALLEST_GROUP, Rows

SAME, WHOLE = "the same", "the whole reference"


@dataclass(frozen=True)
class Compared:
    """One class or group value: its rows of both sets, and the drop between them, with a simultaneous interval.

    against: what of the reference it is compared with, `SAME` or `WHOLE`.
    """

    name: str
    reference: Rows
    audited: Rows
    against: str
    drop: Estimate


def side_by_side(
    reference: Rows, audited: Rows, values: Mapping[str, pl.Expr]
) -> tuple[list[Compared], list[Compared]]:
    """The values that both sets have; and those that the reference lacks, compared with all of it."""
    both, new = [], []
    for name, holds in values.items():
        theirs, ours = reference.where(holds), audited.where(holds)
        if len(ours) and len(theirs):
            both.append((name, theirs, ours, SAME))
        elif len(ours):
            new.append((name, reference, ours, WHOLE))
    return _at_once(both), _at_once(new)


def _at_once(asked: Sequence[tuple[str, Rows, Rows, str]]) -> list[Compared]:
    """Drops with intervals that hold for all of them at once (Bonferroni); those too small are left out."""
    kept = [q for q in asked if _enough(q[1]) and _enough(q[2])]
    return [Compared(*q, q[1].at(1 - (1 - q[1].level) / len(kept)).more_than(q[2], "correct")) for q in kept]


def _enough(rows: Rows) -> bool:
    return len(rows) >= SMALLEST_GROUP and (rows.clusters is None or len(set(rows.clusters)) > 1)


def worst(several: Sequence[Compared]) -> tuple[Estimate, str]:
    """The largest drop, its interval at the level of one, and what it is of."""
    most = max(several, key=lambda c: c.drop.value)
    value = most.drop.value
    changed = {
        "low": min(value, max(c.drop.low for c in several)),
        "high": max(value, *(c.drop.high for c in several)),
        "level": most.reference.level,
        "method": f"{most.drop.method}, Bonferroni over {len(several)}",
    }
    return most.drop.model_copy(update=changed), f"{most.name!r}, the worst of {len(several)}"


def table(of: str, several: Sequence[Compared]) -> TableChart:
    columns = [of, "reference", "audited", "lost", "low", "high", "n reference", "n audited", "compared with"]
    rows: list[list[Cell]] = []
    for c in sorted(several, key=lambda c: -c.drop.value):
        sides = c.reference, c.audited
        shares, sizes = [float(s["correct"].mean()) for s in sides], [len(s) for s in sides]
        rows.append([c.name, *shares, c.drop.value, c.drop.low, c.drop.high, *sizes, c.against])
    return TableChart(title=f"By {of} (intervals hold for all rows at once)", columns=columns, rows=rows)
