"""Findings and charts of the corruptions probe, from its evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, mean, paired_difference, proportion
from muroan.estimate.totals import Totals, figure, totals, worst
from muroan.evidence import Evidence, clusters
from muroan.finding import Chart, Finding, Line, LineChart, MatrixChart, TableChart, Verdict
from muroan.robustness.distribution_shift.corruptions.sides import UNDEFINED, Floats, Side, average, read, relative_drop

Cell = str | float | int | None


def said(name: str) -> str:
    """A perturbation's name in a sentence; settings and evidence keep the one in code."""
    return name.replace("_", " ")


class CorruptionFindings:
    """What the evidence of the corruptions probe says."""

    def __init__(self, evidence: Evidence, probe: str, alike: float) -> None:
        self.probe, self.alike = probe, alike
        self.level, self.seed = evidence.about.level, evidence.about.seed
        self.sides, one = read(evidence)
        self.by = clusters(one)
        self.clean: Floats = one["clean_correct"].cast(pl.Float64).to_numpy()

    def _found(self, metric: str, title: str, estimate: Estimate | None, **more: Any) -> Finding:
        if estimate is None:
            more |= {"reason": UNDEFINED, "verdict": Verdict.NOT_APPLICABLE}
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _members(self, side: Side) -> tuple[NDArray[np.bool_], list[str] | None]:
        """Who has the modality, and their clusters."""
        keep = side.has > 0
        return keep, self._clusters(keep)

    def _clusters(self, keep: NDArray[np.bool_]) -> list[str] | None:
        return None if self.by is None else [c for c, k in zip(self.by, keep, strict=True) if k]

    def _totals(self, before: Sequence[Floats], after: Sequence[Floats]) -> Totals:
        ways = [[1] * len(before) + [0] * len(after), [0] * len(before) + [1] * len(after)]
        return totals(np.column_stack([*before, *after]), self.by, ways)

    def _mean_drop(self, sides: Sequence[Side], after: Sequence[Floats], method: str) -> Estimate | None:
        """Mean over sides of the share of what is right that `after` [N] does not have any more."""
        k = len(sides)
        sums = self._totals([self.clean * s.has for s in sides], [a * s.has for a, s in zip(after, sides, strict=True)])
        try:
            found = figure(
                sums,
                lambda t: relative_drop(t, range(k), range(k, 2 * k)).mean(axis=1),
                level=self.level,
                seed=self.seed,
                method=method,
            )
        except ValueError:
            return None
        return found.model_copy(update={"n": int(np.max([s.has for s in sides], axis=0).sum())})

    def _null(self, side: Side) -> dict[str, Estimate]:
        keep, by = self._members(side)
        return {"null change": paired_difference(self.clean[keep], side.null[keep], by, level=self.level)}

    def findings(self) -> list[Finding]:
        if not self.sides:
            reason = "no sample has an input that could be perturbed"
            return [
                self._found(m, "What perturbed inputs cost", None).model_copy(update={"reason": reason})
                for m in ("mmi", "worst_corruption")
            ]
        named = [s.modality for s in self.sides]
        every = " or the ".join(named) if len(named) < 3 else f"inputs, one of {len(named)} at a time"
        nulls = {f"null change of the {s.modality}": self._null(s)["null change"] for s in self.sides}
        out = [
            self._found(
                "mmi",
                f"Share of accuracy lost under perturbations of the {every}",
                self._mean_drop(self.sides, [s.overall for s in self.sides], "bootstrap of the relative drop"),
                controls=nulls,
                note="The mean over modalities, of each over its perturbations, of each of these over its severities.",
            ),
            self._worst(self.sides, every, nulls),
        ]
        out += self._stability(self.sides, every)
        for side in self.sides:
            of: dict[str, Any] = {"modality": side.modality}
            if len(self.sides) > 1:
                method = "bootstrap of the relative drop"
                out.append(
                    self._found(
                        "mmi",
                        f"Share of accuracy lost under perturbations of the {side.modality}",
                        self._mean_drop([side], [side.overall], method),
                        controls=self._null(side),
                        **of,
                    )
                )
                out.append(self._worst([side], side.modality, self._null(side), judged=False, **of))
                out += self._stability([side], side.modality, judged=False, **of)
            out += self._drops(side)
            out += self._fidelity(side)
        return out

    def _worst(self, sides: Sequence[Side], what: str, controls: Any, **more: Any) -> Finding:
        columns = [(k, c, o.right.mean(axis=1) * s.has) for k, s in enumerate(sides) for c, o in s.of.items()]
        sums = self._totals([self.clean * s.has for s in sides], [column for _, _, column in columns])
        before = [k for k, _, _ in columns]
        after = [len(sides) + j for j in range(len(columns))]
        try:
            estimate, at = worst(
                sums, lambda t: relative_drop(t, before, after), bounds=(-np.inf, 1), level=self.level, seed=self.seed
            )
        except ValueError:
            title = f"Share of accuracy lost under the worst perturbation of the {what}"
            return self._found("worst_corruption", title, None, **more)
        k, name, _ = columns[at]
        return self._found(
            "worst_corruption",
            f"Share of accuracy lost under {said(name)} of the {sides[k].modality}, the worst of {len(columns)}",
            estimate.model_copy(update={"n": int(np.max([s.has for s in sides], axis=0).sum())}),
            controls=controls,
            note="Averaged over severities; the interval holds for all perturbations at once.",
            **more,
        )

    def _stability(self, sides: Sequence[Side], what: str, **more: Any) -> list[Finding]:
        kept = [self.clean * s.overall for s in sides]
        same = np.sum([average([o.same.mean(axis=1) for o in s.of.values()]) * s.has for s in sides], axis=0)
        has = np.sum([s.has for s in sides], axis=0)
        members = has > 0
        by = self._clusters(members)
        share = np.clip(same[members] / has[members], 0, 1)
        return [
            self._found(
                "flip_rate",
                f"Right answers that turn wrong under perturbations of the {what}",
                self._mean_drop(sides, kept, "bootstrap of the share"),
                note="Of the samples that are right on clean inputs, on average over severities, then perturbations.",
                **more,
            ),
            self._found(
                "consistency",
                f"Answers that stay the same under perturbations of the {what}",
                mean(share, by, level=self.level, bounds=(0, 1)),
                **more,
            ),
        ]

    def _drops(self, side: Side) -> list[Finding]:
        keep, by = self._members(side)
        out = []
        for c, o in side.of.items():
            lost = self.clean[keep] - o.right[keep].mean(axis=1)
            estimate = (
                mean(lost, by, level=self.level, bounds=(-1, 1))
                if len(o.severities) > 1
                else paired_difference(self.clean[keep], o.right[keep, 0], by, level=self.level)
            )
            out.append(self._of_one("drop", f"Accuracy lost under {said(c)} of the {side.modality}", estimate, side, c))
        return out

    def _fidelity(self, side: Side) -> list[Finding]:
        """How alike a judge finds what was drawn, where one looked at it."""
        keep, by = self._members(side)
        out = []
        for c, o in side.of.items():
            if not o.gated:
                continue
            alike = np.clip(o.similarity[keep].mean(axis=1, dtype=np.float64), -1, 1)
            below = (o.similarity[keep] < self.alike).mean(axis=1)
            found = mean(alike, by, level=self.level, bounds=(-1, 1))
            out.append(self._of_one("similarity", f"Cosine with the original after {said(c)}", found, side, c))
            found = (
                mean(below, by, level=self.level, bounds=(0, 1))
                if len(o.severities) > 1
                else proportion(below > 0, by, level=self.level)
            )
            out.append(self._of_one("out_of_tries", f"Accepted after {said(c)} though not alike", found, side, c))
        return out

    def _of_one(self, metric: str, title: str, estimate: Estimate, side: Side, c: str) -> Finding:
        return self._found(metric, title, estimate, modality=side.modality, condition=c, judged=False)

    def charts(self) -> list[Chart]:
        return [chart for side in self.sides for chart in self._of(side)]

    def _of(self, side: Side) -> list[Chart]:
        keep, by = self._members(side)
        n = int(keep.sum())
        clean = self.clean[keep]

        def at(values: Floats) -> Estimate:
            return mean(np.clip(values, 0, 1), by, level=self.level, bounds=(0, 1))

        lines = []
        for family in dict.fromkeys(o.family for o in side.of.values()):
            members = [o for o in side.of.values() if o.family == family]
            x = sorted({s for o in members for s in o.severities})
            rights = [[right for o in members if (right := o.at(s, keep)) is not None] for s in x]
            found = [at(clean), *(at(average(columns)) for columns in rights)]
            lines.append(
                Line(
                    label=family,
                    x=[0.0, *map(float, x)],
                    y=[e.value for e in found],
                    low=[e.low for e in found],
                    high=[e.high for e in found],
                    n=[n] * len(found),
                )
            )
        levels = side.severities
        every = [0.0, *map(float, levels)]
        null = Line(label="null change", x=every, y=[float(side.null[keep].mean())] * len(every), control=True)
        table: list[list[Cell]] = []
        judged: list[list[Cell]] = []
        for c, o in side.of.items():
            for k, s in enumerate(o.severities):
                right = o.right[keep, k].astype(np.float64)
                drop = paired_difference(clean, right, by, level=self.level)
                changed = float(o.changed[keep, k].mean())
                table.append([c, s, float(right.mean()), drop.value, drop.low, drop.high, changed, n])
                if o.gated:
                    alike = o.similarity[keep, k]
                    tries = float(o.tries[keep, k].mean())
                    judged.append([c, s, float(alike.mean()), tries, float((alike < self.alike).mean()), n])
        charts: list[Chart] = [
            LineChart(
                title=f"Accuracy under perturbations of the {side.modality}",
                x_label="severity",
                y_label="accuracy",
                lines=[*lines, null],
                y_range=(0, 1),
            ),
            MatrixChart(
                title=f"Accuracy lost by perturbation of the {side.modality} and severity",
                rows=[said(c) for c in side.of],
                columns=[str(s) for s in levels],
                values=[
                    [float((clean - right).mean()) if (right := o.at(s, keep)) is not None else None for s in levels]
                    for o in side.of.values()
                ],
                better="lower",
            ),
            TableChart(
                title=f"Perturbations of the {side.modality}, each paired with clean inputs",
                columns=["perturbation", "severity", "accuracy", "lost", "low", "high", "inputs changed", "samples"],
                rows=table,
            ),
        ]
        if judged:
            columns = ["perturbation", "severity", "cosine", "tries", "out of tries", "samples"]
            charts.append(
                TableChart(
                    title=f"Is the meaning of the {side.modality} kept, by the judge named",
                    columns=columns,
                    rows=judged,
                )
            )
        return charts
