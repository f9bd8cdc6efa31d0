"""How much worse a model is on the data audited than on a reference: another site, another vendor, other people."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from muroan.clean import Clean
from muroan.estimate import Estimate
from muroan.evidence import AUDITED, REFERENCE, Evidence
from muroan.figure import Figure
from muroan.finding import Bar, BarChart, Chart, Conclusion
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.distribution_shift.natural_shift.compared import WHOLE, side_by_side, table, worst
from muroan.robustness.distribution_shift.natural_shift.labels import Labels
from muroan.rows import SMALLEST_GROUP, Rows
from muroan.say import Say

CONDITION = "as it comes"
"""Nothing is done to the inputs: the shift is in the data."""


@register
@dataclass(frozen=True, kw_only=True)
class NaturalShift(Probe):
    """Nothing is changed: the model is asked about the data audited and about the reference, and the two are compared.

    It says something where the reference is what the model was made for and the data audited are what it will meet:
    another hospital, a later year, another vendor's pictures, people it has not seen. Where both are random parts of
    one data set, there is no shift, and the figures are 0 but for chance. Figures are between different samples, so
    intervals are of two samples, by clusters where there are any.

    Taori et al. compare the same pair of accuracies over models; the relative drop is to it what MMI is to synthetic
    changes. A loss that shows in the confidence is seen without labels by somebody who watches it (Guo et al., 2017,
    say what confidence should be; Ovadia et al. that it fails under shift); who is too sure on both is not blamed.
    What label shift alone explains is told apart where there are two classes. The worst class and the worst value of a
    group that both data sets have come with an interval that holds for all of them at once (Bonferroni); values that
    the reference lacks (new people) are compared with all of it and not judged: they may always have been hard.

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
    figures = (
        Figure(
            "accuracy_drop",
            says="Accuracy on the reference minus accuracy on the data audited. 0: as good; 1: all is lost; "
            "below 0: better.",
            limit=0.05,
            unit="points",
        ),
        Figure(
            "hidden_drop",
            says="Accuracy lost minus confidence lost from the reference to the data audited. 0: every loss shows in "
            "the confidence; 1: all is lost, nothing shows.",
            limit=0.1,
            unit="points",
        ),
        Figure(
            "relative_drop",
            says="Share of the reference's accuracy that is lost on the data audited. 0: none; 1: all of it.",
        ),
        Figure(
            "confidence_drop",
            says="Mean confidence on the reference minus that on the data audited. 0: as sure; 1: not sure any more.",
            unit="points",
        ),
        Figure(
            "reweighted_drop",
            says="The accuracy lost if classes were as frequent in the data audited as in the reference. 0: nothing "
            "but other class frequencies; 1: all is lost, whatever they are.",
            unit="points",
        ),
        Figure(
            "label_part",
            says="The part of the accuracy lost that comes from other class frequencies. 0: none; 1: all of it, and "
            "everything is lost.",
            unit="points",
        ),
        Figure(
            "worst_class_drop",
            says="Accuracy lost on the class that loses most. 0: no class loses; 1: one is never right any more.",
            unit="points",
        ),
        Figure(
            "worst_group_drop",
            says="Accuracy lost in the group that loses most. 0: no group loses; 1: one is never right any more.",
            limit=0.15,
            unit="points",
        ),
    )
    splits = (AUDITED, REFERENCE)
    outcomes = {"correct": "higher"}
    finds = {"robustness.site-cue": ("accuracy_drop",)}

    def observe(self, clean: Clean) -> Observation:
        confidence = clean.confidence(clean.logits)
        rows = clean.rows(CONDITION, predicted=clean.predicted, correct=clean.correct, confidence=confidence)
        return Observation(rows)

    def conclude(self, evidence: Evidence) -> Conclusion:
        sides = {split: Rows.of(evidence, CONDITION, split=split) for split in (REFERENCE, AUDITED)}
        say, reference, audited = Say(self.name), sides[REFERENCE], sides[AUDITED]
        if empty := [split for split in self.splits if not len(sides[split])]:
            reason = f"no sample of {' and of '.join(empty)} could be observed, so there is nothing to compare"
            say.nothing(["accuracy_drop"], "Accuracy lost", reason)
            return Conclusion(findings=say.findings)
        labels = Labels.of(reference, audited)
        right = {name: rows.share("correct") for name, rows in sides.items()}
        scored = {name: rows for name, rows in sides.items() if not rows.frame["confidence"].null_count()}
        sure = {name: rows.mean("confidence", (0, 1)) for name, rows in scored.items()}
        say(
            "accuracy_drop",
            "Accuracy lost from the reference to the data audited",
            reference.more_than(audited, "correct"),
            controls={f"accuracy, {name}": e for name, e in right.items()},
        )
        if len(sure) == 2:
            say(
                "hidden_drop",
                "Accuracy lost that the confidence does not show",
                reference.more_than(audited, pl.col("correct").cast(pl.Float64) - pl.col("confidence")),
                controls={f"confidence, {name}": e for name, e in sure.items()},
            )
            lost = reference.more_than(audited, "confidence")
            say("confidence_drop", "Confidence lost from the reference to the data audited", lost)
        if (share := _share_lost(reference, audited)) is not None:
            say("relative_drop", "Share of the reference's accuracy lost on the data audited", share)
        if (parts := labels.parts(reference, audited)) is not None:
            title = "Accuracy lost if classes were as frequent as in the reference"
            say("reweighted_drop", title, parts[0], note="What other class frequencies do not explain.")
            title = "Accuracy lost because classes are not as frequent as in the reference"
            say("label_part", title, parts[1])
        charts: list[Chart] = [
            BarChart(
                title="The reference and the data audited",
                y_label="share",
                bars=[Bar(label=name, estimate=e, of="accuracy") for name, e in right.items()]
                + [Bar(label=name, estimate=e, of="mean confidence") for name, e in sure.items()],
                y_range=(0, 1),
            ),
            *_worst(say, reference, audited),
        ]
        if len(evidence.about.classes) > 1:
            charts.append(labels.table())
        notes = [
            f"{len(audited)} samples audited, {len(reference)} of the reference; nothing was done to the inputs.",
            "A drop mixes a shift of the inputs, of how frequent classes are, of what labels mean, harder samples, and "
            "chance; only the frequencies of classes are told apart here.",
            "Intervals are about more samples of these two data sets. How the model fares on a third, another site or "
            "other people, they do not say.",
            "Where the reference is a random part of the data audited there is no shift to find.",
            *labels.notes(),
        ]
        if len(sure) < 2:
            notes.append("The model gives labels only: whether its confidence falls could not be measured.")
        few = f"Classes and groups of fewer than {SMALLEST_GROUP} samples, or of one cluster, on a side are left out."
        return Conclusion(findings=say.findings, charts=charts, notes=[*notes, few])


