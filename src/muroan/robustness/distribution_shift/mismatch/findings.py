"""Findings of the mismatch probe, from its view of the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.data.pairs import FOUND
from muroan.estimate import Estimate, auc, mean, paired_difference, proportion
from muroan.estimate.totals import Worst, totals, worst
from muroan.finding import Finding, Verdict
from muroan.interventions.swaps import MATCHED, SHIFTS, SWAPS, TABLE
from muroan.robustness.distribution_shift.mismatch.view import Cell, View

Floats = NDArray[np.float64]

FOREIGN = "other_class"
SAYS = {row.name: row.says for row in TABLE}
NOBODY = "no sample has an input that could be taken from elsewhere, with another one beside it"


def doubt(view: View, cell: Cell) -> Floats:
    """How little a model believes in a sample [N]: 1 − confidence; for pairs 1 − p(found)."""
    assert cell.confidence is not None
    if not view.paired:
        return 1 - cell.confidence
    return np.where(cell.predicted == FOUND.index("found"), 1 - cell.confidence, cell.confidence)


def hidden(matched: Cell, cell: Cell) -> Floats:
    """Confidence that the product of the parts loses, minus what the model's confidence loses [N]."""
    assert matched.parts is not None
    assert matched.confidence is not None
    assert cell.parts is not None
    assert cell.confidence is not None
    return (matched.parts - cell.parts) - (matched.confidence - cell.confidence)


