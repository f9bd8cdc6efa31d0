"""How much worse a model is on the data audited than on a reference: another site, another vendor, other people."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from muroan.clean import Clean
from muroan.evidence import AUDITED, REFERENCE, Evidence
from muroan.finding import Conclusion, Finding, Metric, Verdict
from muroan.model import Capability
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.distribution_shift.natural_shift.findings import NaturalShiftFindings, Side

CONDITION = "as it comes"
"""Nothing is done to the inputs: the shift is in the data."""


@register
@dataclass(frozen=True, kw_only=True)
class NaturalShift(Probe):
    """Nothing is changed: the model is asked about the data audited and about the reference, and the two are compared.

    It says something where the reference is what the model was made for and the data audited are what it will meet:
    another hospital, a later year, another vendor's pictures, people it has not seen. Where both are random parts of
    one data set, there is no shift, and the figures are 0 but for chance.

    Figures, each between different samples, so that intervals are of two samples (by clusters where there are any):

    - accuracy drop: accuracy on the reference minus accuracy on the data audited (Taori et al., NeurIPS 2020, compare
      the same pair of accuracies over models). 0: as good; 1: all is lost; below 0: better.
    - relative drop: the same as a share of the reference's accuracy, as MMI is for synthetic changes.
    - hidden drop: accuracy lost minus confidence lost. 0: every loss shows in the confidence, so that somebody who
      watches it sees the loss without labels (Guo et al., 2017, say what confidence should be; Ovadia et al., NeurIPS
      2019, that it fails under shift); 1: all is lost and nothing shows. Who is too sure on both alike is not blamed.
    - reweighted drop: the drop if the data audited had the reference's class frequencies: what label shift alone does
      not explain. label part: the rest, which comes from other frequencies. Both only where there are two classes.
    - worst class, worst group: the largest drop among classes, and among values of each group that both data sets
      have, with an interval that holds for all of them at once (Bonferroni). Values that the reference lacks (new
      people) are compared with the whole reference, and not judged: they may always have been hard.

    Known trade-offs (accepted): a drop mixes a shift of inputs, of labels (what the label part says), of what labels
    mean, harder samples and chance, and does not tell them apart. An interval is about more samples of these two data
    sets, not about other sites: two sites are a sample of two. A reference that a threshold or an early stop was fitted
    on flatters itself.
    """

    name = "robustness.natural_shift"
    question = "Is the model worse on the data audited than on the reference, and does it notice?"
    place = "robustness/distribution_shift"
    source = (
        "Taori et al., NeurIPS 2020 (arXiv 2007.00644): accuracy under natural shifts; "
        "Ovadia et al., NeurIPS 2019 (arXiv 1906.02530): confidence under shift; "
        "Lipton et al., ICML 2018 (arXiv 1802.03916): label shift"
    )
    metrics = (
        Metric(
            name="accuracy_drop",
            says="Accuracy on the reference minus accuracy on the data audited. 0: as good; 1: all is lost; "
            "below 0: better.",
            limit=0.05,
            unit="points",
        ),
        Metric(
            name="hidden_drop",
            says="Accuracy lost minus confidence lost from the reference to the data audited. 0: every loss shows in "
            "the confidence; 1: all is lost, nothing shows.",
            limit=0.1,
            unit="points",
        ),
        Metric(
            name="relative_drop",
            says="Share of the reference's accuracy that is lost on the data audited. 0: none; 1: all of it.",
        ),
        Metric(
            name="confidence_drop",
            says="Mean confidence on the reference minus that on the data audited. 0: as sure; 1: not sure any more.",
            unit="points",
        ),
        Metric(
            name="reweighted_drop",
            says="The accuracy lost if classes were as frequent in the data audited as in the reference. 0: nothing "
            "but other class frequencies; 1: all is lost, whatever they are.",
            unit="points",
        ),
        Metric(
            name="label_part",
            says="The part of the accuracy lost that comes from other class frequencies. 0: none; 1: all of it, and "
            "everything is lost.",
            unit="points",
        ),
        Metric(
            name="worst_class_drop",
            says="Accuracy lost on the class that loses most. 0: no class loses; 1: one is never right any more.",
            unit="points",
        ),
        Metric(
            name="worst_group_drop",
            says="Accuracy lost in the group that loses most. 0: no group loses; 1: one is never right any more.",
            limit=0.15,
            unit="points",
        ),
    )
    splits = (AUDITED, REFERENCE)
    outcomes = {"correct": "higher"}
    finds = {"robustness.site-cue": ("accuracy_drop",)}

    def observe(self, clean: Clean) -> Observation:
        scores = Capability.SCORES in clean.model.model.capabilities
        sure = clean.probabilities.amax(dim=1)
        return Observation(
            clean.rows(
                CONDITION,
                predicted=clean.predicted,
                correct=clean.correct,
                confidence=sure if scores else pl.Series("confidence", [None] * len(clean), dtype=pl.Float64),
            )
        )

    def conclude(self, evidence: Evidence) -> Conclusion:
        sides = {split: Side.read(evidence.of(split, CONDITION)) for split in self.splits}
        empty = [split for split, side in sides.items() if side is None]
        if empty:
            reason = f"no sample of {' and of '.join(empty)} could be observed, so there is nothing to compare"
            return Conclusion(
                findings=[
                    Finding(
                        probe=self.name,
                        metric="accuracy_drop",
                        title="Accuracy lost",
                        reason=reason,
                        verdict=Verdict.NOT_APPLICABLE,
                    )
                ]
            )
        audited, reference = sides[AUDITED], sides[REFERENCE]
        assert audited is not None
        assert reference is not None
        found = NaturalShiftFindings(audited, reference, evidence.about, self.name)
        return Conclusion(findings=found.findings(), charts=found.charts(), notes=found.notes())
