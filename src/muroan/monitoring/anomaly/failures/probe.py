"""Where does the model fail more often than it admits, and what do those samples have in common?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch

from muroan.clean import Clean
from muroan.estimate import Estimate
from muroan.evidence import AUDITED, REFERENCE, Evidence, clusters
from muroan.figure import Figure
from muroan.finding import Conclusion
from muroan.model import Capability
from muroan.monitoring.anomaly.failures.codes import alone, embedded, words
from muroan.monitoring.anomaly.failures.findings import SHOWN, TITLES, Fit, Scored, conclude
from muroan.monitoring.anomaly.failures.slices import (
    ALONE,
    Flags,
    Floats,
    attributes,
    describe,
    discover,
    expected_errors,
    failing,
    held_out,
    principal,
)
from muroan.monitoring.sure_and_wrong import sure_and_wrong
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.say import Say

WORDS = 100
"""Different words that a rule may be made of."""


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
    figures = (
        Figure(
            "slice_excess",
            says="Errors beyond those that the model's confidence admits in the worst slice of its codes, minus "
            "elsewhere, on samples that were not used to find it. 0: it knows where it errs; 1: always sure and wrong "
            "there, never elsewhere.",
            limit=0.1,
            unit="points",
        ),
        Figure(
            "rule_excess",
            says="The same where the rule in words holds, minus elsewhere, on samples that were not used to make it. "
            "0: it knows where it errs; 1: always sure and wrong under the rule, never elsewhere.",
            limit=0.1,
            unit="points",
        ),
        Figure(
            "slice_error_gap",
            says="Error rate in that slice minus elsewhere, doubted or not. 0: it errs there as elsewhere; 1: always "
            "wrong there, never elsewhere.",
            unit="points",
        ),
        Figure(
            "rule_error_gap",
            says="Error rate where the rule holds minus elsewhere, doubted or not. 0: the rule says nothing about "
            "errors; 1: always wrong under it, never elsewhere.",
            unit="points",
        ),
        Figure("slice_error", says="Share of wrong answers in this slice. 0: none; 1: all are wrong."),
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
                each = pl.Series([words(text) for text in distinct], dtype=pl.List(pl.String))
                columns[f"words.{m}"] = each.gather(own.numpy())
        columns |= {f"{ALONE}{m}": said for m, said in alone(clean).items()}
        sure = clean.probabilities.amax(dim=1).masked_fill(clean.correct, -1.0)
        shown = sure_and_wrong(clean, sure, clean.logits) if clean.split == AUDITED else []
        return Observation(clean.rows("clean", **columns), shown)

    # What is concluded

    def conclude(self, evidence: Evidence) -> Conclusion:
        rows = evidence.rows.filter(pl.col("condition") == "clean")
        of = clusters(rows)
        names = np.asarray(rows["sample"].to_list() if of is None else of, dtype=str)
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
        search = partial(
            discover,
            z,
            fitted=fitted,
            clusters=of,
            classes=len(classes),
            components=self.components,
            iterations=self.iterations,
            floor=self.floor,
            gamma=self.gamma,
            fewest=self.fewest,
            seed=evidence.about.seed,
        )
        slices = search(target, predicted, first.expected)
        scale = Scored(rows, wrong, first.expected, scored, None if of is None else names, level)
        said = [describe(wrong & inside, fitted, first.known, fewest=self.fewest) for inside in slices[:SHOWN]]
        other = (rows["split"] == AUDITED).to_numpy() & fitted
        halves = [(scored, first)]
        if other.any():
            halves.append((other, self._fit(rows, wrong, ~other, classes)))
        null = self._null(search, target, predicted, scale, evidence.about.seed)
        return conclude(self.name, scale, slices, said, null, halves, self.fewest)

    def _fit(self, rows: pl.DataFrame, wrong: Flags, fitted: Flags, classes: Sequence[str]) -> Fit:
        expected = expected_errors(rows["clean_confidence"].to_numpy(), wrong, fitted)
        known = attributes(rows, classes, fitted, fewest=self.fewest, most_words=WORDS)
        target = rows["target"].to_numpy()
        return Fit(expected, known, failing(wrong, expected, target, fitted, known, fewest=self.fewest))

    def _nothing(self, reason: str) -> Conclusion:
        say = Say(self.name)
        for metric, title in TITLES.items():
            say(metric, title, None, reason=reason)
        return Conclusion(findings=say.findings)

    def _null(
        self, search: Callable[[Any, Any, Floats], list[Flags]], target: Any, predicted: Any, scale: Scored, seed: int
    ) -> Estimate | None:
        """The same search after labels, predictions and confidence were handed, together, to other samples of the same
        part."""
        rng = np.random.default_rng(seed)
        order = np.arange(len(scale.scored))
        for part in (~scale.scored, scale.scored):
            order[part] = rng.permutation(order[part])
        expected = scale.expected[order]
        slices = search(target[order], predicted[order], expected)
        return replace(scale, wrong=scale.wrong[order], expected=expected).excess(slices[0]) if slices else None
