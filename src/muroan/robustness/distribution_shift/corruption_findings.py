"""Findings, charts and notes of the corruptions probe, from its evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, mean, paired_difference
from muroan.evidence import Evidence, clusters
from muroan.finding import Chart, Finding, Line, LineChart, MatrixChart, TableChart, Verdict
from muroan.robustness.distribution_shift.perturbations import LEFT_OUT, TABLE
from muroan.robustness.distribution_shift.totals import Totals, figure, totals, worst

Floats = NDArray[np.float64]

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
class Side:
    """Outcomes of one modality's conditions, of all samples (rows in the order of their names).

    has [N]: 1 where the sample has the modality, others are no part of its figures. right[c] and same[c]
    [N, severities]: right, and the same answer as clean, by perturbation; changed likewise: the input is not what it
    was.
    """

    modality: str
    severities: tuple[int, ...]
    families: Mapping[str, str]
    has: Floats
    null: Floats
    right: Mapping[str, Floats]
    same: Mapping[str, Floats]
    changed: Mapping[str, Floats]

    @property
    def overall(self) -> Floats:
        """Right on average over perturbations and severities [N]."""
        return np.asarray(np.mean([r.mean(axis=1) for r in self.right.values()], axis=0))


def read(rows: pl.DataFrame) -> tuple[list[Side], pl.DataFrame]:
    """The sides with at least one perturbation and one sample, and one row per sample."""
    sides = []
    one = rows.unique("sample", keep="first", maintain_order=True).sort("sample")
    for (modality,), of in rows.group_by("modality", maintain_order=True):
        frames = {
            (str(c), int(s)): frame.sort("sample")
            for (c, s), frame in of.group_by("corruption", "severity", maintain_order=True)
        }
        null = next(frame for (_, s), frame in frames.items() if s == NULL)
        found = {c for c, s in frames if s != NULL}
        names = [*dict.fromkeys(p.name for p in TABLE if p.name in found), *sorted(found - {p.name for p in TABLE})]
        severities = tuple(sorted({s for _, s in frames if s != NULL}))
        if not names or not null["present"].any():
            continue

        def table(column: str, c: str, frames: Any = frames, severities: Any = severities) -> Floats:
            return np.stack([frames[c, s][column].cast(pl.Float64).to_numpy() for s in severities], axis=1)

        kept = {c: pl.concat([frames[c, s] for s in severities]) for c in names}
        same = {
            c: (f["predicted"] == f["clean_predicted"]).cast(pl.Float64).to_numpy().reshape(len(severities), -1).T
            for c, f in kept.items()
        }
        sides.append(
            Side(
                modality=str(modality),
                severities=severities,
                families={c: str(f["family"][0]) for c, f in kept.items()},
                has=null["present"].cast(pl.Float64).to_numpy(),
                null=null["correct"].cast(pl.Float64).to_numpy(),
                right={c: table("correct", c) for c in names},
                same=same,
                changed={c: table("changed", c) for c in names},
            )
        )
    return sides, one


class CorruptionFindings:
    """What the evidence of the corruptions probe says."""

    def __init__(self, evidence: Evidence, probe: str) -> None:
        self.probe, self.about = probe, evidence.about
        self.level, self.seed = evidence.about.level, evidence.about.seed
        self.sides, one = read(evidence.of())
        self.by = clusters(one)
        self.clean: Floats = one["clean_correct"].cast(pl.Float64).to_numpy()

    def _found(self, metric: str, title: str, estimate: Estimate | None, **more: Any) -> Finding:
        if estimate is None:
            more |= {"reason": UNDEFINED, "verdict": Verdict.NOT_APPLICABLE}
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _members(self, side: Side) -> tuple[NDArray[np.bool_], list[str] | None]:
        """Who has the modality, and their clusters."""
        keep = side.has > 0
        return keep, None if self.by is None else [c for c, k in zip(self.by, keep, strict=True) if k]

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
        every = " or the ".join(named)
        nulls = {f"null change of the {s.modality}": self._null(s)["null change"] for s in self.sides}
        out = [
            self._found(
                "mmi",
                f"Share of accuracy lost when the {every} is perturbed",
                self._mean_drop(self.sides, [s.overall for s in self.sides], "bootstrap of the relative drop"),
                controls=nulls,
                note="The mean over modalities, each of them the mean over its perturbations and severities.",
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
                        f"Share of accuracy lost when the {side.modality} is perturbed",
                        self._mean_drop([side], [side.overall], method),
                        controls=self._null(side),
                        **of,
                    )
                )
                out.append(self._worst([side], side.modality, self._null(side), judged=False, **of))
                out += self._stability([side], side.modality, judged=False, **of)
            out += self._drops(side)
        return out

    def _worst(self, sides: Sequence[Side], what: str, controls: Any, **more: Any) -> Finding:
        columns = [(k, c, s.right[c].mean(axis=1) * s.has) for k, s in enumerate(sides) for c in s.right]
        sums = self._totals([self.clean * s.has for s in sides], [column for _, _, column in columns])
        before = [k for k, _, _ in columns]
        after = [len(sides) + j for j in range(len(columns))]
        try:
            estimate, at = worst(
                sums, lambda t: relative_drop(t, before, after), bounds=(-np.inf, 1), level=self.level, seed=self.seed
            )
        except ValueError:
            return self._found("worst_corruption", f"Share of accuracy lost when the {what} is perturbed", None, **more)
        k, name, _ = columns[at]
        return self._found(
            "worst_corruption",
            f"Share of accuracy lost under {name} of the {sides[k].modality}, the worst of {len(columns)}",
            estimate.model_copy(update={"n": int(np.max([s.has for s in sides], axis=0).sum())}),
            controls=controls,
            note="Averaged over severities; the interval holds for all perturbations at once.",
            **more,
        )

    def _stability(self, sides: Sequence[Side], what: str, **more: Any) -> list[Finding]:
        kept = [np.mean([(self.clean[:, None] * r).mean(axis=1) for r in s.right.values()], axis=0) for s in sides]
        same = np.sum([np.mean([t.mean(axis=1) for t in s.same.values()], axis=0) * s.has for s in sides], axis=0)
        has = np.sum([s.has for s in sides], axis=0)
        members = has > 0
        by = None if self.by is None else [c for c, k in zip(self.by, members, strict=True) if k]
        share = np.clip(same[members] / has[members], 0, 1)
        return [
            self._found(
                "flip_rate",
                f"Right answers that turn wrong when the {what} is perturbed",
                self._mean_drop(sides, kept, "bootstrap of the share"),
                note="Of the samples that are right on clean inputs, on average over perturbations and severities.",
                **more,
            ),
            self._found(
                "consistency",
                f"Answers that stay the same when the {what} is perturbed",
                mean(share, by, level=self.level, bounds=(0, 1)),
                **more,
            ),
        ]

    def _drops(self, side: Side) -> list[Finding]:
        keep, by = self._members(side)
        out = []
        for c, right in side.right.items():
            lost = self.clean[keep] - right[keep].mean(axis=1)
            estimate = (
                mean(lost, by, level=self.level, bounds=(-1, 1))
                if len(side.severities) > 1
                else paired_difference(self.clean[keep], right[keep, 0], by, level=self.level)
            )
            out.append(
                self._found(
                    "drop",
                    f"Accuracy lost under {c} of the {side.modality}",
                    estimate,
                    modality=side.modality,
                    condition=c,
                    judged=False,
                )
            )
        return out

    def charts(self) -> list[Chart]:
        return [chart for side in self.sides for chart in self._of(side)]

    def _of(self, side: Side) -> list[Chart]:
        keep, by = self._members(side)
        n = int(keep.sum())
        clean = self.clean[keep]

        def at(values: Floats) -> Estimate:
            return mean(np.clip(values, 0, 1), by, level=self.level, bounds=(0, 1))

        x = [0.0, *map(float, side.severities)]
        lines = []
        for family in dict.fromkeys(side.families.values()):
            members = [side.right[c][keep] for c, f in side.families.items() if f == family]
            found = [at(clean), *(at(column) for column in np.mean(members, axis=0).T)]
            lines.append(
                Line(
                    label=family,
                    x=x,
                    y=[e.value for e in found],
                    low=[e.low for e in found],
                    high=[e.high for e in found],
                    n=[n] * len(x),
                )
            )
        null = Line(label="null change", x=x, y=[float(side.null[keep].mean())] * len(x), control=True)
        drops = {c: [float((clean - column).mean()) for column in r[keep].T] for c, r in side.right.items()}
        table: list[list[str | float | int | None]] = []
        for c, right in side.right.items():
            for k, s in enumerate(side.severities):
                drop = paired_difference(clean, right[keep, k], by, level=self.level)
                changed = float(side.changed[c][keep, k].mean())
                table.append([c, s, float(right[keep, k].mean()), drop.value, drop.low, drop.high, changed, n])
        severities = [str(s) for s in side.severities]
        return [
            LineChart(
                title=f"Accuracy as the {side.modality} is perturbed",
                x_label="severity",
                y_label="accuracy",
                lines=[*lines, null],
                y_range=(0, 1),
            ),
            MatrixChart(
                title=f"Accuracy lost by perturbation of the {side.modality} and severity",
                rows=list(drops),
                columns=severities,
                values=[list(row) for row in drops.values()],
                better="lower",
            ),
            TableChart(
                title=f"Perturbations of the {side.modality}, paired with clean inputs",
                columns=["perturbation", "severity", "accuracy", "lost", "low", "high", "inputs changed", "samples"],
                rows=table,
            ),
        ]

    def notes(self, scaled: bool) -> list[str]:
        if not self.sides:
            return []
        kinds = {self.about.modalities[s.modality] for s in self.sides}
        out = []
        for s in self.sides:
            keep, _ = self._members(s)
            out.append(
                f"{s.modality}: {len(s.right)} perturbations at severities "
                f"{', '.join(map(str, s.severities))} on {int(keep.sum())} samples."
            )
            same = [c for c, t in s.changed.items() if t[keep].mean() < 0.99]
            if same:
                shares = ", ".join(f"{c} {s.changed[c][keep].mean():.0%}" for c in same)
                out.append(f"{s.modality}: some inputs held nothing that could be changed; changed were: {shares}.")
        if "image" in kinds:
            how = "scaled to the picture's size" if scaled else "those of pictures of 224 pixels, not scaled"
            out.append(f"Constants of pictures are ImageNet-C's; lengths in pixels are {how}.")
        if "text" in kinds:
            out.append(
                "Words that are dropped, moved or replaced may change the right answer, and no check of meaning was "
                "made: losses under changes of words are an upper bound. Of a short text at least one word is touched "
                "at every severity."
            )
        skipped = [m for m in self.about.modalities if m not in {s.modality for s in self.sides}]
        if skipped:
            out.append(f"Not perturbed (no perturbation fits, or no sample has it): {', '.join(skipped)}.")
        names = {"snow", "frost", "stylize"} if "image" in kinds else set()
        names |= {"sentence"} if "text" in kinds else set()
        out += [f"Left out: {name} ({LEFT_OUT[name]})." for name in LEFT_OUT if name in names]
        out.append("What a severity is differs between perturbations: compare severities within one.")
        return out
