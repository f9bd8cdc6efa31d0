"""Findings, charts and notes of the consistency probe, from its evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, mean, proportion
from muroan.evidence import AUDITED, Evidence
from muroan.finding import Chart, Finding, Line, LineChart, Verdict
from muroan.robustness.distribution_shift.consistency.scores import Flips, consensus, disagreement, flips

Floats = NDArray[np.float64]

NAMED = "named"
"""The condition of rows whose groups the data name."""
NO_GROUP = "no two samples are the same question put in two ways: name the column that says which are"
FEWEST = 10
"""Groups that a CS(k) needs to be reported as a figure of its own."""


class Groups:
    """Groups of at least two wordings of one condition.

    right, size [G]; answers [G, A]: how many wordings got each answer; first [G, 2] if an original is named. A wording
    that several samples share counts once, by the first of them in the order of names.
    """

    def __init__(self, rows: pl.DataFrame, classes: int) -> None:
        known = rows.filter(pl.col("same") != "").sort("sample")
        self.samples = len(known)
        self.split = int(known.group_by("same").agg(pl.col("target").n_unique())["target"].gt(1).sum())
        distinct = known.unique(["same", "target", "wording"], keep="first", maintain_order=True)
        self.repeated = self.samples - len(distinct)
        distinct = distinct.with_columns(pl.len().over("same", "target").alias("wordings"))
        self.alone = int((distinct["wordings"] < 2).sum())
        self.rows = distinct.filter(pl.col("wordings") > 1).sort("same", "target", "sample")
        self.codes = (
            self.rows.select(pl.struct("same", "target").rank("dense").alias("code"))["code"]
            .to_numpy()
            .astype(np.int64)
            - 1
        )
        self.count = int(self.codes.max()) + 1 if len(self.codes) else 0
        self.correct = self.rows["correct"].cast(pl.Float64).to_numpy()
        self.right = np.bincount(self.codes, weights=self.correct, minlength=self.count)
        self.size = np.bincount(self.codes, minlength=self.count).astype(np.float64)
        self.answers = np.zeros((self.count, classes))
        np.add.at(self.answers, (self.codes, self.rows["predicted"].to_numpy()), 1)
        self.clusters = self._clusters()

    def _clusters(self) -> list[str] | None:
        """The cluster of each group; None where groups are independent, or no cluster is known."""
        first = self.rows.unique(["same", "target"], keep="first", maintain_order=True)
        found = first["cluster"]
        if found.null_count():
            # Samples have no clusters, but groups of one key that differ in the answer still share all else.
            found = first["same"]
        names = [str(c) for c in found]
        return names if len(set(names)) < len(names) else None


class ConsistencyFindings:
    """What the evidence says."""

    def __init__(self, evidence: Evidence, probe: str, largest: int, original: tuple[str, str] | tuple[()]) -> None:
        self.probe, self.about, self.largest, self.original = probe, evidence.about, largest, original
        self.level = evidence.about.level
        classes = len(evidence.about.classes)
        every = {c: Groups(evidence.of(AUDITED, c), classes) for c in evidence.conditions()}
        self.sides = {c: g for c, g in every.items() if g.count}

    def _found(self, metric: str, title: str, estimate: Estimate | None, **more: Any) -> Finding:
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _mean(self, values: Floats, groups: Groups, keep: Any = None) -> Estimate:
        at = np.arange(groups.count) if keep is None else np.flatnonzero(keep)
        by = None if groups.clusters is None else [groups.clusters[i] for i in at]
        return mean(np.clip(values[at], 0, 1), by, level=self.level, bounds=(0, 1))

    def findings(self) -> list[Finding]:
        if not self.sides:
            out = self._found("disagreement", "How often two wordings of one question get different answers", None)
            return [out.model_copy(update={"reason": NO_GROUP, "verdict": Verdict.NOT_APPLICABLE})]
        return [f for name, groups in self.sides.items() for f in self._of(name, groups)]

    def _of(self, name: str, groups: Groups) -> list[Finding]:
        several = len(self.sides) > 1
        more: dict[str, Any] = {"modality": None if name == NAMED or not several else name}
        accuracy = self._mean(consensus(groups.right, groups.size, 1), groups)
        apart = (groups.answers > 0).sum(axis=1) > 1
        note = f"{groups.count} groups of {int(groups.size.sum())} wordings."
        out = [
            self._found(
                "disagreement",
                "How often two wordings of one question get different answers",
                self._mean(disagreement(groups.answers), groups),
                controls={"if every wording failed on its own": spread(accuracy)},
                note=note + " The control is of right and wrong alone.",
                **more,
            ),
            self._found(
                "contradiction",
                "Questions that get two answers, depending on how they are put",
                proportion(apart.astype(float), groups.clusters, level=self.level),
                note="Larger groups have more chances to contradict themselves.",
                **more,
            ),
        ]
        ks = self.sizes(groups)
        k = ks[-1]
        keep = groups.size >= k
        gap = consensus(groups.right, groups.size, 1) - consensus(groups.right, groups.size, k)
        out.append(
            self._found(
                "consensus_gap",
                f"Accuracy on one wording that is lost if {k} have to be right",
                self._mean(gap, groups, keep),
                controls={f"if every one of {k} failed on its own": power(accuracy, k)},
                note=f"Of the {int(keep.sum())} groups of at least {k} wordings.",
                **more,
            )
        )
        for j in ks:
            kept = groups.size >= j
            out.append(
                self._found(
                    "consensus",
                    f"Any {j} wordings of a question are all answered right, CS({j})",
                    self._mean(consensus(groups.right, groups.size, j), groups, kept),
                    condition=f"{j} wordings",
                    judged=False,
                    note=f"{int((~kept).sum())} groups of fewer wordings are left out.",
                    **more,
                )
            )
        return out + self._flips(groups, more)

    def sizes(self, groups: Groups) -> list[int]:
        """The k of which there are groups enough, 1 and 2 in any case."""
        enough = [k for k in range(3, self.largest + 1) if (groups.size >= k).sum() >= FEWEST]
        return [1, 2, *enough]

    def pairs(self, groups: Groups) -> tuple[Flips, list[str]] | None:
        """Flips from a group's original to its other wordings, and the cluster of each pair."""
        if not self.original:
            return None
        column, value = self.original
        first = groups.rows.filter(pl.col(f"group.{column}") == value).unique(
            ["same", "target"], keep="first", maintain_order=True
        )
        others = groups.rows.filter(pl.col(f"group.{column}") != value)
        pairs = others.join(first.select("same", "target", before="predicted"), on=["same", "target"], how="inner")
        pairs = pairs.sort("sample")
        if pairs.is_empty():
            return None
        found = flips(pairs["before"].to_numpy(), pairs["predicted"].to_numpy(), pairs["target"].to_numpy())
        by = pairs["same"] if pairs["cluster"].null_count() else pairs["cluster"]
        return found, [str(c) for c in by]

    def _flips(self, groups: Groups, more: dict[str, Any]) -> list[Finding]:
        found = self.pairs(groups)
        if found is None:
            return []
        of, by = found
        out = []
        for name, hits, among in (
            ("right to wrong", of.lost, of.right_before),
            ("wrong to right", of.gained, ~of.right_before),
            ("wrong to another wrong", of.moved, ~of.right_before),
        ):
            if among.any():
                clusters = [c for c, a in zip(by, among, strict=True) if a]
                estimate = proportion(hits[among].astype(float), clusters, level=self.level)
                before = "right" if name.startswith("right") else "wrong"
                note = f"Of the pairs that were {before} on the original."
                title = f"Answers that an edit turns from {name}"
                out.append(self._found("flips", title, estimate, condition=name, judged=False, note=note, **more))
        return out

    def charts(self) -> list[Chart]:
        return [self._chart(name, groups) for name, groups in self.sides.items()]

    def _chart(self, name: str, groups: Groups) -> Chart:
        ks = self.sizes(groups)
        largest = groups.size >= ks[-1]
        lines = []
        for label, keep in (
            ("groups of at least so many wordings", None),
            (f"only groups of at least {ks[-1]}, at every point", largest),
        ):
            found = [
                self._mean(consensus(groups.right, groups.size, k), groups, groups.size >= k if keep is None else keep)
                for k in ks
            ]
            lines.append(
                Line(
                    label=label,
                    x=[float(k) for k in ks],
                    y=[e.value for e in found],
                    low=[e.low for e in found],
                    high=[e.high for e in found],
                    n=[e.n for e in found],
                )
            )
        single = float(lines[0].y[0] or 0.0)
        alone = [single**k for k in ks]
        lines.append(Line(label="if every wording failed on its own", x=lines[0].x, y=[*alone], control=True))
        return LineChart(
            title="Wordings of one question that are all answered right" + ("" if name == NAMED else f", by {name}"),
            x_label="wordings that have to be right",
            y_label="share of their subsets",
            lines=lines,
            y_range=(0, 1),
        )

    def notes(self) -> list[str]:
        out = []
        for name, g in self.sides.items():
            where = "the groups that the data name" if name == NAMED else f"the same but for the {name}"
            out.append(
                f"{g.count} groups of two or more wordings ({where}); {g.alone} samples have no other wording, and "
                f"{g.repeated} repeat one word for word: they are left out."
            )
            if g.split:
                out.append(
                    f"{g.split} groups hold samples of different right answers, which cannot be one question: each "
                    "answer is a group of its own."
                )
            if name != NAMED:
                out.append(
                    "Samples are grouped that share all other inputs and the right answer. They need not ask the "
                    "same: name a group, or a function that says what a text asks, where wordings are known."
                )
        return out


def spread(accuracy: Estimate) -> Estimate:
    """How often one of two wordings is right and the other wrong if each failed on its own: 2 a (1 − a)."""
    ends = [2 * a * (1 - a) for a in (accuracy.low, accuracy.high)]
    inside = accuracy.low <= 0.5 <= accuracy.high
    value = 2 * accuracy.value * (1 - accuracy.value)
    return _as(accuracy, value, min(ends), 0.5 if inside else max(ends), "2 a (1 - a)")


def power(accuracy: Estimate, k: int) -> Estimate:
    """What the gap would be if each of k wordings failed on its own: a − a^k of the mean accuracy a."""
    best = k ** (-1 / (k - 1))
    ends: Sequence[float] = [a - a**k for a in (accuracy.low, accuracy.high)]
    inside = accuracy.low <= best <= accuracy.high
    value = accuracy.value - accuracy.value**k
    return _as(accuracy, value, min(ends), best - best**k if inside else max(ends), f"a - a^{k}")


def _as(of: Estimate, value: float, low: float, high: float, method: str) -> Estimate:
    changed = {"value": value, "low": min(low, value), "high": max(high, value), "method": f"{method} of {of.method}"}
    return of.model_copy(update=changed)
