"""Outcomes with every subset of the inputs, read from evidence, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import mean
from muroan.evidence import About, Evidence, clusters
from muroan.finding import Line
from muroan.interventions.removals import Kept, subsets

Floats = NDArray[np.float64]

NEUTRAL, ABSENT = "neutral", "absent"
EVERYTHING = "all"
MOST_CLASSES = 50
"""Classes up to which what happens to each of them is asked for."""
RATES = tuple(i / 10 for i in range(11))
RISE = 1e-6
"""Confidence counts as changed from here on: less is rounding."""


def condition(mode: str, kept: Sequence[str]) -> str:
    """How evidence names what was left, and what stood for the rest."""
    return f"{mode}: only {' + '.join(kept)}"


@dataclass(frozen=True)
class Grid:
    """Outcomes of the samples that have all inputs: correct, predicted, confidence [N] by what was kept.

    All of `names` is a key too. mode: what stands for a missing input; neutral: outcomes with neutral values where
    mode is "absent", else empty; confidence is None for a model without scores. probabilities [N, K] with everything
    and without each input; empty for a model without scores or with more than `MOST_CLASSES` classes.
    """

    about: About
    names: Kept
    kept: tuple[Kept, ...]
    mode: str
    correct: Mapping[Kept, Floats]
    neutral: Mapping[Kept, Floats]
    predicted: Mapping[Kept, NDArray[np.int64]]
    confidence: Mapping[Kept, Floats] | None
    probabilities: Mapping[Kept, NDArray[np.float32]]
    frame: pl.DataFrame
    incomplete: int

    @staticmethod
    def read(evidence: Evidence) -> Grid:
        names = tuple(evidence.about.modalities)
        everything = evidence.of(condition=EVERYTHING)
        complete = everything["complete"].to_numpy()
        known = set(evidence.conditions())
        kept = tuple(s for s in subsets(names) if condition(NEUTRAL, s) in known)
        mode = ABSENT if condition(ABSENT, kept[0]) in known else NEUTRAL

        def by(name: str, kind: Any, how: str) -> dict[Kept, Any]:
            frames = {s: evidence.of(condition=condition(how, s)) for s in kept} | {names: everything}
            return {s: f[name].to_numpy()[complete].astype(kind) for s, f in frames.items()}

        scored = everything["confidence"].null_count() == 0
        # Evidence of earlier versions has no such column.
        told = "probabilities" in everything.columns and everything["probabilities"].null_count() == 0

        def probabilities(s: Kept) -> NDArray[np.float32]:
            frame = everything if s == names else evidence.of(condition=condition(mode, s))
            rows = frame["probabilities"].list.to_array(len(evidence.about.classes)).to_numpy()
            return np.asarray(rows[complete], dtype=np.float32)

        return Grid(
            about=evidence.about,
            names=names,
            kept=kept,
            mode=mode,
            correct=by("correct", np.float64, mode),
            neutral=by("correct", np.float64, NEUTRAL) if mode == ABSENT else {},
            predicted=by("predicted", np.int64, mode),
            confidence=by("confidence", np.float64, mode) if scored else None,
            probabilities={s: probabilities(s) for s in (names, *kept) if len(s) >= len(names) - 1} if told else {},
            frame=everything.filter(pl.col("complete")),
            incomplete=int((~complete).sum()),
        )

    @property
    def by(self) -> list[str] | None:
        """Clusters in the form that estimates take."""
        return clusters(self.frame)

    @property
    def full(self) -> Floats:
        """Right with everything [N]."""
        return self.correct[self.names]

    def without(self, modality: str) -> Kept:
        return tuple(m for m in self.names if m != modality)

    def lost(self, modality: str) -> Floats:
        """Right with everything and wrong without the modality [N]."""
        return np.asarray(self.full * (1 - self.correct[self.without(modality)]))

    def silent(self) -> dict[str, Floats]:
        """For each modality who is lost without it and no less confident [N]; empty for a model without scores."""
        if self.confidence is None:
            return {}
        sure = self.confidence[self.names]
        return {m: self.lost(m) * (self.confidence[self.without(m)] >= sure - RISE) for m in self.names}

    def rises(self) -> dict[str, Floats]:
        """For each modality on whom confidence is higher without it [N]; empty for a model without scores."""
        if self.confidence is None:
            return {}
        sure = self.confidence[self.names]
        return {m: (self.confidence[self.without(m)] > sure + RISE).astype(np.float64) for m in self.names}

    def tilts(self) -> dict[str, Floats]:
        """For each modality how much more probable each class is without it [N, K]; empty where this is not known."""
        if not self.probabilities:
            return {}
        full = self.probabilities[self.names].astype(np.float64)
        return {m: self.probabilities[self.without(m)] - full for m in self.names}

    def curve(self, modality: str) -> Floats:
        """Each sample's chance to be right at every rate of `RATES` at which one modality is missing: [N, rates]."""
        eta = np.asarray(RATES)
        return np.asarray(self.full[:, None] * (1 - eta) + self.correct[self.without(modality)][:, None] * eta)

    def line(self, label: str, curve: Floats, rows: NDArray[np.bool_] | None = None) -> Line:
        """A curve [N, rates] with intervals, over the samples `rows` or over all."""
        keep = np.ones(len(curve), dtype=bool) if rows is None else rows
        by = None if self.by is None else np.asarray(self.by)[keep].tolist()
        level = self.about.level
        found = [mean(np.clip(at, 0, 1), by, level=level, bounds=(0, 1)) for at in curve[keep].T]
        return Line(
            label=label,
            x=list(RATES),
            y=[e.value for e in found],
            low=[e.low for e in found],
            high=[e.high for e in found],
            n=[int(keep.sum())] * len(RATES),
        )

    def joint_curve(self) -> Floats | None:
        """The same if every modality is missing at that rate, independently; None unless all subsets are known.

        Where all would be missing one stays, each with the same chance.
        """
        n = len(self.names)
        if len(self.kept) != 2**n - 2:
            return None
        eta = np.asarray(RATES)
        out = self.full[:, None] * (1 - eta) ** n
        for s in self.kept:
            chance = (1 - eta) ** len(s) * eta ** (n - len(s)) + (eta**n / n if len(s) == 1 else 0)
            out = out + self.correct[s][:, None] * chance
        return np.asarray(out)
