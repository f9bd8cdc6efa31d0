"""Is the model as often right as it is sure, also when an input is missing?"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.evidence import AUDITED, REFERENCE, Evidence
from muroan.figure import Figure
from muroan.finding import Chart, Conclusion
from muroan.interventions.removals import CLEAN, without
from muroan.model import Capability, Model
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability.calibration import findings
from muroan.monitoring.reliability.calibration.charts import diagram, overconfidence_bars, risk_chart
from muroan.monitoring.reliability.scored import NOTHING, conditions, judged, limits, removed, score_rows, scored
from muroan.monitoring.sure_and_wrong import sure_and_wrong
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.say import Say


@register
@dataclass(frozen=True, kw_only=True)
class Calibration(Probe):
    """Compares confidence with accuracy: with all inputs, without each of them, and in every group.

    Each sample is scored as it is and with modalities replaced by their neutral values (every non-empty subset
    of up to three modalities, else each one removed alone), through `fuse` where the model can be taken apart.

    Overconfidence (0.1: it claims 10 points more than it delivers; below 0: too modest) is unbiased, and so the
    sharpest of the figures, but blind to errors that cancel. The calibration error (ece, over right-closed bins; Guo
    et al. 2017, eq. 3) is not 0 for a perfect model: its value by chance stands beside it. confidence_rises (Ma et al.
    2023) has no limit: it is above 0 for an ideal model, too, on samples whose inputs contradict each other. avu
    (Krishnan and Tickoo 2020) calls an answer sure whose entropy is below a threshold fitted on the reference, and
    the threshold of fpr95 lets 95 % of the right answers of the reference through. e_aurc: Geifman et al. 2019.

    Intervals of calibration errors: `sum_of_gaps`; simulated 2,000 to 3,000 times with a perfect model, the
    lower bound was above 0 for 2.5 % (800 and 100 clusters of 8), 1.1 % (30 clusters), 1.5 % (400 independent
    samples).

    Known trade-offs (accepted): confidence is the largest probability; equal-width bins put most samples of an
    accurate model into one bin (the equal-mass error stands beside it); a missing input is its neutral value, on
    which a model that was never trained without it may do anything: that is the question.
    """

    name = "monitoring.calibration"
    question = "Is the model right as often as it is sure, also when an input is missing?"
    place = "monitoring/reliability"
    source = (
        "Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3; Ma et al. 2023, Calibrating Multimodal "
        "Learning; Krishnan and Tickoo 2020, Improving model calibration with accuracy versus uncertainty "
        "optimization; Geifman et al. 2019, Bias-Reduced Uncertainty Estimation"
    )
    needs = frozenset({Capability.SCORES})
    splits = (AUDITED, REFERENCE)
    finds = {
        "monitoring.overconfident": ("overconfidence", "ece_excess"),
        "monitoring.underconfident": ("ece_excess",),
        "monitoring.sure-without-input": ("overconfidence_missing",),
        "monitoring.group-miscalibrated": ("calibration_gap",),
        "robustness.spurious-background": ("calibration_gap",),
        "monitoring.overconfident-vqa": ("overconfidence_missing",),
        "monitoring.overtrained-digits": ("overconfidence_missing",),
        "robustness.collapse-digits": ("overconfidence_missing",),
        "robustness.sentinel-fill-digits": ("overconfidence_missing",),
    }
    outcomes = {"correct": "higher", "target_probability": "higher"}
    figures = (
        Figure(
            "overconfidence",
            says="How much surer than right the model is: mean confidence less accuracy. 0: as sure as right.",
            limit=0.02,
        ),
        Figure(
            "ece_excess",
            says="How far confidence is from accuracy on average, less what chance adds. 0: no more than chance.",
            limit=0.02,
        ),
        Figure(
            "overconfidence_missing",
            says="How much surer than right the model is when an input is missing. 0: it knows what it lacks.",
            limit=0.05,
        ),
        Figure(
            "calibration_gap",
            says="How much overconfidence differs between groups. 0: confidence means the same in every group.",
            limit=0.05,
        ),
        Figure("ece", says="Mean distance of confidence from accuracy over bins. 0: none; 1: sure and wrong."),
        Figure("adaptive_ece", says="The same over bins that hold equally many samples."),
        Figure("classwise_ece", says="The same for every class's probability, averaged over the classes."),
        Figure(
            "confidence_rises",
            says="Share of samples on which the model gets surer when an input is taken away. 0: never.",
        ),
        Figure(
            "avu",
            says="Share of answers that are sure and right or unsure and wrong. 1: doubt is a perfect warning.",
            better="higher",
        ),
        Figure("aurc", says="Mean error rate if only the surest answers are used, over all shares. 0: no error."),
        Figure("e_aurc", says="The same less the least possible at this accuracy. 0: every error is doubted."),
        Figure(
            "error_auc",
            says="Chance that a right answer is surer than a wrong one. 0.5: confidence says nothing; 1: all.",
            better="higher",
        ),
        Figure(
            "fpr95",
            says="Share of errors let through by the confidence that lets 95 % of right answers through. 0: none.",
        ),
        Figure(
            "temperature_gain",
            says="Likelihood won by one temperature fitted on the reference. 0: nothing to correct that way.",
            unit="nats",
        ),
        Figure("nll", says="Negative log-likelihood of the true label. 0: sure and right.", unit="nats"),
        Figure(
            "brier",
            says="Squared distance of probabilities from the label. 0: sure and right; 2: wrong.",
            unit="number",
        ),
    )

    bins: int = ce.BINS

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins is {self.bins}; it must be at least 1")

    def applies(self, model: Model, schema: Schema) -> str | None:
        return None if len(model.classes) > 1 else "with one class the model is always right"

    def observe(self, clean: Clean) -> Observation:
        frames, shown = [], []
        targets = clean.batch.targets
        for change, logits in removed(clean):
            p = logits.double().softmax(dim=1)
            confidence, predicted = p.max(dim=1).values, logits.argmax(dim=1)
            right = predicted == targets
            columns = {
                "predicted": predicted,
                "confidence": confidence,
                "correct": right,
                "target_probability": p.gather(1, targets[:, None])[:, 0],
                "entropy": -(p * p.clamp_min(1e-300).log()).sum(dim=1),
            }
            frames.append(score_rows(clean, change, logits, **columns))
            if clean.split == AUDITED and len(change.missing) <= 1:
                sure, condition = confidence.masked_fill(right, -1.0), without(change.missing, "")
                shown += sure_and_wrong(clean, sure, logits, missing=change.missing, condition=condition)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: s.rank)[:2])

    def conclude(self, evidence: Evidence) -> Conclusion:
        usable = {c: scored(evidence, AUDITED, c) for c in conditions(evidence)}
        audited = {c: judged(rows) for c, rows in usable.items() if len(rows)}
        if CLEAN not in audited:
            return Conclusion(findings=[], notes=["No sample could be scored."])
        clean, reference = audited[CLEAN], scored(evidence, REFERENCE)
        notes = [
            f"{len(clean)} samples audited, {len(reference)} in the reference; "
            f"{self.bins} right-closed bins; confidence is the largest probability."
        ]
        say = Say(self.name)
        findings.headline(say, clean, self.bins)
        findings.missing(say, audited)
        left_out = findings.groups(say, clean) + findings.other_errors(say, clean, self.bins)
        tables, thresholds = findings.fitted(say, audited, reference, self.bins)
        notes += thresholds + left_out
        findings.surest(say, clean)
        findings.details(say, audited, self.bins)
        charts: list[Chart] = [diagram(c, rows, self.bins) for c, rows in audited.items()]
        charts += [*overconfidence_bars(say.findings), risk_chart(audited), *tables]
        dropped = int((evidence.of(AUDITED)["missing"] == NOTHING).sum())
        if dropped:
            notes.append(f"{dropped} rows were left out of conditions in which no input was left to them.")
        return Conclusion(findings=say.findings, charts=charts, notes=notes + limits(evidence))
