"""What the failures probe says of slices and a rule, on samples that did not help to find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from muroan.estimate import Estimate, difference, proportion
from muroan.finding import Bar, BarChart, Conclusion, TableChart
from muroan.monitoring.anomaly.failures.codes import SCORES
from muroan.monitoring.anomaly.failures.slices import Attributes, Flags, Floats, Rule, excess
from muroan.say import Say

Cell = str | float | int | None

SHOWN = 5
"""Slices shown. The first alone is judged."""
TITLES = {"slice_excess": "Unadmitted errors in a slice", "rule_excess": "Unadmitted errors under a rule"}


@dataclass(frozen=True)
class Fit:
    """What the fitting samples lead to: expected errors of all samples [N], what can be said of them, the rule."""

    expected: Floats
    known: Attributes
    rule: Rule | None


@dataclass(frozen=True)
class Scored:
    """Error rates on held-out samples."""

    rows: pl.DataFrame
    wrong: Flags
    expected: Floats
    scored: Flags
    clusters: Any
    level: float

    def _of(self, flags: Flags) -> Any:
        return None if self.clusters is None else self.clusters[flags]

    def rate(self, inside: Flags) -> Estimate | None:
        a = inside & self.scored
        return proportion(self.wrong[a], self._of(a), level=self.level) if a.any() else None

    def excess(self, inside: Flags) -> Estimate | None:
        """Errors less expected errors, inside minus outside; None where one side is empty."""
        a, b = inside & self.scored, ~inside & self.scored
        if not (a.any() and b.any()):
            return None
        return excess(self.wrong, self.expected, a, b, self.clusters, level=self.level)

    def gap(self, inside: Flags, values: Any = None) -> Estimate | None:
        """Mean of `values` (wrong answers) inside minus outside; None where one side is empty."""
        x = self.wrong if values is None else values
        a, b = inside & self.scored, ~inside & self.scored
        return difference(x[a], x[b], self._of(a), self._of(b), level=self.level) if a.any() and b.any() else None

    def size(self, inside: Flags) -> str:
        n = int((inside & self.scored).sum())
        return f"{n} of {self.scored.sum()} held-out samples ({n / self.scored.sum():.1%}) lie in it"


def conclude(
    probe: str,
    scale: Scored,
    slices: Sequence[Flags],
    said: Sequence[Rule | None],
    null: Estimate | None,
    halves: Sequence[tuple[Flags, Fit]],
    fewest: int,
) -> Conclusion:
    """Findings about the worst slice and the rule, and a picture of the first slices.

    slices [N] each, the worst first, with what describes them; null: the excess of the same search with errors handed
    to other samples; halves: scored samples, and what all others led to.
    """
    say = Say(probe)
    if slices:
        controls = {} if null is None else {"errors handed to other samples": null}
        note = f"first of {len(slices)} slices by the samples that are not scored; {scale.size(slices[0])}"
        _gaps(say, "slice", "in its worst slice", scale, slices[0], controls, f"{note}; {_said(said[0])}")
    else:
        reason = f"in no slice of at least {fewest} fitting samples are errors more than confidence admits"
        say("slice_excess", TITLES["slice_excess"], None, reason=reason)
    judge_rule(say, halves, scale)
    bars: list[Bar] = []
    table: list[list[Cell]] = []
    rest = np.ones(len(scale.wrong), dtype=bool)
    for k, (here, rule) in enumerate(zip(slices, said, strict=False), 1):
        rest &= ~here
        estimate = scale.rate(here)
        table.append(_row(k, here, estimate, rule, scale))
        if estimate is not None:
            bars.append(Bar(label=f"slice {k}", estimate=estimate))
            note = f"{scale.size(here)}; {_said(rule)}"
            say.detail("slice_error", f"Wrong answers in slice {k}", estimate, group=f"slice={k}", note=note)
    elsewhere = scale.rate(rest)
    if elsewhere is not None:
        bars.append(Bar(label="elsewhere", estimate=elsewhere, control=True))
    return Conclusion(
        findings=say.findings,
        charts=[
            BarChart(title="Wrong answers by slice", y_label="error rate, held out", bars=bars, y_range=(0, 1)),
            TableChart(title="Failing slices in words", columns=_COLUMNS, rows=table),
        ],
        notes=_notes(scale, len(slices)),
    )


def judge_rule(say: Say, halves: Sequence[tuple[Flags, Fit]], scale: Scored) -> None:
    """Each half is judged by the rule, and the expected errors, that all other samples led to."""
    led = [(half, fit, fit.rule) for half, fit in halves if fit.rule is not None]
    if not led:
        reason = "under no group, class or word are the fitting samples' errors more than confidence admits"
        say("rule_excess", TITLES["rule_excess"], None, reason=reason)
        return
    inside, scored, expected = np.zeros_like(scale.scored), np.zeros_like(scale.scored), np.zeros(len(scale.wrong))
    for half, fit, rule in led:
        inside |= half & rule.flags
        scored |= half
        expected[half] = fit.expected[half]
    rules = {rule.text: rule for _, _, rule in led}
    where = "where " + ", or on the other half of the samples where ".join(rules)
    everyone = replace(scale, scored=scored, expected=expected)
    note = "; ".join([everyone.size(inside), *map(_quality, rules.values())])
    _gaps(say, "rule", where, everyone, inside, {}, note)


def _gaps(
    say: Say, what: str, where: str, scale: Scored, inside: Flags, controls: Mapping[str, Estimate], note: str
) -> None:
    """The judged excess and the plain gap."""
    beyond, plain, due = scale.excess(inside), scale.gap(inside), scale.gap(inside, scale.expected)
    if beyond is None or plain is None or due is None:
        reason = f"no held-out sample lies in it, or all do: {note}"
        say(f"{what}_excess", TITLES[f"{what}_excess"], None, reason=reason)
        return
    doubted = {"what the model's confidence expects": due}
    title = f"How much more often than it admits the model errs {where} than elsewhere"
    say(f"{what}_excess", title, beyond, controls={**controls, "all errors": plain, **doubted}, note=note)
    title = f"How much more often the model errs {where} than elsewhere"
    say(f"{what}_error_gap", title, plain, controls=doubted, note=note)


def _notes(scale: Scored, failing: int) -> list[str]:
    fitted = ~scale.scored
    kind = "samples" if scale.clusters is None else "clusters"
    notes = [
        f"Slices and rules were found on {fitted.sum()} samples with {scale.wrong[fitted].sum()} errors (the "
        f"reference and a random half of the audited {kind}) and scored on the other {scale.scored.sum()} with "
        f"{scale.wrong[scale.scored].sum()} errors. When fitting, errors were more frequent than expected in "
        f"{failing} slices; the {min(failing, SHOWN)} where that is surest are shown, the first is judged.",
        "The rule is scored on all audited samples: on each half the one that all other samples led to.",
        "Expected errors are those of the model's confidence, recalibrated on the samples that are not scored: "
        "what it doubts is no hidden failure, and that it is too sure everywhere is for calibration to say.",
        "A sample is placed by its code alone, never by its label or prediction, and a rule that is judged never "
        "names the right answer: else a slice of errors would be one by definition.",
    ]
    if scale.rows["embedding"][0] == SCORES:
        notes.append(
            "The model cannot be taken apart, so its log-probabilities stand in for its codes: slices are "
            "places of like confidence, which is less than what the model sees."
        )
    return notes


_COLUMNS = [
    "slice",
    "what its errors have in common",
    "held out",
    "share",
    "error rate",
    "errors under the rule",
    "samples under the rule",
    "precision",
    "recall",
    "lift",
]


def _row(k: int, here: Flags, estimate: Estimate | None, rule: Rule | None, scale: Scored) -> list[Cell]:
    n = int((here & scale.scored).sum())
    under = None if rule is None else scale.rate(rule.flags)
    return [
        k,
        "nothing that has a name" if rule is None else rule.text,
        n,
        round(n / int(scale.scored.sum()), 4),
        None if estimate is None else round(estimate.value, 3),
        None if under is None else round(under.value, 3),
        None if rule is None else int((rule.flags & scale.scored).sum()),
        *([None] * 3 if rule is None else [round(rule.precision, 3), round(rule.recall, 3), round(rule.lift, 1)]),
    ]


def _quality(rule: Rule) -> str:
    return (
        f"when fitting, {rule.precision:.0%} of the samples under it were errors of the slice and {rule.recall:.0%} of "
        f"those errors were under it (lift {rule.lift:.1f})"
    )


def _said(rule: Rule | None) -> str:
    return "nothing that has a name sets its errors apart" if rule is None else f"its errors: {rule.text}"
