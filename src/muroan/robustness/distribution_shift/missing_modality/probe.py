"""What is left of a model when some of its inputs are missing, and whether it notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.evidence import Evidence
from muroan.figure import Figure
from muroan.finding import Conclusion
from muroan.intervention import Outcome, outcome
from muroan.interventions.removals import Removal, others, subsets
from muroan.model import Capability, Model
from muroan.panels import Shown, before_after
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.distribution_shift.missing_modality import findings
from muroan.robustness.distribution_shift.missing_modality.grid import MOST_CLASSES, RISE, Grid
from muroan.say import Say

Accuracy = partial(Figure, better="higher", unit="accuracy")


@register
@dataclass(frozen=True, kw_only=True)
class MissingModality(Probe):
    """Every non-empty subset of the inputs is kept in turn, the rest is missing.

    Missing means `neutral`, the value that the modality itself calls nothing (a plain picture, the empty text, a
    column's mean), or, for a model that declares `absent`, its own handling of an absent input; then that is the
    headline and neutral the comparison. The neutral value is encoded once and recombined; nothing else is encoded.

    Of the figures, all for samples that have all their inputs:

    - average and worst accuracy are over the subsets, full set included: P = mean_e s_e, R = min_e s_e (McKinzie et
      al., ICML 2023). R has a simultaneous interval, since the least of several noisy figures is biased.
    - hidden loss, the alarm, is what a model can always be asked for: one that is right as often as it is sure with
      whatever is left has 0. Both losses are paired with the full input.
    - silent loss names the samples, and has no limit: where inputs contradict each other it is above 0 for Bayes'
      rule too (0.1 for two inputs that are right in 7 of 10 cases), and it misses a confidence that falls too little.
    - below guessing: above 0 an input that is missing makes the model worse than no model. The constant is chosen on
      the same labels (oracle).
    - confidence never rises when an input is removed, at best (CML, Ma et al., ICML 2023).
    - curves over missing rates are those of Ma et al., CVPR 2022. If an input is missing at random at rate eta,
      accuracy is (1 − eta) · full + eta · without it, a mixture of outcomes that were observed, so the curve is
      exact, and straight. Other scores (F1, AUROC) would not be straight.

    Known trade-offs (accepted): what a model trained on the remaining inputs alone would reach is not known, so how
    much of a drop could be avoided is not either, and drops have no default limit: no model answers a question that
    it has not seen. A neutral value may be unlike anything in training. Another sample's value as the stand-in is
    left out: it would depend on the batch. With more than six inputs: one missing, and one alone, only.
    """

    name = "robustness.missing_modality"
    question = "What is left of the model when an input is missing, and does its confidence show it?"
    place = "robustness/distribution_shift"
    source = (
        "McKinzie et al., ICML 2023 (arXiv 2304.04385): mean and min over subsets; "
        "Ma et al., CVPR 2022 (arXiv 2204.05454): score against missing rate; "
        "Ma et al., ICML 2023: confidence must not rise when an input is removed"
    )
    figures = (
        Figure(
            "hidden_loss",
            says="Accuracy lost minus confidence lost on the subset of inputs where most is hidden. 0: every loss "
            "shows in the confidence; 1: all is lost, nothing shows.",
            limit=0.1,
            unit="points",
        ),
        Figure(
            "silent_loss",
            says="Share of samples that turn from right to wrong when the most harmful input is missing while "
            "the model is no less confident. 0: every loss shows in the confidence; 1: all are lost, none shows.",
        ),
        Figure(
            "below_guessing",
            says="Accuracy of the best constant answer minus accuracy on the worst subset of inputs. 0 or less: "
            "at least as good as guessing; 1: always wrong where guessing is always right.",
            limit=0.05,
            unit="points",
        ),
        Accuracy(
            "worst_accuracy",
            says="Accuracy on the worst subset of inputs. 1: right with any; 0: one of them is never right.",
        ),
        Accuracy(
            "average_accuracy",
            says="Accuracy on average over all non-empty subsets of inputs. 1: right with any; 0: never right.",
        ),
        Figure(
            "worst_single_drop",
            says="Accuracy lost when the input that matters most is missing. 0: none is needed; 1: all is lost.",
            unit="points",
        ),
        Figure(
            "missing_tilt",
            says="How much more probable a class becomes on average over all samples when one input is missing. "
            "0: that it is missing says nothing; 1: it makes the model certain of that class.",
            limit=0.05,
            unit="points",
        ),
        Accuracy(
            "worst_class_accuracy",
            says="Accuracy in the class that fares worst when one input is missing in it alone. 1: always right there.",
        ),
        Accuracy(
            "worst_class_area",
            says="The same on average over missing rates from 0 to 1. 1: never wrong there; 0: always wrong there.",
        ),
        Accuracy(
            "worst_group_accuracy",
            says="Accuracy in the group that fares worst when one input is missing in it alone. 1: always right there.",
        ),
        Accuracy(
            "worst_group_area",
            says="The same on average over missing rates from 0 to 1. 1: never wrong there; 0: always wrong there.",
        ),
        Figure("drop", says="Accuracy lost without this input. 0: nothing; 1: everything.", unit="points"),
        Accuracy("accuracy", says="Accuracy with only these inputs. 1: always right."),
        Figure(
            "answer_changes",
            says="Share of samples whose answer changes without this input. 0: the model ignores it.",
        ),
        Figure(
            "confidence_rise",
            says="Share of samples on which the model is more confident without this input than with everything. "
            "0: confidence never rises when something is taken away; 1: always.",
        ),
        Accuracy(
            "curve_area",
            says="Accuracy on average over missing rates from 0 to 1. 1: never wrong; 0: always wrong.",
        ),
        Figure(
            "group_drop_gap",
            says="How much more accuracy one group loses than another without the input that matters most. "
            "0: all lose alike.",
            unit="points",
        ),
    )
    headlines = figures[:7]
    """Those that are not about an input, a class or a group."""

    outcomes = {"right": "higher"}
    finds = {
        "robustness.missing-modality": ("hidden_loss",),
        "robustness.missing-tells-digits": ("missing_tilt",),
        "robustness.sentinel-fill-digits": ("hidden_loss", "missing_tilt"),
    }

    def applies(self, model: Model, schema: Schema) -> str | None:
        return None if len(model.modalities) > 1 else "needs at least two modalities, of which one can be missing"

    def asks(self, clean: Clean) -> list[Removal]:
        names = tuple(clean.model.modalities)
        ways = (True, False) if Capability.ABSENT in clean.model.model.capabilities else (True,)
        return [Removal(), *(Removal(others(names, kept), told) for told in ways for kept in subsets(names))]

    def observe(self, clean: Clean) -> Observation:
        model = clean.model
        seen = Capability.SCORES in model.model.capabilities and len(model.classes) <= MOST_CLASSES
        asked = [(change, outcome(clean, change)) for change in self.asks(clean)]
        frames = []
        for change, came in asked:
            # Whether it speaks for a class that one input is missing.
            p = came.logits.double().softmax(dim=1).float().numpy() if seen and len(change.missing) < 2 else None
            each = pl.Series([None] * len(clean) if p is None else p).cast(pl.List(pl.Float32))
            frames.append(came.rows(probabilities=each))
        return Observation(pl.concat(frames), _shown(clean, asked))

    def conclude(self, evidence: Evidence) -> Conclusion:
        say, grid = Say(self.name), Grid(evidence)
        if not len(grid.rows):
            reason = "no sample has all of its inputs, so nothing could be taken away from a complete one"
            say.nothing([f.metric for f in self.headlines], "What a missing input costs", reason)
            return Conclusion(findings=say.findings)
        findings.findings(say, grid)
        return Conclusion(findings=say.details_last, charts=findings.charts(say, grid), notes=findings.notes(grid))


def _shown(clean: Clean, asked: Sequence[tuple[Removal, Outcome]]) -> list[Shown]:
    """The two samples that get most confidently wrong without one of their inputs."""
    lost: list[tuple[float, str, int, str]] = []
    before = clean.confidence(clean.logits).to_numpy()
    held = clean.correct & clean.batch.has(*clean.model.modalities)
    for change, came in asked:
        if len(change.missing) == 1:
            rise = clean.confidence(came.logits).to_numpy() - before
            at = np.flatnonzero((held & ~came.right).numpy() & (rise > RISE)).tolist()
            lost += [(-float(rise[i]), clean.batch.ids[i], i, change.missing[0]) for i in at]
    shown = []
    for rank, _, i, gone in sorted(lost)[:2]:
        empty = clean.batch.modalities[gone].neutral(clean.batch.inputs[gone][i : i + 1])
        title = f"Wrong without the {gone}, and more confident"
        caption = f"Right with everything; without the {gone} wrong, with {-rank:.0%} more confidence."
        shown.append(before_after(clean.batch, i, title, {gone: ("missing", empty)}, caption=caption, rank=rank))
    return shown
