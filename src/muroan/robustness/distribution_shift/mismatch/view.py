"""Outcomes of the mismatch probe by input and condition, read from evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.data.pairs import FOUND
from muroan.evidence import About, Evidence, clusters
from muroan.interventions.swaps import MATCHED, SHIFTS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One condition of one input, all [N]: samples it was applied to, what was answered, and how surely.

    confidence and parts are None without scores, parts also where no part could be asked by itself. donor: the class
    of the sample that lent, −1 nobody.
    """

    applied: Flags
    predicted: NDArray[np.int64]
    correct: Floats
    follows: Floats
    donor: NDArray[np.int64]
    confidence: Floats | None
    parts: Floats | None


@dataclass(frozen=True)
class View:
    """cells[modality][condition]; a condition of several severities stands by its name and number ("delayed 3")."""

    about: About
    frame: pl.DataFrame
    cells: Mapping[str, Mapping[str, Cell]]
    targets: NDArray[np.int64]

    @staticmethod
    def read(evidence: Evidence) -> View:
        cells: dict[str, dict[str, Cell]] = {}
        frame = evidence.of().clear()
        for m in evidence.about.modalities:
            of = evidence.of().filter(pl.col("modality") == m)
            cells[m] = {}
            for (name, severity), rows in sorted(of.group_by(["mismatch", "severity"], maintain_order=True)):
                cells[m][f"{name} {severity}" if severity else str(name)] = _cell(rows)
                frame = rows
        return View(evidence.about, frame, cells, frame["target"].to_numpy())

    @property
    def paired(self) -> bool:
        """Whether the classes are those of retrieval."""
        return self.about.classes == FOUND

    @property
    def scored(self) -> bool:
        return any(c.confidence is not None for of in self.cells.values() for c in of.values())

    @property
    def clusters(self) -> list[str] | None:
        return clusters(self.frame)

    def by(self, keep: Flags) -> list[str] | None:
        """Clusters of some samples, in the form that estimates take."""
        found = self.clusters
        return None if found is None else [c for c, k in zip(found, keep, strict=True) if k]

    def units(self, keep: Flags) -> list[str]:
        """What pairs two conditions of the same samples: clusters, or the samples themselves."""
        return self.by(keep) or [str(s) for s, k in zip(self.frame["sample"], keep, strict=True) if k]

    def matched(self, modality: str) -> Cell:
        return self.cells[modality][MATCHED]

    def cell(self, modality: str, name: str) -> Cell | None:
        """A condition's cell, if it was applied to any sample."""
        found = self.cells[modality].get(name)
        return found if found is not None and found.applied.any() else None

    def levels(self, modality: str, shift: str) -> list[Cell]:
        """The cells of a shift in order of severity; none where the input has no time axis."""
        row = next(s for s in SHIFTS if s.name == shift)
        found = [self.cell(modality, f"{shift} {k}") for k in range(1, len(row.levels) + 1)]
        return [c for c in found if c is not None]


def _cell(rows: pl.DataFrame) -> Cell:
    def column(name: str) -> Floats | None:
        return None if rows[name].null_count() else rows[name].to_numpy().astype(np.float64)

    return Cell(
        applied=rows["applied"].to_numpy().astype(bool),
        predicted=rows["predicted"].to_numpy().astype(np.int64),
        correct=rows["correct"].to_numpy().astype(np.float64),
        follows=rows["follows"].to_numpy().astype(np.float64),
        donor=rows["donor_class"].to_numpy().astype(np.int64),
        confidence=column("confidence"),
        parts=column("parts_confidence"),
    )