class MismatchFindings:
    """Findings of a view. promised: names of the probe's metrics, for what cannot be measured."""

    def __init__(self, view: View, probe: str, promised: Sequence[str]) -> None:
        self.view, self.probe, self.promised = view, probe, promised
        self.level, self.seed = view.about.level, view.about.seed
        self.names = [m for m in view.cells if view.cell(m, MATCHED) is not None]
        self.key = "swapped" if view.paired else FOREIGN
        """The swap that a sample should not survive."""

    def _found(self, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
        return Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **more)

    def _worst(
        self, columns: Sequence[tuple[Floats, Floats]], bounds: tuple[float, float], ways: tuple[float, float]
    ) -> Worst:
        """The largest of several means, each a pair (values [N], which samples count [N]), and which it is.

        ways: the least and the largest that one sample can add.
        """
        table = np.column_stack([part for values, counted in columns for part in (counted, values * counted)])
        imaginary = [[1.0, way] * len(columns) for way in ways]
        sums = totals(table, self.view.clusters, imaginary)
        return worst(sums, lambda t: t[:, 1::2] / t[:, ::2], bounds=bounds, level=self.level, seed=self.seed)

    def findings(self) -> list[Finding]:
        if not self.names:
            return [
                Finding(
                    probe=self.probe,
                    metric=name,
                    title="What an input from elsewhere does",
                    reason=NOBODY,
                    verdict=Verdict.NOT_APPLICABLE,
                )
                for name in self.promised
            ]
        found = [*self._hidden(), *self._delays(), *self._losses(), *self._matches()]
        found += [*self.dominance(), *self._detection(), *self._confidences()]
        return sorted(found, key=lambda f: f.modality is not None or f.condition is not None)

    def _keyed(self) -> dict[str, Cell]:
        """For each input what came of the swap that a sample should not survive."""
        found = {m: self.view.cell(m, self.key) for m in self.names}
        return {m: c for m, c in found.items() if c is not None}

    def _hidden(self) -> list[Finding]:
        cells = {m: c for m, c in self._keyed().items() if c.parts is not None}
        if not cells:
            return []
        each = {m: hidden(self.view.matched(m), c) for m, c in cells.items()}
        columns = [(each[m], c.applied.astype(float)) for m, c in cells.items()]
        estimate, at = self._worst(columns, (-2.0, 2.0), (-1.0, 1.0))
        title = "Conflict between the {} and the rest that the confidence does not show"
        out = [
            self._found(
                "hidden_conflict",
                title.format(list(cells)[at]),
                estimate,
                controls=self._conflict_controls(list(cells)[at]),
                note="The worst input, with an interval that holds for all of them at once.",
            )
        ]
        for m, c in cells.items():
            own = mean(each[m][c.applied], self.view.by(c.applied), level=self.level, bounds=(-2, 2))
            out.append(
                self._found(
                    "hidden_conflict",
                    title.format(m),
                    own,
                    modality=m,
                    judged=False,
                    controls=self._conflict_controls(m),
                )
            )
        return out

    def _conflict_controls(self, m: str) -> dict[str, Estimate]:
        """Confidence lost by the model and by the product of its parts, and the same figure for the same class."""
        view, matched = self.view, self.view.matched(m)
        cell = view.cells[m][self.key]
        keep, by = cell.applied, view.by(cell.applied)
        assert matched.confidence is not None
        assert cell.confidence is not None
        assert matched.parts is not None
        assert cell.parts is not None
        out = {
            "confidence lost": paired_difference(matched.confidence[keep], cell.confidence[keep], by, level=self.level),
            "lost by the product of the parts": paired_difference(
                matched.parts[keep], cell.parts[keep], by, level=self.level
            ),
        }
        mild = view.cell(m, "same_class")
        if mild is not None and mild.parts is not None:
            keep = mild.applied
            out["same class"] = mean(hidden(matched, mild)[keep], view.by(keep), level=self.level, bounds=(-2, 2))
        return out

    def _delays(self) -> list[Finding]:
        view = self.view
        levels = {m: view.levels(m, "delayed") for m in self.names}
        levels = {m: found for m, found in levels.items() if found}
        if not levels:
            return []
        lost = {m: view.matched(m).correct - np.mean([c.correct for c in of], axis=0) for m, of in levels.items()}
        counted = {m: of[0].applied.astype(float) for m, of in levels.items()}
        estimate, at = self._worst([(lost[m], counted[m]) for m in levels], (-1.0, 1.0), (-1.0, 1.0))
        title = f"Accuracy lost while the {list(levels)[at]} comes late, on average over delays"
        return [self._found("delay_loss", title, estimate, note="The worst input; the interval holds for all at once.")]

    def _losses(self) -> list[Finding]:
        """Accuracy lost, by input and condition; for pairs only where the right answer stays "found"."""
        view, out = self.view, []
        for m in self.names:
            matched = view.matched(m)
            conditions: dict[str, list[Cell]] = {}
            if not view.paired:
                conditions |= {s.name: [c] for s in SWAPS if (c := view.cell(m, s.name)) is not None}
            conditions |= {s.name: of for s in SHIFTS if (of := view.levels(m, s.name))}
            for name, cells in conditions.items():
                keep = cells[0].applied
                answers = np.mean([c.correct for c in cells], axis=0)
                lost = paired_difference(matched.correct[keep], answers[keep], view.by(keep), level=self.level)
                out.append(
                    self._found(
                        "accuracy_lost",
                        f"Accuracy lost with the {m} {SAYS[name]}",
                        lost,
                        modality=m,
                        condition=name,
                        judged=False,
                        controls={"null change": self._null(m, keep)},
                    )
                )
        keyed = {} if view.paired else self._keyed()
        if keyed:
            columns = [(view.matched(m).correct - c.correct, c.applied.astype(float)) for m, c in keyed.items()]
            estimate, at = self._worst(columns, (-1.0, 1.0), (-1.0, 1.0))
            title = f"Accuracy lost with the {list(keyed)[at]} {SAYS[FOREIGN]}"
            out.append(self._found("accuracy_lost", title, estimate, note="The input that costs most."))
        return out

    def _null(self, m: str, keep: NDArray[np.bool_]) -> Estimate:
        """Accuracy lost where the sample's own value goes the donor's way: 0, or something is wrong with the model."""
        clean = self.view.frame["clean_correct"].to_numpy().astype(np.float64)
        return paired_difference(clean[keep], self.view.matched(m).correct[keep], self.view.by(keep), level=self.level)

    def _matches(self) -> list[Finding]:
        """Of pairs: swapped, and still found."""
        view = self.view
        cells = self._keyed() if view.paired else {}
        if not cells:
            return []
        still = {m: 1 - c.correct for m, c in cells.items()}
        estimate, at = self._worst([(still[m], c.applied.astype(float)) for m, c in cells.items()], (0, 1), (0, 1))
        title = "Pairs still found with the {} of another"
        out = [self._found("false_match", title.format(list(cells)[at]), estimate)]
        for m, c in cells.items():
            by = view.by(c.applied)
            own = proportion(still[m][c.applied], by, level=self.level)
            found = proportion(view.matched(m).correct[c.applied], by, level=self.level)
            more: dict[str, Any] = {"modality": m, "judged": False, "controls": {"found as they were": found}}
            out.append(self._found("false_match", title.format(m), own, **more))
        return out

    def dominance(self) -> list[Finding]:
        view = self.view
        cells = {} if view.paired else self._keyed()
        decided = {m: c.applied & ((c.predicted == view.targets) | (c.predicted == c.donor)) for m, c in cells.items()}
        decided = {m: d for m, d in decided.items() if d.any()}
        if not decided:
            return []
        columns = [(cells[m].follows, d.astype(float)) for m, d in decided.items()]
        estimate, at = self._worst(columns, (0, 1), (0, 1))
        title = "Answers that follow the {} when the others tell another class"
        out = [self._found("dominance", title.format(list(decided)[at]), estimate, note="The input followed most.")]
        for m, d in decided.items():
            c = cells[m]
            before = view.matched(m).predicted == c.donor
            either = before | (view.matched(m).predicted == view.targets)
            controls = {
                "neither class answered": proportion(
                    (~d)[c.applied].astype(float), view.by(c.applied), level=self.level
                ),
            }
            if (either & c.applied).any():
                controls["without the swap"] = proportion(
                    before[either & c.applied].astype(float), view.by(either & c.applied), level=self.level
                )
            own = proportion(c.follows[d], view.by(d), level=self.level)
            out.append(self._found("dominance", title.format(m), own, modality=m, judged=False, controls=controls))
        return out

    def _detection(self) -> list[Finding]:
        view = self.view
        if not view.scored:
            return []
        out = []
        pooled: list[tuple[Floats, Floats, list[str]]] = []
        for m in self.names:
            for name in (s.name for s in SWAPS):
                c = view.cell(m, name)
                if c is None:
                    continue
                keep = c.applied
                sides = doubt(view, c)[keep], doubt(view, view.matched(m))[keep], view.units(keep)
                if name == self.key:
                    pooled.append(sides)
                out.append(
                    self._found(
                        "detection",
                        f"How well confidence tells samples with the {m} {SAYS[name]} from those as they were",
                        auc(*sides[:2], sides[2], sides[2], level=self.level),
                        modality=m,
                        condition=name,
                        judged=False,
                    )
                )
        if pooled:
            swapped, matched, units = (np.concatenate([side[k] for side in pooled]) for k in range(3))
            out.append(
                self._found(
                    "detection",
                    "How well confidence tells mismatched samples from those as they were",
                    auc(swapped, matched, list(units), list(units), level=self.level),
                    note=f"All inputs together, each {SAYS[self.key]}.",
                )
            )
        return out

    def _confidences(self) -> list[Finding]:
        """How often confidence does not fall, and what of the loss it does not show."""
        view = self.view
        if not view.scored or view.paired:
            return []
        out = []
        for m, c in self._keyed().items():
            matched, keep = view.matched(m), c.applied
            by = view.by(keep)
            assert matched.confidence is not None
            assert c.confidence is not None
            stays = (c.confidence >= matched.confidence - 1e-6)[keep].astype(float)
            unshown = (matched.correct - c.correct) - (matched.confidence - c.confidence)
            more: dict[str, Any] = {"modality": m, "judged": False}
            title = f"the {m} is {SAYS[self.key]}"
            out.append(
                self._found(
                    "not_less_sure",
                    f"Samples on which confidence does not fall when {title}",
                    proportion(stays, by, level=self.level),
                    **more,
                )
            )
            out.append(
                self._found(
                    "unshown_loss",
                    f"Accuracy lost that the confidence does not show when {title}",
                    mean(unshown[keep], by, level=self.level, bounds=(-2, 2)),
                    **more,
                )
            )
        return out
