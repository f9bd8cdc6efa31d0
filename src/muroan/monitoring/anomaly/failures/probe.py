"""Where does the model fail more often than it admits, and what do those samples have in common?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.errors import BadSample
from muroan.estimate import Estimate, difference, proportion
from muroan.evidence import AUDITED, REFERENCE, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Metric, TableChart, Verdict
from muroan.meter import Metered
from muroan.model import Capability
from muroan.monitoring.anomaly.failures.slices import (
    ALONE,
    Attributes,
    Flags,
    Floats,
    Rule,
    attributes,
    describe,
    discover,
    excess,
    expected_errors,
    failing,
    held_out,
    principal,
)
from muroan.monitoring.sure_and_wrong import sure_and_wrong
from muroan.probe import Observation, Probe
from muroan.randomness import normal, sample_keys
from muroan.registry import register

WIDTH = 64
"""Numbers kept of a code; a longer one is projected."""
WORDS_A_SAMPLE, LONGEST_WORD, WORDS = 32, 30, 100
"""Distinct words kept of a text, their length, and how many different ones a rule may be made of."""
SHOWN = 5
"""Slices shown. The first alone is judged."""
FUSED, SCORES = "fused code", "log-probabilities"


@register
@dataclass(frozen=True, kw_only=True)
class Failures(Probe):
    """Looks for samples on which the model errs more often than its own confidence admits: places among its codes, and
    rules in words.

    1. Each sample's fused code (for a model that cannot be taken apart, its log-probabilities), and what each input
       says alone, the others being neutral (where the model can be taken apart).
    2. How probably each answer is wrong, by the model's confidence recalibrated on the fitting samples
       (`expected_errors`). Errors beyond that are what is looked for: where inputs contradict each other an ideal
       model errs more often than elsewhere, and says so.
    3. On the fitting samples (the reference, and a random half of the clusters audited): DOMINO's error-aware
       mixture of code, label and prediction, begun at the cells of the confusion matrix, γ = 10, expected log.
    4. A component becomes a slice by a cut on P(component | code), made on the fitting samples; every sample is placed
       by its code alone. The slice whose fitted samples err most surely beyond what is expected is the worst one.
       One or two attributes that tell most about a slice's errors describe it.
    5. The rule: one or two attributes (group, predicted class, what an input says alone, a word in a text, across
       inputs too) under which fitted errors exceed the expected ones most, by Kulldorff's scan statistic.
    6. On the other half, never seen: how many more errors than expected does the model make in the slice, and under
       the rule, than elsewhere? One slice and one rule are tested, so nothing was chosen on the samples that judge it.
       For the rule the halves then change places (cross-fitting), so that all audited samples judge: each half the
       rule that all others led to, mostly one and the same. Slices of two searches cannot be matched like that.

    Figures: slice_excess and rule_excess, each 0 where confidence accounts for all errors and 1 where every sample in
    it is wrong and sure, and none elsewhere. slice_error_gap and rule_error_gap are the plain gaps in errors, doubted
    or not. Control: the same search with errors handed to other samples.

    Known trade-offs (accepted): wrong labels that gather somewhere look like a failure there. A model that is too
    sure where one can see it (in a group, say) is too sure there, and is found if that costs enough. Slices smaller
    than `fewest` fitting samples are not seen. A rule is one or two conditions that hold, no more: enough to collect
    more such samples and look. The mixture may end in a local optimum; another seed may find another slice.
    """

    name = "monitoring.failures"
    question = "Where does the model fail unawares, and what do those samples have in common?"
    place = "monitoring/anomaly"
    source = (
        "Eyuboglu, Varma et al., ICLR 2022 (DOMINO): error-aware mixture; Kulldorff 1997, A spatial scan statistic; "
        "survey section 4.1"
    )
    metrics = (
        Metric(
            name="slice_excess",
            says="Errors beyond those that the model's confidence admits in the worst slice of its codes, minus "
            "elsewhere, on samples that were not used to find it. 0: it knows where it errs; 1: always sure and wrong "
            "there, never elsewhere.",
            limit=0.1,
            unit="points",
        ),
        Metric(
            name="rule_excess",
            says="The same where the rule in words holds, minus elsewhere, on samples that were not used to make it. "
            "0: it knows where it errs; 1: always sure and wrong under the rule, never elsewhere.",
            limit=0.1,
            unit="points",
        ),
        Metric(
            name="slice_error_gap",
            says="Error rate in that slice minus elsewhere, doubted or not. 0: it errs there as elsewhere; 1: always "
            "wrong there, never elsewhere.",
            unit="points",
        ),
        Metric(
            name="rule_error_gap",
            says="Error rate where the rule holds minus elsewhere, doubted or not. 0: the rule says nothing about "
            "errors; 1: always wrong under it, never elsewhere.",
            unit="points",
        ),
        Metric(name="slice_error", says="Share of wrong answers in this slice. 0: none; 1: all are wrong."),
    )
    needs = frozenset({Capability.SCORES})
    splits = (REFERENCE, AUDITED)
    finds = {
        "monitoring.failing-slice": ("rule_excess",),
        "monitoring.interaction-slice": ("rule_excess",),
        "monitoring.label-noise": ("rule_excess",),
        "robustness.cross-modal-backdoor": ("rule_excess", "slice_excess"),
        "monitoring.label-noise-digits": ("rule_excess", "slice_excess"),
        "monitoring.deaf-to-not-vqa": ("rule_excess",),
        "monitoring.spurious-paper-digits": ("rule_excess",),
    }

    components: int = 20
    """Slices of the mixture (fewer where samples are few)."""
    dimensions: int = 32
    """Principal components of the codes that the mixture sees."""
    gamma: float = 10.0
    """How much label and prediction weigh against the code."""
    iterations: int = 60
    floor: float = 0.01
    """Least variance of a slice, as a share of that of all samples: below, a slice would be its own few samples."""
    fewest: int = 20
    """Fitting samples below which a slice or a rule is not considered."""
    fewest_errors: int = 10
    """Fitting errors below which no search is made."""

    # What is observed

    def observe(self, clean: Clean) -> Observation:
        codes, what = embedded(clean)
        chance = clean.probabilities[torch.arange(len(clean)), clean.batch.targets]
        columns: dict[str, Any] = {
            "code": pl.Series("code", codes.numpy()).cast(pl.List(pl.Float32)),
            "embedding": [what] * len(clean),
            "p_target": chance,
            "correct": clean.correct,
        }
        for m, kind in clean.model.modalities.items():
            if kind.kind == "text":
                distinct, own = clean.batch.unique(m)
                found = pl.Series([words(text) for text in distinct], dtype=pl.List(pl.String))
                columns[f"words.{m}"] = found.gather(own.numpy())
        columns |= {f"{ALONE}{m}": said for m, said in alone(clean).items()}
        sure = clean.probabilities.amax(dim=1).masked_fill(clean.correct, -1.0)
        shown = sure_and_wrong(clean, sure, clean.logits) if clean.split == AUDITED else []
        return Observation(clean.rows("clean", **columns), shown)

    # What is concluded

    def conclude(self, evidence: Evidence) -> Conclusion:
        rows = evidence.rows.filter(pl.col("condition") == "clean")
        units = clusters(rows)
        names = np.asarray(rows["sample"].to_list() if units is None else units, dtype=str)
        scored = held_out(names.tolist(), (rows["split"] == AUDITED).to_numpy(), evidence.about.seed)
        fitted = ~scored
        wrong = ~rows["correct"].to_numpy()
        errors = int(wrong[fitted].sum())
        if errors < self.fewest_errors or not scored.any():
            return self._nothing(
                f"not enough errors to look for slices: {errors} among {fitted.sum()} fitting samples, "
                f"at least {self.fewest_errors} are needed"
                if scored.any()
                else "no samples are left to score what would be found"
            )
        codes = rows["code"].explode().to_numpy().reshape(len(rows), -1).astype(np.float64)
        try:
            z = principal(codes, fitted, self.dimensions)
        except ValueError as error:
            return self._nothing(str(error))
        target, predicted = rows["target"].to_numpy(), rows["clean_predicted"].to_numpy()
        classes, level = evidence.about.classes, evidence.about.level
        first = self._fit(rows, wrong, fitted, classes)
        search = partial(self._discover, z, fitted, units, evidence)
        found = search(target, predicted, first.expected)
        scale = _Scored(rows, wrong, first.expected, scored, None if units is None else names, level)
        said = [describe(wrong & inside, fitted, first.known, fewest=self.fewest) for inside in found[:SHOWN]]
        other = (rows["split"] == AUDITED).to_numpy() & fitted
        halves = [(scored, first)]
        if other.any():
            halves.append((other, self._fit(rows, wrong, ~other, classes)))
        null = self._null(search, target, predicted, scale, evidence.about.seed)
        findings = [*self._slice(found, said, scale, null), *self._rule(halves, scale)]
        return self._conclusion(findings, found, said, scale)

    def _fit(self, rows: pl.DataFrame, wrong: Flags, fitted: Flags, classes: Sequence[str]) -> _Fit:
        expected = expected_errors(rows["clean_confidence"].to_numpy(), wrong, fitted)
        known = attributes(rows, classes, fitted, fewest=self.fewest, most_words=WORDS)
        target = rows["target"].to_numpy()
        return _Fit(expected, known, failing(wrong, expected, target, fitted, known, fewest=self.fewest))

    def _nothing(self, reason: str) -> Conclusion:
        return Conclusion(findings=[self._none("slice_excess", reason), self._none("rule_excess", reason)])

    def _none(self, metric: str, reason: str) -> Finding:
        titles = {"slice_excess": "Unadmitted errors in a slice", "rule_excess": "Unadmitted errors under a rule"}
        return Finding(
            probe=self.name, metric=metric, title=titles[metric], reason=reason, verdict=Verdict.NOT_APPLICABLE
        )

    def _discover(
        self,
        z: Any,
        fitted: Flags,
        units: Sequence[str] | None,
        evidence: Evidence,
        target: Any,
        predicted: Any,
        expected: Floats,
    ) -> list[Flags]:
        return discover(
            z,
            target,
            predicted,
            expected,
            fitted,
            units,
            classes=len(evidence.about.classes),
            components=self.components,
            iterations=self.iterations,
            floor=self.floor,
            gamma=self.gamma,
            fewest=self.fewest,
            seed=evidence.about.seed,
        )

    def _null(
        self, search: Callable[[Any, Any, Floats], list[Flags]], target: Any, predicted: Any, scale: _Scored, seed: int
    ) -> Estimate | None:
        """The same search after labels, predictions and confidence were handed, together, to other samples of the same
        part."""
        rng = np.random.default_rng(seed)
        order = np.arange(len(scale.scored))
        for part in (~scale.scored, scale.scored):
            order[part] = rng.permutation(order[part])
        expected = scale.expected[order]
        found = search(target[order], predicted[order], expected)
        return replace(scale, wrong=scale.wrong[order], expected=expected).excess(found[0]) if found else None

    def _slice(
        self, found: list[Flags], said: list[Rule | None], scale: _Scored, null: Estimate | None
    ) -> list[Finding]:
        if not found:
            reason = f"in no slice of at least {self.fewest} fitting samples are errors more than confidence admits"
            return [self._none("slice_excess", reason)]
        controls = {} if null is None else {"errors handed to other samples": null}
        note = (
            f"first of {len(found)} slices by the samples that are not scored; {scale.size(found[0])}; {_said(said[0])}"
        )
        return self._gaps("slice", "in its worst slice", scale, found[0], controls, note)

    def _rule(self, halves: list[tuple[Flags, _Fit]], scale: _Scored) -> list[Finding]:
        """Each half is judged by the rule, and the expected errors, that all other samples led to."""
        led = [(half, fit, fit.rule) for half, fit in halves if fit.rule is not None]
        if not led:
            reason = "under no group, class or word are the fitting samples' errors more than confidence admits"
            return [self._none("rule_excess", reason)]
        inside, scored, expected = np.zeros_like(scale.scored), np.zeros_like(scale.scored), np.zeros(len(scale.wrong))
        for half, fit, rule in led:
            inside |= half & rule.flags
            scored |= half
            expected[half] = fit.expected[half]
        rules = {rule.text: rule for _, _, rule in led}
        where = "where " + ", or on the other half of the samples where ".join(rules)
        all_ = replace(scale, scored=scored, expected=expected)
        note = "; ".join([all_.size(inside), *map(_quality, rules.values())])
        return self._gaps("rule", where, all_, inside, {}, note)

    def _conclusion(
        self, findings: list[Finding], found: list[Flags], said: list[Rule | None], scale: _Scored
    ) -> Conclusion:
        bars: list[Bar] = []
        table: list[list[str | float | int | None]] = []
        rest = np.ones(len(scale.wrong), dtype=bool)
        for k, (here, words_) in enumerate(zip(found, said, strict=False), 1):
            rest &= ~here
            estimate = scale.rate(here)
            table.append(_row(k, here, estimate, words_, scale))
            if estimate is None:
                continue
            bars.append(Bar(label=f"slice {k}", estimate=estimate))
            findings.append(
                Finding(
                    probe=self.name,
                    metric="slice_error",
                    title=f"Wrong answers in slice {k}",
                    estimate=estimate,
                    group=f"slice={k}",
                    judged=False,
                    note=scale.size(here) + "; " + _said(words_),
                )
            )
        elsewhere = scale.rate(rest)
        if elsewhere is not None:
            bars.append(Bar(label="elsewhere", estimate=elsewhere, control=True))
        charts: list[Chart] = [
            BarChart(title="Wrong answers by slice", y_label="error rate, held out", bars=bars, y_range=(0, 1)),
            TableChart(title="Failing slices in words", columns=_COLUMNS, rows=table),
        ]
        return Conclusion(findings=findings, charts=charts, notes=self._notes(scale, len(found)))

    def _gaps(
        self, what: str, where: str, scale: _Scored, inside: Flags, controls: dict[str, Estimate], note: str
    ) -> list[Finding]:
        """The judged excess and the plain gap."""
        beyond, plain = scale.excess(inside), scale.gap(inside)
        if beyond is None or plain is None:
            return [self._none(f"{what}_excess", "no held-out sample lies in it, or all do: " + note)]
        due = scale.gap(inside, scale.expected)
        assert due is not None
        return [
            Finding(
                probe=self.name,
                metric=f"{what}_excess",
                title=f"How much more often than it admits the model errs {where} than elsewhere",
                estimate=beyond,
                controls={**controls, "all errors": plain, "what the model's confidence expects": due},
                note=note,
            ),
            Finding(
                probe=self.name,
                metric=f"{what}_error_gap",
                title=f"How much more often the model errs {where} than elsewhere",
                estimate=plain,
                controls={"what the model's confidence expects": due},
                note=note,
            ),
        ]

    def _notes(self, scale: _Scored, failing: int) -> list[str]:
        fitted = ~scale.scored
        kind = "samples" if scale.units is None else "clusters"
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


def _row(
    k: int, here: Flags, estimate: Estimate | None, rule: Rule | None, scale: _Scored
) -> list[str | float | int | None]:
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


@dataclass(frozen=True)
class _Fit:
    """What the fitting samples lead to: expected errors of all samples [N], what can be said of them, the rule."""

    expected: Floats
    known: Attributes
    rule: Rule | None


@dataclass(frozen=True)
class _Scored:
    """Error rates on held-out samples."""

    rows: pl.DataFrame
    wrong: Flags
    expected: Floats
    scored: Flags
    units: Any
    level: float

    def _of(self, flags: Flags) -> Any:
        return None if self.units is None else self.units[flags]

    def rate(self, inside: Flags) -> Estimate | None:
        a = inside & self.scored
        return proportion(self.wrong[a], self._of(a), level=self.level) if a.any() else None

    def excess(self, inside: Flags) -> Estimate | None:
        """Errors less expected errors, inside minus outside; None where one side is empty."""
        a, b = inside & self.scored, ~inside & self.scored
        if not (a.any() and b.any()):
            return None
        return excess(self.wrong, self.expected, a, b, self.units, level=self.level)

    def gap(self, inside: Flags, values: Any = None) -> Estimate | None:
        """Mean of `values` (wrong answers) inside minus outside; None where one side is empty."""
        x = self.wrong if values is None else values
        a, b = inside & self.scored, ~inside & self.scored
        if not (a.any() and b.any()):
            return None
        return difference(x[a], x[b], self._of(a), self._of(b), level=self.level)

    def size(self, inside: Flags) -> str:
        n = int((inside & self.scored).sum())
        return f"{n} of {self.scored.sum()} held-out samples ({n / self.scored.sum():.1%}) lie in it"


def words(text: str) -> list[str]:
    """The distinct words of a text, lower case, in order of appearance; at most `WORDS_A_SAMPLE`."""
    found = dict.fromkeys(w[:LONGEST_WORD] for w in re.findall(r"\w+(?:['’-]\w+)*", text.lower()))
    return list(found)[:WORDS_A_SAMPLE]


def alone(clean: Clean) -> dict[str, Tensor]:
    """The class [N] that each input speaks for if all others are neutral; nothing where that cannot be told apart.

    A failure where two inputs meet is described by what they say, and the codes of one input are what says it.
    """
    names = tuple(clean.model.modalities)
    if len(names) < 2 or Capability.FUSE not in clean.model.model.capabilities:
        return {}
    return {m: clean.without(*(o for o in names if o != m)).argmax(dim=1) for m in names}


def embedded(clean: Clean) -> tuple[Tensor, str]:
    """Each sample's code [N, ≤ 64], float, and what it is."""
    model = clean.model
    if Capability.FUSE in model.model.capabilities:
        codes, index = clean.codes, clean.index
        if not model.apart:
            # Whole-model calls have no codes: they are made for this question alone, and counted.
            whole, model = model, Metered(model.model, model.modalities)
            model.meter = whole.meter
            codes, index = model.codes(clean.batch)
        out, what = model.fused(codes, index, clean.batch.present or None).flatten(1).double(), FUSED
    else:
        out, what = clean.logits.double().log_softmax(dim=1), SCORES
    if not bool(torch.isfinite(out).all()):
        raise BadSample("the fused code has NaN or infinite values")
    if out.shape[1] > WIDTH:
        out = out @ _projection(out.shape[1])
    return out.float(), what


@lru_cache(maxsize=4)
def _projection(width: int) -> Tensor:
    """Random directions [width, 64], the same for every sample of every model of that width."""
    keys = sample_keys([str(i) for i in range(width)], "projection of codes")
    return torch.from_numpy(normal(keys, WIDTH) / np.sqrt(WIDTH))
