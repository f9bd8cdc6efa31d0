"""Findings, charts and notes of the missing-modality probe, from a grid of outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.estimate import Estimate, max_gap, mean, paired_difference, proportion, sum_by_cluster
from muroan.estimate.curves import curve_area
from muroan.estimate.totals import totals, worst
from muroan.finding import Bar, BarChart, Chart, Finding, Line, LineChart, Verdict
from muroan.robustness.distribution_shift.missing_modality.dependent import DependentFindings
from muroan.robustness.distribution_shift.missing_modality.grid import ABSENT, NEUTRAL, RATES, Grid, condition

Floats = NDArray[np.float64]

GUESS = "best constant answer (oracle)"
MOST_BARS = 14
"""Subsets up to which each has a bar: all of four inputs; of more, bars would be a page long."""


def _names(of: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(of[:-1]), *of[-1:]) if part)


class MissingFindings:
    """Findings, charts and notes of a grid."""

    def __init__(self, grid: Grid, probe: str) -> None:
        self.grid, self.probe = grid, probe
        self.dependent = DependentFindings(grid, probe)
        self.level, self.seed = grid.about.level, grid.about.seed
        targets = grid.frame["target"].to_numpy()
        self.several = len(np.unique(targets)) > 1
        """Whether a constant guess says anything: where all samples have one answer it is always right."""
        self.constant = int(np.bincount(targets).argmax())
        self.guess = (targets == self.constant).astype(np.float64)
        self.guessing = self._share(self.guess)
        self.full = self._share(grid.full)
        self.drops = {
            m: paired_difference(grid.full, grid.correct[grid.without(m)], grid.by, level=self.level)
            for m in grid.names
        }
        self.worst_input = max(grid.names, key=lambda m: self.drops[m].value)

    def _share(self, hits: Any) -> Estimate:
        return proportion(hits, self.grid.by, level=self.level)

    def _mean(self, shares: Any) -> Estimate:
        return mean(np.clip(shares, 0, 1), self.grid.by, level=self.level, bounds=(0, 1))

    def _found(self, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _worst_share(self, columns: Sequence[Floats], *, largest: bool) -> tuple[Estimate, int]:
        """The largest or smallest of several shares, and which it is."""
        k = len(columns)
        table = np.column_stack([np.ones(len(columns[0])), *columns])
        sums = totals(table, self.grid.by, [[1] * (k + 1), [1] + [0] * k])
        return worst(
            sums, lambda t: t[:, 1:] / t[:, :1], largest=largest, bounds=(0, 1), level=self.level, seed=self.seed
        )

    def _worst_excess(self, above: Floats, columns: Sequence[Floats], most: float = 1.0) -> tuple[Estimate, int]:
        """The largest of mean(above) − mean(column), which is at most `most`, and which column it is."""
        k = len(columns)
        table = np.column_stack([np.ones(len(above)), above, *columns])
        sums = totals(table, self.grid.by, [[1, 1] + [0] * k, [1, 0] + [1] * k])
        return worst(
            sums, lambda t: (t[:, 1:2] - t[:, 2:]) / t[:, :1], bounds=(-most, most), level=self.level, seed=self.seed
        )

    def findings(self) -> list[Finding]:
        unqualified: list[Finding] = []
        details: list[Finding] = []
        for part in (
            self._hidden(),
            self._silent(),
            self._guessing(),
            self._accuracies(),
            self._confidence(),
            self._curves(),
            self.dependent.findings(),
        ):
            for f in part:
                (details if f.modality or f.group or f.condition else unqualified).append(f)
        return [*unqualified, *details, *self._groups()]

    def _hidden(self) -> list[Finding]:
        """What is lost and does not show: 0 in expectation for whoever is right as often as sure, whatever is missing.

        Both losses are paired with the full input, so a model that is too sure throughout is not blamed here.
        """
        grid = self.grid
        if grid.confidence is None:
            return []
        doubt = {s: grid.correct[s] - grid.confidence[s] for s in (grid.names, *grid.kept)}
        estimate, at = self._worst_excess(doubt[grid.names], [doubt[s] for s in grid.kept], most=2.0)
        gone = [m for m in grid.names if m not in grid.kept[at]]
        title = "Accuracy lost without the {} that the confidence does not show"
        out = [
            self._found(
                "hidden_loss",
                title.format(_names(gone)),
                estimate,
                controls={"accuracy without": self._share(grid.correct[grid.kept[at]])}
                | {"confidence without": self._mean(grid.confidence[grid.kept[at]])},
                note="The worst subset, with an interval that holds for all of them at once.",
            )
        ]
        for m in grid.names:
            hidden = mean(doubt[grid.names] - doubt[grid.without(m)], grid.by, level=self.level, bounds=(-2, 2))
            out.append(self._found("hidden_loss", title.format(m), hidden, modality=m, judged=False))
        return out

    def _silent(self) -> list[Finding]:
        hits = self.grid.silent()
        if not hits:
            return []
        lost = {m: self._share(self.grid.lost(m)) for m in hits}
        estimate, at = self._worst_share(list(hits.values()), largest=True)
        worst_one = list(hits)[at]
        title = "Right answers lost without the {}, while confidence does not fall"
        out = [
            self._found(
                "silent_loss",
                title.format(worst_one),
                estimate,
                controls={"lost, whatever the confidence": lost[worst_one]},
                note="Of all complete samples; the worst input, with an interval that holds for all of them at once.",
            )
        ]
        for m, h in hits.items():
            controls = {"lost, whatever the confidence": lost[m]}
            out.append(
                self._found("silent_loss", title.format(m), self._share(h), modality=m, judged=False, controls=controls)
            )
        return out

    def _guessing(self) -> list[Finding]:
        if not self.several:
            return [
                Finding(
                    probe=self.probe,
                    metric="below_guessing",
                    title="Whether a constant guess is better than the model with an input missing",
                    reason="all samples have the same right answer, so a constant guess is always right",
                    verdict=Verdict.NOT_APPLICABLE,
                )
            ]
        estimate, at = self._worst_excess(self.guess, [self.grid.correct[s] for s in self.grid.kept])
        return [
            self._found(
                "below_guessing",
                f"How much better a constant guess is than the model with only {_names(self.grid.kept[at])}",
                estimate,
                controls={GUESS: self.guessing},
                note=f"The constant answer is {self.grid.about.classes[self.constant]!r}, chosen with the labels.",
            )
        ]

    def _accuracies(self) -> list[Finding]:
        grid = self.grid
        every = [grid.full, *(grid.correct[s] for s in grid.kept)]
        least, at = self._worst_share(every, largest=False)
        drop, which = self._worst_excess(grid.full, [grid.correct[grid.without(m)] for m in grid.names])
        controls = {"everything": self.full} | ({GUESS: self.guessing} if self.several else {})
        left = _names([grid.names, *grid.kept][at])
        average = self._mean(np.mean(every, axis=0))
        several = f"Accuracy on average over {len(every)} subsets of the inputs"
        out = [
            self._found("worst_accuracy", f"Accuracy with only {left}", least, controls=controls),
            self._found("average_accuracy", several, average, controls=controls),
            self._found("worst_single_drop", f"Accuracy lost without the {grid.names[which]}", drop),
        ]
        for m in grid.names:
            changed = (grid.predicted[grid.without(m)] != grid.predicted[grid.names]).astype(np.float64)
            note = "" if changed.any() else f"No answer ever changes: the model ignores the {m}."
            of: dict[str, Any] = {"modality": m, "judged": False, "note": note}
            out.append(self._found("drop", f"Accuracy lost without the {m}", self.drops[m], **of))
            out.append(
                self._found("answer_changes", f"Answers that change without the {m}", self._share(changed), **of)
            )
        for mode, table in self._tables():
            for s in grid.kept:
                title = f"Accuracy with only {_names(s)}, the rest {mode}"
                what = {"condition": condition(mode, s), "judged": False}
                out.append(self._found("accuracy", title, self._share(table[s]), **what))
        return out

    def _tables(self) -> list[tuple[str, Any]]:
        """Outcomes by what stands for a missing input."""
        return [(self.grid.mode, self.grid.correct)] + ([(NEUTRAL, self.grid.neutral)] if self.grid.neutral else [])

    def _confidence(self) -> list[Finding]:
        rises = self.grid.rises()
        if not rises:
            return []
        return [
            self._found(
                "confidence_rise",
                "Samples on which confidence is higher with an input missing",
                self._mean(np.mean(list(rises.values()), axis=0)),
                note="On average over which input is missing.",
            ),
            *(
                self._found(
                    "confidence_rise",
                    f"Samples on which confidence is higher without the {m}",
                    self._share(r),
                    modality=m,
                    judged=False,
                )
                for m, r in rises.items()
            ),
        ]

    def _area(self, curve: Floats) -> Estimate:
        weights = np.array([curve_area(row, RATES) for row in np.eye(len(RATES))])
        return self._mean(curve @ weights)

    def _curves(self) -> list[Finding]:
        joint = self.grid.joint_curve()
        out = []
        if joint is not None:
            out.append(
                self._found(
                    "curve_area",
                    "Accuracy on average over missing rates, every input missing at random",
                    self._area(joint),
                    note="Inputs go missing independently of each other; where all would, one of them stays.",
                )
            )
        for m in self.grid.names:
            title = f"Accuracy on average over rates at which the {m} is missing"
            area = self._area(self.grid.curve(m))
            out.append(self._found("curve_area", title, area, modality=m, judged=False))
        return out

    def gaps(self) -> dict[str, tuple[Estimate, str, str]]:
        """For each group how much more one of its values loses without the worst input, and which two."""
        grid = self.grid
        drop = grid.full - grid.correct[grid.without(self.worst_input)]
        out = {}
        for name, values in grid.about.groups.items():
            member = grid.frame[f"group.{name}"].to_numpy()[:, None] == np.asarray(values, dtype=object)[None, :]
            table = np.stack([member * drop[:, None], member.astype(np.float64)], axis=2)
            try:
                gap = max_gap(sum_by_cluster(table, grid.by), list(values), level=self.level, seed=self.seed)
            except ValueError:  # fewer than two groups that are large enough
                continue
            out[name] = (gap.estimate, gap.highest, gap.lowest)
        return out

    def _groups(self) -> list[Finding]:
        return [
            self._found(
                "group_drop_gap",
                f"A missing {self.worst_input} costs {name} {high!r} more than {low!r}",
                estimate,
                modality=self.worst_input,
                group=name,
                judged=False,
                note="If the input goes missing in one group only, this is what depends on which.",
            )
            for name, (estimate, high, low) in self.gaps().items()
        ]

    def charts(self) -> list[Chart]:
        grid = self.grid
        joint = grid.joint_curve()
        lines = [self.grid.line(f"{m} missing", grid.curve(m)) for m in grid.names]
        lines += [] if joint is None else [self.grid.line("every input missing", joint)]
        if self.several:
            lines.append(Line(label=GUESS, x=[0.0, 1.0], y=[self.guessing.value] * 2, control=True))
        out: list[Chart] = [
            LineChart(
                title="Accuracy as inputs go missing at random",
                x_label="share without the input",
                y_label="accuracy",
                lines=lines,
                y_range=(0, 1),
            ),
            BarChart(title="Accuracy with what is left", y_label="accuracy", bars=self._bars(), y_range=(0, 1)),
        ]
        gaps = self.gaps()
        if gaps:
            name = max(gaps, key=lambda g: gaps[g][0].value)
            of, curve = grid.frame[f"group.{name}"].to_numpy(), grid.curve(self.worst_input)
            out.append(
                LineChart(
                    title=f"Accuracy by {name} if the {self.worst_input} goes missing in that group",
                    x_label=f"share without the {self.worst_input}",
                    y_label="accuracy in the group",
                    lines=[self.grid.line(v, curve, of == v) for v in grid.about.groups[name] if (of == v).any()],
                    y_range=(0, 1),
                )
            )
        return [*out, *self.dependent.charts()]

    def _bars(self) -> list[Bar]:
        """Accuracy by what is left; beyond `MOST_BARS` subsets only those that lack one input, or hold one alone."""
        grid = self.grid
        kept = [s for s in grid.kept if len(grid.kept) <= MOST_BARS or len(s) in (1, len(grid.names) - 1)]
        several = len(self._tables()) > 1
        bars = [Bar(label="everything", estimate=self.full)]
        for mode, table in self._tables():
            of = "missing inputs " + ("left out" if mode == ABSENT else "neutral") if several else ""
            bars += [Bar(label=self._left(s), estimate=self._share(table[s]), of=of) for s in kept]
        if self.several:
            bars.append(Bar(label=GUESS, estimate=self.guessing, control=True))
        return bars

    def _left(self, kept: Sequence[str]) -> str:
        gone = [m for m in self.grid.names if m not in kept]
        if len(gone) == 1 < len(kept):
            return f"all but {gone[0]}"
        return f"only {' + '.join(kept)}"

    def notes(self) -> list[str]:
        grid = self.grid
        out = [
            f"Of {len(grid.full)} samples that have all of their inputs.",
            "Missing is the model's own handling of an absent input; where it says neutral, the neutral value of the "
            "input's kind stands in its place instead."
            if grid.mode == ABSENT
            else "Missing is the neutral value of the input's kind in its place, which the model may never have "
            "seen; a mask, a mean or another sample's value would be other tests.",
            "What a model trained on the remaining inputs alone would reach (the unimodal ceiling) is not known, so "
            "a drop does not say how much of it could be avoided.",
            "At a missing rate accuracy is a mixture of the outcomes with and without the input: the curves are "
            "exact for inputs that go missing at random, or in one class or group alone, and needed no further answers "
            "of the model.",
            *self.dependent.notes(),
            "Only inputs missing in use were measured; inputs added, or others than in training, need a model that "
            "was trained so.",
        ]
        if grid.incomplete:
            out.append(f"{grid.incomplete} samples lack an input in the data themselves; they are left out.")
        if grid.confidence is None:
            out.append("The model gives labels only: what its confidence does could not be measured.")
        if len(grid.kept) > MOST_BARS:
            out.append(f"Of {len(grid.kept)} subsets the chart shows those that lack one input or hold one alone.")
        if len(grid.kept) != 2 ** len(grid.names) - 2:
            out.append(f"With {len(grid.names)} inputs, only subsets that lack one, or hold one alone, were asked.")
        return out
