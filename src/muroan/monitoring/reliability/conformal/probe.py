"""Do prediction sets keep their promise, in every group, also when an input is missing?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.evidence import AUDITED, REFERENCE, Evidence
from muroan.figure import Figure
from muroan.finding import Chart, Conclusion
from muroan.interventions.removals import CLEAN
from muroan.model import Capability, Model
from muroan.monitoring.reliability.conformal import findings
from muroan.monitoring.reliability.conformal.charts import coverage_bars, methods_table, promise_chart
from muroan.monitoring.reliability.conformal.thresholds import Threshold, one_per_cluster, recipes
from muroan.monitoring.reliability.scored import conditions, limits, removed, score_rows, scored
from muroan.probe import Observation, Probe
from muroan.randomness import uniform
from muroan.registry import register
from muroan.say import Say


@register
@dataclass(frozen=True, kw_only=True)
class Conformal(Probe):
    """Fits conformal sets on the reference and counts how often they hold the true label on the audited data.

    A set holds every label whose score is at most the ceil((n + 1)(1 − alpha))-th smallest score of the n true
    labels of the reference. If reference and audited data are exchangeable, it holds the true label with
    probability at least 1 − alpha, whatever the model; given the reference, its coverage follows a Beta law.

    Scores: LAC, 1 − p (Sadinle et al. 2019); APS, the mass of likelier labels plus a random part of the label's
    own (Romano et al. 2020); RAPS, APS with a penalty for long sets (Angelopoulos et al. 2021), whose
    temperature, penalty and free ranks are chosen on a part of the reference (`tuning`, by cluster) that the
    threshold never sees. Findings are of `score`; a table compares all three.

    - shortfall, with a condition: thresholds fitted with the same input missing (one per pattern, "Mondrian").
    - missing_shortfall: what happens to sets in use when a sensor fails. A model that knows what it lacks gets larger
      sets and keeps coverage. Both are counted on the same samples under the same threshold, whose luck cancels:
      against the promise alone the interval would be half as wide again.
    - reference_easier: whether the promise has its premise, that reference and audited data are alike. A model that
      was trained on the reference knows it better, and thresholds from it are too small. (With APS that shows in the
      coverage only where the model is also too sure elsewhere; with LAC at once.)
    - group_shortfall: a marginal promise does not bind a group; that is why it is looked at. coverage_gap times 100
      is known as "CovGap".

    The interval of a shortfall knows that the threshold is drawn too: the Beta law at the effective size of the
    clustered reference, with Wilson's interval of the audited data (`sets.shortfall`). Simulated with
    exchangeable clusters (1,000 times each; 100 to 4,000 calibration scores in clusters of 1, 5 or 10, within-
    cluster correlation 0 to 0.9, alpha 0.1, 0.05, 0.01) it lay above 0 in at most 3.3 % of cases, and missed a
    true shortfall of 5 points on either side in at most 5.3 %. Beside it stands a check without that
    approximation: one sample per cluster on both sides, for which the Beta-binomial law is exact.

    Known trade-offs (accepted): APS is judged, not LAC, because an honest model without an input spreads its
    probabilities, and LAC then gives empty sets however honest it is; APS sets are larger, and empty at times.
    """

    name = "monitoring.conformal"
    question = "Do prediction sets hold the truth as often as promised, also when an input is missing?"
    place = "monitoring/reliability"
    source = (
        "Vovk et al. 2005, Algorithmic Learning in a Random World; Vovk 2012, Conditional validity of inductive "
        "conformal predictors; Sadinle et al. 2019 (LAC); Romano et al. 2020 (APS); Angelopoulos et al. 2021 (RAPS)"
    )
    needs = frozenset({Capability.SCORES})
    splits = (AUDITED, REFERENCE)
    finds = {
        "monitoring.sure-without-input": ("missing_shortfall",),
        "monitoring.leaking-conformal-split": ("reference_easier",),
        "monitoring.leaking-split-digits": ("reference_easier", "shortfall"),
        "robustness.collapse-digits": ("missing_shortfall",),
        "robustness.sentinel-fill-digits": ("missing_shortfall",),
    }
    figures = (
        Figure(
            "shortfall",
            says="Promised coverage less what prediction sets reach. 0: the promise holds; 1: never right.",
            limit=0.02,
        ),
        Figure(
            "missing_shortfall",
            says="Coverage that prediction sets lose when an input is missing that they were fitted with. 0: the "
            "promise survives.",
            limit=0.05,
        ),
        Figure(
            "reference_easier",
            says="Chance that the model gives the true label better odds on a sample of the reference than on an "
            "audited one. 0.5: alike, as the promise assumes; 1: always.",
            limit=0.55,
        ),
        Figure(
            "group_shortfall", says="The same in the worst group. 0: no group gets less than the promise.", limit=0.05
        ),
        Figure("coverage", says="Share of samples whose prediction set holds the true label. 1: all.", better="higher"),
        Figure("set_size", says="Labels in a prediction set on average. 1: one answer.", unit="number"),
        Figure("singletons", says="Share of sets with exactly one label. 1: all decided.", better="higher"),
        Figure("empty", says="Share of sets with no label, which are wrong for certain. 0: none."),
        Figure(
            "coverage_gap",
            says="Distance of a class's coverage from the promise, averaged over classes. 0: every class alike.",
        ),
        Figure(
            "size_gap",
            says="Distance of coverage from the promise at worst over sizes of sets. 0: short sets keep it, too.",
        ),
    )

    alpha: float = 0.1
    score: Literal["APS", "LAC", "RAPS"] = "APS"
    tuning: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; it must lie between 0 and 1")
        if self.score not in ("APS", "LAC", "RAPS"):
            raise ValueError(f"score is {self.score!r}; it must be APS, LAC or RAPS")
        if not 0 < self.tuning < 1:
            raise ValueError(f"tuning is {self.tuning}; it must lie between 0 and 1")

    def applies(self, model: Model, schema: Schema) -> str | None:
        return None if len(model.classes) > 1 else "with one class every set is right"

    def observe(self, clean: Clean) -> Observation:
        # One draw a sample, whatever is missing: sets of one sample are compared across conditions.
        u = uniform(clean.keys("conformal"))
        return Observation(pl.concat([score_rows(clean, *change, u=u) for change in removed(clean)]))

    def conclude(self, evidence: Evidence) -> Conclusion:
        names, say = conditions(evidence), Say(self.name)
        audited, reference = (
            {c: rows for c in names if len(rows := scored(evidence, split, c))} for split in (AUDITED, REFERENCE)
        )
        if CLEAN not in audited or CLEAN not in reference:
            lacking = "audited data have" if CLEAN not in audited else "reference has"
            say("shortfall", findings.PROMISE, None, reason=f"the {lacking} no sample that could be scored")
            return Conclusion(findings=say.findings)
        by_name, tuning = recipes(reference[CLEAN], self.alpha, self.tuning)
        thresholds = {name: Threshold.on(recipe, reference[CLEAN], self.alpha) for name, recipe in by_name.items()}
        every = {name: {c: by.sets(rows) for c, rows in audited.items()} for name, by in thresholds.items()}
        by, recipe = thresholds[self.score], by_name[self.score]
        whole = every[self.score][CLEAN]
        without = {c: sets for c, sets in every[self.score].items() if c != CLEAN}
        own = {c: Threshold.on(recipe, reference[c], self.alpha) for c in without if c in reference}
        exact = None
        if whole.clusters is not None:
            few = Threshold.on(replace(recipe, spent=frozenset()), one_per_cluster(by.reference), self.alpha)
            exact = few, few.sets(one_per_cluster(audited[CLEAN]))
        notes = [tuning, *findings.headline(say, by, whole, exact)]
        findings.exchangeable(say, audited[CLEAN], reference[CLEAN])
        findings.missing(say, by, whole, without)
        findings.per_pattern(say, {c: (refitted, refitted.sets(audited[c])) for c, refitted in own.items()})
        notes += findings.groups(say, by, whole)
        findings.sizes(say, by, whole)
        findings.classes(say, by, whole, evidence.about.classes)
        charts: list[Chart] = [promise_chart(by, whole), *coverage_bars(by, whole, say.findings)]
        charts.append(methods_table(every, 1 - self.alpha))
        return Conclusion(findings=say.findings, charts=charts, notes=notes + limits(evidence))
