"""What came of each sample under each perturbation: the evidence of the corruptions probe as arrays, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.evidence import Evidence
from muroan.interventions.perturbations import TABLE
from muroan.rows import Floats, Rows

Bools = NDArray[np.bool_]

NULL = 0
"""The severity of the null change."""
UNDEFINED = "nothing is right on clean inputs, so no share of it can be lost"


def mmi(clean: float, perturbed: float) -> float:
    """Multimodal impact of two scores of which higher is better: the share of `clean` that is lost."""
    if clean <= 0:
        raise ValueError(UNDEFINED)
    return (clean - perturbed) / clean


class Judged(NamedTuple):
    """What the fidelity gate says of changed texts, [n, S] each."""

    similarity: NDArray[np.float32]
    tries: NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """Outcomes of one perturbation [n, S], a column a severity: it may have fewer than another.

    right, same, changed: right, the same answer as clean, and the input is not what it was. judged: None where no judge
    looked.
    """

    family: str
    severities: tuple[int, ...]
    right: Bools
    same: Bools
    changed: Bools
    judged: Judged | None

    def at(self, severity: int) -> Floats | None:
        """Right at a severity; None where it has no such severity."""
        if severity not in self.severities:
            return None
        return self.right[:, self.severities.index(severity)].astype(np.float64)


@dataclass(frozen=True)
class Side:
    """Outcomes of one modality's conditions, of the n samples that have it, in the order of their names.

    has bool [N]: which of all samples these are. rows: theirs, after the null change.
    """

    modality: str
    has: Bools
    rows: Rows
    of: Mapping[str, Outcome]

    @property
    def severities(self) -> tuple[int, ...]:
        """Those of any perturbation."""
        return tuple(sorted({s for o in self.of.values() for s in o.severities}))

    @property
    def right(self) -> Floats:
        """Right on average over severities, then over perturbations [n]."""
        return average([o.right.mean(axis=1) for o in self.of.values()])

    @property
    def same(self) -> Floats:
        """The same answer, on the same average [n]."""
        return average([o.same.mean(axis=1) for o in self.of.values()])

    def among_all(self, values: Floats) -> Floats:
        """Values [n] as those of all samples [N], 0 where a sample lacks the modality."""
        whole = np.zeros(len(self.has))
        whole[self.has] = values
        return whole


def average(columns: Sequence[Floats]) -> Floats:
    """The mean of equally long columns."""
    return np.asarray(np.mean(columns, axis=0))


def read(evidence: Evidence) -> tuple[Rows, list[Side]]:
    """A row for each of all samples, and the sides with at least one perturbation and one sample."""
    nulls: dict[str, Rows] = {}
    conditions: dict[str, dict[tuple[str, str], dict[int, pl.DataFrame]]] = {}
    # A condition at a time, and of it only what is looked at: all of them at once would grow with their number.
    for condition in evidence.conditions():
        rows = Rows.of(evidence, condition)
        first = rows.frame.row(0, named=True)
        modality = str(first["modality"])
        if first["severity"] == NULL:
            kept = rows.frame.select("sample", "cluster", "present", "correct", "clean_correct")
            nulls[modality] = replace(rows, frame=kept)
            continue
        judged = ("similarity", "tries") if rows.frame["similarity"].count() else ()
        frames = conditions.setdefault(modality, {}).setdefault((str(first["corruption"]), str(first["family"])), {})
        frames[int(first["severity"])] = rows.frame.filter("present").select(
            "correct", "changed", pl.col(judged).cast(pl.Float32), same=pl.col("predicted") == pl.col("clean_predicted")
        )
    sides = [_side(m, nulls[m], of) for m, of in conditions.items() if nulls[m]["present"].any()]
    return next(iter(nulls.values())), sides


def _side(modality: str, null: Rows, conditions: Mapping[tuple[str, str], Mapping[int, pl.DataFrame]]) -> Side:
    order = {p.name: k for k, p in enumerate(TABLE)}
    names = sorted(conditions, key=lambda c: (order.get(c[0], len(order)), c))
    of = {name: _outcome(family, conditions[name, family]) for name, family in names}
    return Side(modality, null.column("present"), null.where("present"), of)


def _outcome(family: str, frames: Mapping[int, pl.DataFrame]) -> Outcome:
    severities = sorted(frames)

    def table(column: str) -> NDArray[Any]:
        return np.stack([frames[s][column].to_numpy() for s in severities], axis=1)

    looked = "similarity" in frames[severities[0]].columns
    judged = Judged(table("similarity"), table("tries")) if looked else None
    return Outcome(family, tuple(severities), table("correct"), table("same"), table("changed"), judged)
