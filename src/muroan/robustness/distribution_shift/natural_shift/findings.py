"""Findings, charts and notes of the natural-shift probe, from two sets of outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, difference, mean, proportion
from muroan.estimate.totals import figure, totals
from muroan.evidence import About, clusters
from muroan.finding import Bar, BarChart, Chart, Finding, TableChart

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
Cell = str | float | int | None

FEWEST = 10
"""Samples that a class or a group must have on both sides to be compared."""
WHOLE = "the whole reference"


@dataclass(frozen=True)
class Side:
    """Outcomes of one data set [N]: right or wrong, class, confidence (None: labels only), clusters, groups."""

    correct: Floats
    target: NDArray[np.int64]
    confidence: Floats | None
    by: NDArray[np.str_] | None
    groups: Mapping[str, NDArray[np.str_]]

    @staticmethod
    def read(rows: pl.DataFrame) -> Side | None:
        """None where there is no row."""
        if rows.is_empty():
            return None
        by = clusters(rows)
        names = [c for c in rows.columns if c.startswith("group.")]
        return Side(
            correct=rows["correct"].to_numpy().astype(np.float64),
            target=rows["target"].to_numpy().astype(np.int64),
            confidence=None if rows["confidence"].null_count() else rows["confidence"].to_numpy(),
            by=None if by is None else np.asarray(by, dtype=str),
            groups={c.removeprefix("group."): rows[c].to_numpy().astype(str) for c in names},
        )

    def __len__(self) -> int:
        return len(self.correct)

    def clusters(self, rows: Rows | None = None) -> NDArray[np.str_] | None:
        return self.by if self.by is None or rows is None else self.by[rows]

    def share(self, kind: int) -> float:
        """How frequent a class is."""
        return float((self.target == kind).mean())

    def enough(self, rows: Rows) -> bool:
        """Whether these samples are enough to compare: `FEWEST`, of more than one cluster."""
        return int(rows.sum()) >= FEWEST and (self.by is None or len(np.unique(self.by[rows])) > 1)


@dataclass(frozen=True)
class Compared:
    """One class or group value: the drop from reference to audited, with a simultaneous interval."""

    name: str
    drop: Estimate
    reference: float
    audited: float
    n: tuple[int, int]
    against: str = "the same"


class NaturalShiftFindings:
    """Findings, charts and notes of the data audited beside the reference."""

    def __init__(self, audited: Side, reference: Side, about: About, probe: str) -> None:
        self.audited, self.reference, self.about, self.probe = audited, reference, about, probe
        self.level = about.level
        self.accuracy = {
            "reference": proportion(reference.correct, reference.by, level=self.level),
            "audited": proportion(audited.correct, audited.by, level=self.level),
        }
        self.confidence = {
            n: mean(np.clip(side.confidence, 0, 1), side.by, level=self.level, bounds=(0, 1))
            for n, side in (("reference", reference), ("audited", audited))
            if side.confidence is not None
        }
        self.shared = [k for k in range(len(about.classes)) if audited.share(k) and reference.share(k)]
        self.classes = self._compare(
            [(about.classes[k], audited.target == k, reference.target == k, "the same") for k in self.shared]
        )
        self.groups = {name: self._by_group(name, new=False) for name in about.groups}
        self.new = {name: self._by_group(name, new=True) for name in about.groups}

    def _by_group(self, name: str, *, new: bool) -> list[Compared]:
        mine, theirs = self.audited.groups[name], self.reference.groups[name]
        asked = []
        for value in self.about.groups[name]:
            here, there = mine == value, theirs == value
            if here.any() and there.any() != new:
                asked.append((value, here, np.ones_like(there), WHOLE) if new else (value, here, there, "the same"))
        return self._compare(asked)

    def _compare(self, asked: Sequence[tuple[str, Rows, Rows, str]]) -> list[Compared]:
        """Drops with intervals that hold for all of them at once (Bonferroni); those too small are left out."""
        a, r = self.audited, self.reference
        kept = [q for q in asked if a.enough(q[1]) and r.enough(q[2])]
        level = 1 - (1 - self.level) / max(1, len(kept))
        out = []
        for name, here, there, against in kept:
            drop = difference(r.correct[there], a.correct[here], r.clusters(there), a.clusters(here), level=level)
            out.append(
                Compared(
                    name=name,
                    drop=drop,
                    reference=float(r.correct[there].mean()),
                    audited=float(a.correct[here].mean()),
                    n=(int(there.sum()), int(here.sum())),
                    against=against,
                )
            )
        return out

    def _found(self, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _difference(self, reference: Floats, audited: Floats) -> Estimate:
        return difference(reference, audited, self.reference.by, self.audited.by, level=self.level)

    def findings(self) -> list[Finding]:
        drop = self._found(
            "accuracy_drop",
            "Accuracy lost from the reference to the data audited",
            self._difference(self.reference.correct, self.audited.correct),
            controls={f"accuracy, {n}": e for n, e in self.accuracy.items()},
        )
        out = [drop, *self._confidence(), *self._relative(), *self._labels()]
        if len(self.classes) > 1:
            out.append(self._worst(self.classes, "worst_class_drop", "class"))
        for name, found in self.groups.items():
            if found:
                out.append(self._worst(found, "worst_group_drop", name, group=name))
        for name, found in self.new.items():
            if found:
                more = {"group": name, "condition": "new values", "judged": False}
                out.append(self._worst(found, "worst_group_drop", name, new=True, **more))
        return out

    def _confidence(self) -> list[Finding]:
        a, r = self.audited, self.reference
        if a.confidence is None or r.confidence is None:
            return []
        hidden = self._difference(r.correct - r.confidence, a.correct - a.confidence)
        return [
            self._found(
                "hidden_drop",
                "Accuracy lost that the confidence does not show",
                hidden,
                controls={f"confidence, {n}": e for n, e in self.confidence.items()},
            ),
            self._found(
                "confidence_drop",
                "Confidence lost from the reference to the data audited",
                self._difference(r.confidence, a.confidence),
            ),
        ]

    def _relative(self) -> list[Finding]:
        """1 − audited / reference; both sides' clusters are drawn."""
        a, r = self.audited, self.reference
        table = np.zeros((len(r) + len(a), 4))
        table[: len(r), 0], table[: len(r), 1] = r.correct, 1
        table[len(r) :, 2], table[len(r) :, 3] = a.correct, 1
        by = None if r.by is None or a.by is None else np.concatenate([r.by, a.by]).tolist()
        ways = [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
        try:
            estimate = figure(
                totals(table, by, ways),
                lambda t: 1 - (t[:, 2] / t[:, 3]) / (t[:, 0] / t[:, 1]),
                level=self.level,
                seed=self.about.seed,
                method="bootstrap of the ratio",
            )
        except ValueError:  # nothing is right on the reference
            return []
        return [self._found("relative_drop", "Share of the reference's accuracy lost on the data audited", estimate)]

    def _labels(self) -> list[Finding]:
        """What is lost within classes, and what comes of other class frequencies; both linearised.

        With w_k the reference's share of class k and r_k, a_k the accuracies, the reweighted drop is the sum of
        w_k (r_k − a_k), and the label part the sum of (w_k − v_k) a_k with v_k the share in the data audited.
        """
        a, r = self.audited, self.reference
        if len(self.about.classes) < 2 or not 1 < len(self.shared) == len(np.unique(np.append(a.target, r.target))):
            return []
        right = np.zeros(len(self.about.classes))
        weight = np.zeros(len(self.about.classes))
        for k in self.shared:
            right[k], weight[k] = a.correct[a.target == k].mean(), r.share(k) / a.share(k)
        residual = a.correct - right[a.target]
        within = self._difference(r.correct - right[r.target], weight[a.target] * residual)
        part = self._difference(right[r.target], a.correct - weight[a.target] * residual)
        return [
            self._found(
                "reweighted_drop",
                "Accuracy lost if classes were as frequent as in the reference",
                within,
                note="What other class frequencies do not explain.",
            ),
            self._found("label_part", "Accuracy lost because classes are not as frequent as in the reference", part),
        ]

    def _worst(self, found: Sequence[Compared], metric: str, of: str, *, new: bool = False, **more: Any) -> Finding:
        worst = max(found, key=lambda c: c.drop.value)
        value = worst.drop.value
        estimate = worst.drop.model_copy(
            update={
                "low": min(value, max(c.drop.low for c in found)),
                "high": max(value, *(c.drop.high for c in found)),
                "level": self.level,
                "method": f"{worst.drop.method}, Bonferroni over {len(found)}",
            }
        )
        title = f"Accuracy lost for {of} {worst.name!r}, the worst of {len(found)}"
        note = "The interval holds for all of them at once."
        if new:
            title += " that the reference lacks"
            note += f" Compared with {WHOLE}: they may always have been hard, so they are not judged."
        return self._found(metric, title, estimate, note=note, **more)

    def charts(self) -> list[Chart]:
        bars = [Bar(label=n, estimate=e, of="accuracy") for n, e in self.accuracy.items()]
        bars += [Bar(label=n, estimate=e, of="mean confidence") for n, e in self.confidence.items()]
        out: list[Chart] = [
            BarChart(title="The reference and the data audited", y_label="share", bars=bars, y_range=(0, 1))
        ]
        if len(self.classes) > 1:
            out.append(_table("By class", "class", self.classes))
        for name in self.about.groups:
            found = [*self.groups[name], *self.new[name]]
            if found:
                out.append(_table(f"By {name}", name, found))
        if len(self.about.classes) > 1:
            out.append(self._frequencies())
        return out

    def _frequencies(self) -> TableChart:
        rows: list[list[Cell]] = []
        for k, name in enumerate(self.about.classes):
            if self.reference.share(k) or self.audited.share(k):
                rows.append([name, self.reference.share(k), self.audited.share(k)])
        return TableChart(title="How frequent classes are", columns=["class", "reference", "audited"], rows=rows)

    def notes(self) -> list[str]:
        a, r = self.audited, self.reference
        kinds = range(len(self.about.classes))
        moved = 0.5 * sum(abs(a.share(k) - r.share(k)) for k in kinds)
        out = [
            f"{len(a)} samples audited, {len(r)} of the reference; nothing was done to the inputs.",
            "A drop mixes a shift of the inputs, of how frequent classes are, of what labels mean, harder samples, and "
            "chance; only the frequencies of classes are told apart here.",
            "Intervals are about more samples of these two data sets. How the model fares on a third, another site or "
            "other people, they do not say.",
            "Where the reference is a random part of the data audited there is no shift to find.",
        ]
        if len(self.about.classes) > 1:
            out.append(
                f"Class frequencies differ by {moved:.3f} (total variation, 0: equal, 1: no class in common; some "
                "of it is chance)."
            )
        lacking = [
            f"{self.about.classes[k]} ({'audited' if a.share(k) else 'reference'} alone)"
            for k in kinds
            if (a.share(k) > 0) != (r.share(k) > 0)
        ]
        if lacking:
            out.append(f"Classes in one of the two only, so nothing was reweighted: {', '.join(lacking)}.")
        if a.confidence is None or r.confidence is None:
            out.append("The model gives labels only: whether its confidence falls could not be measured.")
        out.append(f"Classes and groups of fewer than {FEWEST} samples, or of one cluster, on a side are left out.")
        return out


def _table(title: str, what: str, found: Sequence[Compared]) -> TableChart:
    columns = [what, "reference", "audited", "lost", "low", "high", "n reference", "n audited", "compared with"]
    rows: list[list[Cell]] = [
        [c.name, c.reference, c.audited, c.drop.value, c.drop.low, c.drop.high, *c.n, c.against]
        for c in sorted(found, key=lambda c: -c.drop.value)
    ]
    return TableChart(title=f"{title} (intervals hold for all rows at once)", columns=columns, rows=rows)
