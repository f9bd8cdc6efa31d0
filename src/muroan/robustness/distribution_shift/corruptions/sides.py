"""What came of each sample under each perturbation: the evidence of the corruptions probe as arrays, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.evidence import AUDITED, Evidence
from muroan.interventions.perturbations import TABLE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NULL = 0
"""The severity of the null change."""
UNDEFINED = "nothing is right on clean inputs, so no share of it can be lost"


def relative_drop(sums: Floats, clean: Sequence[int], perturbed: Sequence[int]) -> Floats:
    """1 − perturbed / clean of totals [B, K], for pairs of columns: [B, pairs]; NaN where nothing was right."""
    before, after = sums[:, list(clean)], sums[:, list(perturbed)]
    return np.asarray(np.where(before > 0, 1 - after / np.where(before > 0, before, 1), np.nan))


def mmi(clean: float, perturbed: float) -> float:
    """Multimodal impact of two scores of which higher is better: the share of `clean` that is lost."""
    if clean <= 0:
        raise ValueError(UNDEFINED)
    return (clean - perturbed) / clean


@dataclass(frozen=True)
class Outcome:
    """Outcomes of one perturbation, of all samples, a column a severity: it may have fewer than another.

    right, same, changed: bool [N, S]: right, the same answer as clean, and the input is not what it was. similarity,
    tries: [N, S] of the fidelity gate, NaN where there was none.
    """

    family: str
    severities: tuple[int, ...]
    right: Bools
    same: Bools
    changed: Bools
    similarity: NDArray[np.float32]
    tries: NDArray[np.float32]

    @property
    def gated(self) -> bool:
        """Whether a judge looked at it."""
        return bool(np.isfinite(self.similarity).any())

    def at(self, severity: int, keep: Bools) -> Floats | None:
        """Right at a severity, of the samples that are kept; None where it has no such severity."""
        if severity not in self.severities:
            return None
        return np.asarray(self.right[keep, self.severities.index(severity)], dtype=np.float64)


@dataclass(frozen=True)
class Side:
    """Outcomes of one modality's conditions, of all samples (rows in the order of their names).

    has [N]: 1 where the sample has the modality, others are no part of its figures. null [N]: right after the null
    change.
    """

    modality: str
    has: Floats
    null: Floats
    of: Mapping[str, Outcome]

    @property
    def severities(self) -> tuple[int, ...]:
        """Those of any perturbation."""
        return tuple(sorted({s for o in self.of.values() for s in o.severities}))

    @property
    def overall(self) -> Floats:
        """Right on average over severities, then over perturbations [N]."""
        return average([o.right.mean(axis=1) for o in self.of.values()])


def average(columns: Sequence[Floats]) -> Floats:
    """The mean of equally long columns."""
    return np.asarray(np.mean(columns, axis=0))


def read(evidence: Evidence) -> tuple[list[Side], pl.DataFrame]:
    """The sides with at least one perturbation and one sample, and one row per sample."""
    known = {p.name: k for k, p in enumerate(TABLE)}
    one = pl.DataFrame()
    conditions: dict[str, dict[tuple[str, int], pl.DataFrame]] = {}
    # A condition at a time, and of it only what is looked at: all of them at once would grow with their number.
    for condition in evidence.conditions():
        rows = evidence.of(AUDITED, condition).sort("sample")
        one = rows if one.is_empty() else one
        first = rows.row(0, named=True)
        conditions.setdefault(str(first["modality"]), {})[str(first["corruption"]), int(first["severity"])] = (
            rows.select(
                pl.col("family").cast(pl.Categorical),
                *("present", "changed", "correct", "similarity", "tries"),
                same=pl.col("predicted") == pl.col("clean_predicted"),
            )
        )
    sides = []
    for modality, frames in conditions.items():
        null = next(frame for (_, s), frame in frames.items() if s == NULL)
        names = sorted({c for c, s in frames if s != NULL}, key=lambda c: (known.get(c, len(known)), c))
        if names and null["present"].any():
            sides.append(
                Side(
                    modality=modality,
                    has=null["present"].cast(pl.Float64).to_numpy(),
                    null=null["correct"].cast(pl.Float64).to_numpy(),
                    of={c: _outcome({s: f for (d, s), f in frames.items() if d == c}) for c in names},
                )
            )
    return sides, one


def _outcome(frames: Mapping[int, pl.DataFrame]) -> Outcome:
    severities = tuple(sorted(frames))

    def table(column: str) -> Bools:
        return np.stack([frames[s][column].to_numpy() for s in severities], axis=1)

    def numbers(column: str) -> NDArray[np.float32]:
        columns = [frames[s][column].cast(pl.Float32).fill_null(float("nan")).to_numpy() for s in severities]
        return np.stack(columns, axis=1)

    return Outcome(
        family=str(frames[severities[0]]["family"][0]),
        severities=severities,
        right=table("correct"),
        same=table("same"),
        changed=table("changed"),
        similarity=numbers("similarity"),
        tries=numbers("tries"),
    )
