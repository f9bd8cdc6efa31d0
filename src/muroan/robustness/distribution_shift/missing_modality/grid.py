"""Outcomes with every subset of the inputs, read from evidence, and what follows from them alone."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl

from muroan.estimate import Estimate
from muroan.estimate.curves import curve_area
from muroan.evidence import Evidence
from muroan.finding import Line
from muroan.interventions.removals import CLEAN, Kept, Removal, others, subsets
from muroan.rows import Floats, Rows

NEUTRAL, ABSENT = "neutral", "absent"
MOST_CLASSES = 50
"""Classes up to which what happens to each of them is asked for."""
RATES = tuple(i / 10 for i in range(11))
RISE = 1e-6
"""Confidence counts as changed from here on: less is rounding."""

# Of one sample, with everything and as it is with something missing.
FULL, RIGHT = pl.col("clean_correct").cast(pl.Float64), pl.col("right")
LOST = FULL - RIGHT
TURNED = FULL * (1 - RIGHT)
DOUBT = RIGHT - pl.col("confidence")
FULL_DOUBT = FULL - pl.col("clean_confidence")
SILENT = TURNED * (pl.col("confidence") >= pl.col("clean_confidence") - RISE)
RISES = pl.col("confidence") > pl.col("clean_confidence") + RISE
CHANGED = 1 - pl.col("same")


def condition(mode: str, kept: Kept) -> str:
    """How findings name what was left, and what stood for the rest."""
    return f"{mode}: only {' + '.join(kept)}"


class Grid:
    """Outcomes of the N samples that have all inputs.

    rows: with everything; without[m]: with one input missing. right, sure [N] by what is missing: right or not, and the
    confidence, empty for a model without scores. neutral: right or not with neutral values, where the model handles
    absent inputs itself. incomplete: samples that lack an input in the data themselves.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.about, self.names = evidence.about, tuple(evidence.about.modalities)
        self.missing = [others(self.names, kept) for kept in subsets(self.names)]
        single = {m: Rows.of(evidence, Removal((m,)).condition) for m in self.names}
        complete = np.all([rows["done"] for rows in single.values()], axis=0)
        self.rows = Rows.of(evidence, CLEAN).where(complete)
        self.without = {m: rows.where(complete) for m, rows in single.items()}
        self.incomplete = int((~complete).sum())
        self.scored = self.rows.frame["confidence"].null_count() == 0
        self.right: dict[Kept, Floats] = {}
        self.sure: dict[Kept, Floats] = {}
        self.neutral: dict[Kept, Floats] = {}
        known = set(evidence.conditions())
        for gone in self.missing:
            rows = Rows.of(evidence, Removal(gone).condition).where(complete)
            self.right[gone] = rows["right"]
            if self.scored:
                self.sure[gone] = rows["confidence"]
            untold = Removal(gone, told=False).condition
            if untold in known:
                self.neutral[gone] = Rows.of(evidence, untold).where(complete)["right"]
        self.mode = ABSENT if self.neutral else NEUTRAL

    def kept(self, gone: Kept) -> Kept:
        return others(self.names, gone)

    @property
    def tables(self) -> list[tuple[str, dict[Kept, Floats]]]:
        """Right or not, by what stands for a missing input."""
        return [(self.mode, self.right), *([(NEUTRAL, self.neutral)] if self.neutral else [])]

    @cached_property
    def worst_input(self) -> str:
        """The input that costs most when it alone is missing."""
        return max(self.names, key=lambda m: self.without[m][LOST].sum())

    @cached_property
    def several(self) -> bool:
        """Whether a constant guess says anything: where all samples have one answer it is always right."""
        return self.rows.frame["target"].n_unique() > 1

    @cached_property
    def constant(self) -> int:
        """The class that most samples are of."""
        return int(np.bincount(self.rows.column("target")).argmax())

    @cached_property
    def guess(self) -> Floats:
        """Whether the best constant answer is right [N]."""
        return self.rows[pl.col("target") == self.constant]

    def tilts(self) -> dict[str, Floats]:
        """For each modality how much more probable each class is without it [N, K]; empty where this is not known."""
        frames = {m: rows.frame["probabilities"] for m, rows in self.without.items()}
        full = self.rows.frame["probabilities"]
        if full.null_count():
            return {}
        shape = len(self.about.classes)
        p = {m: column.list.to_array(shape).to_numpy().astype(np.float64) for m, column in frames.items()}
        return {m: of - full.list.to_array(shape).to_numpy() for m, of in p.items()}

    def curve(self, modality: str) -> Floats:
        """Each sample's chance to be right at every rate of `RATES` at which one modality is missing: [N, rates]."""
        rows = self.without[modality]
        return np.stack([rows[FULL * (1 - eta) + RIGHT * eta] for eta in RATES], axis=1)

    def joint_curve(self) -> Floats | None:
        """The same if every modality is missing at that rate, independently; None unless all subsets are known.

        Where all would be missing one stays, each with the same chance.
        """
        n, eta = len(self.names), np.asarray(RATES)
        if len(self.missing) != 2**n - 2:
            return None
        curve = self.rows[FULL][:, None] * (1 - eta) ** n
        for gone, right in self.right.items():
            k = len(gone)
            chance = (1 - eta) ** (n - k) * eta**k + (eta**n / n if k == n - 1 else 0)
            curve = curve + right[:, None] * chance
        return np.asarray(curve)

    def area(self, curve: Floats) -> Estimate:
        """The mean over rates from 0 to 1 of a curve [N, rates]."""
        return self.rows.mean(curve @ [curve_area(row, RATES) for row in np.eye(len(RATES))], (0, 1))

    def line(self, label: str, curve: Floats, among: Floats | None = None) -> Line:
        """A curve [N, rates] with intervals, over the samples of `among` (bool [N]) or over all."""
        keep = np.ones(len(curve), dtype=bool) if among is None else np.asarray(among, dtype=bool)
        rows = self.rows.where(keep)
        return Line.of(label, RATES, [rows.mean(at, (0, 1)) for at in curve[keep].T])
