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


def condition(mode: str, kept: Kept) -> str:
    """How findings name what was left, and what stood for the rest."""
    return f"{mode}: only {' + '.join(kept)}"


class Grid:
    """Outcomes of the N samples that have all inputs.

    rows: with everything; without[m]: with one input missing, where what that changes has columns of its own. right,
    sure [N] by what is missing: right or not, and the confidence, empty for a model without scores. tables: right or
    not by what stands for a missing input: neutral values too, where the model handles absent inputs itself.
    incomplete: samples that lack an input in the data themselves.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.about, self.names = evidence.about, tuple(evidence.about.modalities)
        self.missing = [others(self.names, kept) for kept in subsets(self.names)]
        single = {m: Rows.of(evidence, Removal((m,)).condition) for m in self.names}
        complete = np.all([rows["done"] for rows in single.values()], axis=0)
        self.incomplete = int((~complete).sum())
        self.rows = _beside_all(Rows.of(evidence, CLEAN).where(complete))
        self.without = {m: _beside_all(rows.where(complete)) for m, rows in single.items()}
        self.scored = self.rows.frame["confidence"].null_count() == 0
        known = set(evidence.conditions())
        self.right: dict[Kept, Floats] = {}
        self.sure: dict[Kept, Floats] = {}
        neutral: dict[Kept, Floats] = {}
        for gone in self.missing:
            rows = Rows.of(evidence, Removal(gone).condition).where(complete)
            self.right[gone] = rows["right"]
            if self.scored:
                self.sure[gone] = rows["confidence"]
            untold = Removal(gone, told=False).condition
            if untold in known:
                neutral[gone] = Rows.of(evidence, untold).where(complete)["right"]
        self.tables = {ABSENT: self.right, NEUTRAL: neutral} if neutral else {NEUTRAL: self.right}

    def kept(self, gone: Kept) -> Kept:
        return others(self.names, gone)

    @cached_property
    def worst_input(self) -> str:
        """The input that costs most when it alone is missing."""
        return max(self.names, key=lambda m: (self.rows["full"] - self.right[m,]).sum())

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
        if self.rows.frame["probabilities"].null_count():
            return {}
        full = _probabilities(self.rows)
        return {m: _probabilities(rows) - full for m, rows in self.without.items()}

    def curve(self, modality: str) -> Floats:
        """Each sample's chance to be right at every rate of `RATES` at which one modality is missing: [N, rates]."""
        eta = np.asarray(RATES)
        curve: Floats = self.rows["full"][:, None] * (1 - eta) + self.right[modality,][:, None] * eta
        return curve

    def joint_curve(self) -> Floats | None:
        """The same if every modality is missing at that rate, independently; None unless all subsets are known.

        Where all would be missing one stays, each with the same chance.
        """
        n, eta = len(self.names), np.asarray(RATES)
        if len(self.missing) != 2**n - 2:
            return None
        curve: Floats = self.rows["full"][:, None] * (1 - eta) ** n
        for gone, right in self.right.items():
            k = len(gone)
            chance = (1 - eta) ** (n - k) * eta**k + (eta**n / n if k == n - 1 else 0)
            curve = curve + right[:, None] * chance
        return curve

    def area(self, curve: Floats) -> Estimate:
        """The mean over rates from 0 to 1 of a curve [N, rates]."""
        return self.rows.mean(curve @ [curve_area(row, RATES) for row in np.eye(len(RATES))], (0, 1))

    def line(self, label: str, curve: Floats, among: Floats | None = None) -> Line:
        """A curve [N, rates] with intervals, over the samples of `among` (bool [N]) or over all."""
        keep = np.ones(len(curve), dtype=bool) if among is None else np.asarray(among, dtype=bool)
        rows = self.rows.where(keep)
        return Line.of(label, RATES, [rows.mean(at, (0, 1)) for at in curve[keep].T])


def _beside_all(rows: Rows) -> Rows:
    """Rows with what each sample loses; full: whether it is right with everything."""
    full, turned = pl.col("clean_correct").cast(pl.Float64), pl.col("clean_correct") & (pl.col("right") == 0)
    surer = pl.col("confidence") - pl.col("clean_confidence")
    return rows.having(
        full=full,
        turned=turned,
        changed=1 - pl.col("same"),
        hidden=full - pl.col("right") + surer,
        silent=turned & (surer >= -RISE),
        rises=surer > RISE,
    )


def _probabilities(rows: Rows) -> Floats:
    """Of each class [N, K]."""
    return np.stack(rows.frame["probabilities"].to_list()).astype(np.float64)