def _share_lost(reference: Rows, audited: Rows) -> Estimate | None:
    """1 − audited / reference, clusters of both sets drawn; None where nothing is right on the reference."""
    both = Rows(pl.concat([reference.frame, audited.frame]), reference.about)
    first = pl.col("split") == REFERENCE
    sums = both.totals(
        [pl.col("correct") & first, first, pl.col("correct") & ~first, ~first],
        [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]],
    )
    return both.figure(sums, lambda t: 1 - (t[:, 2] / t[:, 3]) / (t[:, 0] / t[:, 1]), "bootstrap of the ratio")


def _worst(say: Say, reference: Rows, audited: Rows) -> list[Chart]:
    """The class and the values of groups that lose most; all of them as tables."""
    about, note = reference.about, "The interval holds for all of them at once."
    kinds, _ = side_by_side(reference, audited, {c: pl.col("target") == k for k, c in enumerate(about.classes)})
    groups = {
        g: side_by_side(reference, audited, {v: pl.col(f"group.{g}") == v for v in values})
        for g, values in about.groups.items()
    }
    if len(kinds) > 1:
        estimate, which = worst(kinds)
        say("worst_class_drop", f"Accuracy lost for class {which}", estimate, note=note)
    for g, (known, _) in groups.items():
        if known:
            estimate, which = worst(known)
            say("worst_group_drop", f"Accuracy lost for {g} {which}", estimate, group=g, note=note)
    note += f" Compared with {WHOLE}: they may always have been hard, so they are not judged."
    for g, (_, new) in groups.items():
        if new:
            estimate, which = worst(new)
            title = f"Accuracy lost for {g} {which} that the reference lacks"
            say.detail("worst_group_drop", title, estimate, group=g, condition="new values", note=note)
    charts: list[Chart] = [table("class", kinds)] if len(kinds) > 1 else []
    return charts + [table(g, [*known, *new]) for g, (known, new) in groups.items() if known or new]
