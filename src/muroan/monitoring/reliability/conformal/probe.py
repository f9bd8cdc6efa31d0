"""Do prediction sets keep their promise, in every group, also when an input is missing?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.evidence import AUDITED, REFERENCE, Evidence
from muroan.finding import Chart, Conclusion, Finding, Metric, Verdict
from muroan.interventions.removals import MOST_FOR_ALL_REMOVALS
from muroan.model import Capability, Model
from muroan.monitoring.reliability.conformal.charts import coverage_bars, methods_table, promise_chart
from muroan.monitoring.reliability.conformal.findings import Calibrated, Findings, Recipe, one_per_cluster, recipes
from muroan.monitoring.reliability.missing_inputs import CLEAN, observe_removals
from muroan.monitoring.reliability.scored import conditions, score_rows, scored
from muroan.probe import Observation, Probe
from muroan.randomness import uniform
from muroan.registry import register


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

    - shortfall: 1 − alpha less coverage. 0: the promise holds; 1 − alpha: the truth is never in the set. With a
      condition: thresholds fitted with the same input missing (one per pattern, "Mondrian").
    - missing_shortfall: coverage lost with an input missing, the threshold fitted with all of them: what happens
      to sets in use when a sensor fails. A model that knows what it lacks gets larger sets and keeps coverage. Both
    - missing_shortfall: coverage lost with an input missing, the threshold fitted with all of them: what happens
      to sets in use when a sensor fails. A model that knows what it lacks gets larger sets and keeps coverage. Both
      are counted on the same samples under the same threshold, whose luck cancels: against the promise alone the
      interval would be half as wide again.
    - reference_easier: whether the promise has its premise, that reference and audited data are alike. A model that
      was trained on the reference knows it better, and thresholds from it are too small. (With APS that shows in the
      coverage only where the model is also too sure elsewhere; with LAC at once.)
    - group_shortfall: the worst group's. A marginal promise does not bind it; that is why it is looked at.
    - coverage, set_size, singletons, empty: how often sets hold the truth, their mean size, the share of
      one label and of none. coverage_gap: mean distance of a class's coverage from the promise (times 100:
      "CovGap"). size_gap: the same at worst over strata of set size.

    The interval of a shortfall knows that the threshold is drawn too: the Beta law at the effective size of the
    clustered reference, with Wilson's interval of the audited data (`conformal_sets.shortfall`). Simulated with
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
    metrics = (
        Metric(
            name="shortfall",
            says="Promised coverage less what prediction sets reach. 0: the promise holds; 1: never right.",
            limit=0.02,
        ),
        Metric(
            name="missing_shortfall",
            says="Coverage that prediction sets lose when an input is missing that they were fitted with. 0: the "
            "promise survives.",
            limit=0.05,
        ),
        Metric(
            name="reference_easier",
            says="Chance that the model gives the true label better odds on a sample of the reference than on an "
            "audited one. 0.5: alike, as the promise assumes; 1: always.",
            limit=0.55,
        ),
        Metric(
            name="group_shortfall",
            says="The same in the worst group. 0: no group gets less than the promise.",
            limit=0.05,
        ),
        Metric(
            name="coverage",
            says="Share of samples whose prediction set holds the true label. 1: all.",
            better="higher",
        ),
        Metric(name="set_size", says="Labels in a prediction set on average. 1: one answer.", unit="number"),
        Metric(name="singletons", says="Share of sets with exactly one label. 1: all decided.", better="higher"),
        Metric(name="empty", says="Share of sets with no label, which are wrong for certain. 0: none."),
        Metric(
            name="coverage_gap",
            says="Distance of a class's coverage from the promise, averaged over classes. 0: every class alike.",
        ),
        Metric(
            name="size_gap",
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
        return Observation(pl.concat([score_rows(clean, removed, u=u) for removed in observe_removals(clean)]))

    def conclude(self, evidence: Evidence) -> Conclusion:
        about, names = evidence.about, conditions(evidence)
        audited = {c: s for c in names if (s := scored(evidence, AUDITED, c)) is not None}
        reference = {c: s for c in names if (s := scored(evidence, REFERENCE, c)) is not None}
        if CLEAN not in audited or CLEAN not in reference:
            lacking = "audited data have" if CLEAN not in audited else "reference has"
            reason = f"the {lacking} no sample that could be scored"
            nothing = Finding(
                probe=self.name,
                metric="shortfall",
                title="coverage short of the promise",
                verdict=Verdict.NOT_APPLICABLE,
                reason=reason,
            )
            return Conclusion(findings=[nothing])
        notes: list[str] = []
        by_name = recipes(reference[CLEAN], self.alpha, self.tuning, about.seed, notes)
        applied = {
            name: {c: by.apply(s) for c, s in audited.items()}
            for name, by in ((n, Calibrated.on(r, reference[CLEAN], self.alpha)) for n, r in by_name.items())
        }
        recipe, sets = by_name[self.score], applied[self.score][CLEAN]
        exact = None
        if sets.clusters is not None:
            few = one_per_cluster(recipe.kept(reference[CLEAN]), about.seed)
            plain = Recipe(recipe.name, tuned=recipe.tuned)
            exact = Calibrated.on(plain, few, self.alpha).apply(one_per_cluster(audited[CLEAN], about.seed))
        refitted = {
            c: Calibrated.on(recipe, reference[c], self.alpha).apply(s)
            for c, s in audited.items()
            if c in reference and c != CLEAN
        }
        make = Findings(
            probe=self.name, modalities=tuple(about.modalities), level=about.level, seed=about.seed, notes=notes
        )
        findings = [
            *make.headline(sets, exact),
            *make.exchangeable(audited[CLEAN], reference[CLEAN]),
            *make.missing(applied[self.score]),
            *make.per_pattern(refitted),
            *make.groups(sets, audited[CLEAN].groups()),
            *make.sizes(sets),
            *make.classes(sets, about.classes),
        ]
        charts: list[Chart] = [
            promise_chart(sets, about.level),
            *coverage_bars(sets, findings, about.level),
            methods_table(applied, 1 - self.alpha, about.level),
        ]
        if len(about.modalities) > MOST_FOR_ALL_REMOVALS:
            notes.append(
                f"With more than {MOST_FOR_ALL_REMOVALS} kinds of input each is removed alone, not in combinations."
            )
        return Conclusion(findings=findings, charts=charts, notes=notes)
