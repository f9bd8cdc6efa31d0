"""What is left of a model when some of its inputs are missing, and whether it notices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Finding, Metric, Verdict
from muroan.interventions.removals import subsets
from muroan.meter import Codes
from muroan.model import Capability, Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.registry import register
from muroan.robustness.distribution_shift.missing_modality.findings import MissingFindings
from muroan.robustness.distribution_shift.missing_modality.grid import (
    ABSENT,
    EVERYTHING,
    MOST_CLASSES,
    NEUTRAL,
    RISE,
    Grid,
    condition,
)

UNQUALIFIED = (
    "hidden_loss",
    "silent_loss",
    "below_guessing",
    "worst_accuracy",
    "average_accuracy",
    "worst_single_drop",
    "missing_tilt",
)


@register
@dataclass(frozen=True, kw_only=True)
class MissingModality(Probe):
    """Every non-empty subset of the inputs is kept in turn, the rest is missing.

    Missing means `neutral`, the value that the modality itself calls nothing (a plain picture, the empty text, a
    column's mean), or, for a model that declares `absent`, its own handling of an absent input; then that is the
    headline and neutral the comparison. The neutral value is encoded once and recombined; nothing else is encoded.

    Figures, for the samples that have all their inputs:

    - average and worst accuracy over the subsets, full set included: P = mean_e s_e, R = min_e s_e (McKinzie et
      al., ICML 2023). 1 is right with whatever is left. R has a simultaneous interval, since the least of several
      noisy figures is biased.
    - drop: accuracy with everything minus accuracy without one input, paired. 0: not needed, or never used.
    - hidden loss: accuracy lost minus confidence lost, both paired with the full input, on the subset where most is
      hidden. 0: every loss shows in the confidence. This is what a model can always be asked for, and the alarm: a
      model that is right as often as it is sure with whatever is left has 0.
    - silent loss: the share of samples that are right with everything, wrong without the input, and not less
      confident. It names the samples, and has no limit: where inputs contradict each other it is above 0 for Bayes'
      rule too (0.1 for two inputs that are right in 7 of 10 cases), and it misses a confidence that falls too little.
    - below guessing: the best constant answer's accuracy minus that of the worst subset. Above 0 an input that is
      missing makes the model worse than no model. The constant is chosen on the same labels (oracle).
    - confidence rise: how often confidence is higher without the input (CML, Ma et al., ICML 2023: never, at best).
    - curve area: accuracy on average over missing rates from 0 to 1 (the curve of Ma et al., CVPR 2022). If an
      input is missing at random at rate eta, accuracy is (1 − eta) · full + eta · without it, a mixture of outcomes
      that were observed, so the curve is exact, and straight. Other scores (F1, AUROC) would not be straight.

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
    metrics = (
        Metric(
            name="hidden_loss",
            says="Accuracy lost minus confidence lost on the subset of inputs where most is hidden. 0: every loss "
            "shows in the confidence; 1: all is lost, nothing shows.",
            limit=0.1,
            unit="points",
        ),
        Metric(
            name="silent_loss",
            says="Share of samples that turn from right to wrong when the most harmful input is missing while "
            "the model is no less confident. 0: every loss shows in the confidence; 1: all are lost, none shows.",
        ),
        Metric(
            name="below_guessing",
            says="Accuracy of the best constant answer minus accuracy on the worst subset of inputs. 0 or less: "
            "at least as good as guessing; 1: always wrong where guessing is always right.",
            limit=0.05,
            unit="points",
        ),
        Metric(
            name="worst_accuracy",
            says="Accuracy on the worst subset of inputs. 1: right with any; 0: one of them is never right.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="average_accuracy",
            says="Accuracy on average over all non-empty subsets of inputs. 1: right with any; 0: never right.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="worst_single_drop",
            says="Accuracy lost when the input that matters most is missing. 0: none is needed; 1: all is lost.",
            unit="points",
        ),
        Metric(
            name="missing_tilt",
            says="How much more probable a class becomes on average over all samples when one input is missing. "
            "0: that it is missing says nothing; 1: it makes the model certain of that class.",
            limit=0.05,
            unit="points",
        ),
        Metric(
            name="worst_class_accuracy",
            says="Accuracy in the class that fares worst when one input is missing in it alone. 1: always right there.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="worst_class_area",
            says="The same on average over missing rates from 0 to 1. 1: never wrong there; 0: always wrong there.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="worst_group_accuracy",
            says="Accuracy in the group that fares worst when one input is missing in it alone. 1: always right there.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="worst_group_area",
            says="The same on average over missing rates from 0 to 1. 1: never wrong there; 0: always wrong there.",
            better="higher",
            unit="accuracy",
        ),
        Metric(name="drop", says="Accuracy lost without this input. 0: nothing; 1: everything.", unit="points"),
        Metric(
            name="accuracy",
            says="Accuracy with only these inputs. 1: always right.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="answer_changes",
            says="Share of samples whose answer changes without this input. 0: the model ignores it.",
        ),
        Metric(
            name="confidence_rise",
            says="Share of samples on which the model is more confident without this input than with everything. "
            "0: confidence never rises when something is taken away; 1: always.",
        ),
        Metric(
            name="curve_area",
            says="Accuracy on average over missing rates from 0 to 1. 1: never wrong; 0: always wrong.",
            better="higher",
            unit="accuracy",
        ),
        Metric(
            name="group_drop_gap",
            says="How much more accuracy one group loses than another without the input that matters most. "
            "0: all lose alike.",
            unit="points",
        ),
    )

    outcomes = {"correct": "higher"}
    finds = {
        "robustness.missing-modality": ("hidden_loss",),
        "robustness.missing-tells-digits": ("missing_tilt",),
        "robustness.sentinel-fill-digits": ("hidden_loss", "missing_tilt"),
    }

    def applies(self, model: Model, schema: Schema) -> str | None:
        return None if len(model.modalities) > 1 else "needs at least two modalities, of which one can be missing"

    def observe(self, clean: Clean) -> Observation:
        model, batch = clean.model, clean.batch
        names = list(model.modalities)
        everyone = torch.ones(len(clean), dtype=torch.bool)
        present = {m: batch.present.get(m, everyone) for m in names}
        complete = torch.stack(list(present.values())).all(dim=0)
        scores = Capability.SCORES in model.model.capabilities
        neutral: dict[str, Codes] = {}
        nothing: dict[str, Tensor] = {}
        for m in names:
            neutral[m], nothing[m] = clean.neutral(m)

        told = scores and len(model.classes) <= MOST_CLASSES

        def rows(named: str, logits: Tensor, lacking: int = 0) -> pl.DataFrame:
            found = logits.argmax(dim=1)
            probabilities = logits.double().softmax(dim=1)
            sure = probabilities.amax(dim=1)
            every = probabilities.float().numpy() if told and lacking < 2 else [None] * len(clean)
            return clean.rows(
                named,
                predicted=found,
                correct=found == batch.targets,
                confidence=sure if scores else pl.Series("confidence", [None] * len(clean), dtype=pl.Float64),
                complete=complete,
                probabilities=pl.Series("probabilities", every).cast(pl.List(pl.Float32)),
            )

        frames = [rows(EVERYTHING, clean.logits)]
        lost: list[tuple[float, int, str]] = []
        for mode in (NEUTRAL, ABSENT) if Capability.ABSENT in model.model.capabilities else (NEUTRAL,):
            for kept in subsets(names):
                codes = {m: clean.codes[m] if m in kept else neutral[m] for m in names}
                index = {m: clean.index[m] if m in kept else nothing[m] for m in names}
                here = {m: p & (m in kept or mode == NEUTRAL) for m, p in present.items()}
                frame = rows(condition(mode, kept), model.logits(codes, index, here), len(names) - len(kept))
                frames.append(frame)
                if scores and len(kept) == len(names) - 1:
                    gone = next(m for m in names if m not in kept)
                    rise = frame["confidence"].to_numpy() - frames[0]["confidence"].to_numpy()
                    hurt = frames[0]["correct"].to_numpy() & ~frame["correct"].to_numpy() & complete.numpy()
                    lost += [(float(rise[i]), int(i), gone) for i in np.flatnonzero(hurt & (rise > RISE))]
        return Observation(pl.concat(frames), self._shown(clean, lost))

    def _shown(self, clean: Clean, lost: list[tuple[float, int, str]]) -> list[Shown]:
        """The two samples that get most confidently wrong."""
        out = []
        for rise, i, gone in sorted(lost, key=lambda found: (-found[0], clean.batch.ids[found[1]]))[:2]:
            empty = clean.batch.modalities[gone].neutral(clean.batch.inputs[gone][i : i + 1])
            out.append(
                Shown(
                    sample=clean.batch.ids[i],
                    title=f"Wrong without the {gone}, and more confident",
                    panels=panels(clean.batch.take([i]), 0, {gone: ("missing", empty)}),
                    caption=f"Right with everything; without the {gone} wrong, with {rise:.0%} more confidence.",
                    rank=-rise,
                )
            )
        return out

    def conclude(self, evidence: Evidence) -> Conclusion:
        grid = Grid.read(evidence)
        if grid.frame.is_empty():
            reason = "no sample has all of its inputs, so nothing could be taken away from a complete one"
            headline = [m for m in self.metrics if m.name in UNQUALIFIED]
            return Conclusion(
                findings=[
                    Finding(
                        probe=self.name,
                        metric=m.name,
                        title="What a missing input costs",
                        reason=reason,
                        verdict=Verdict.NOT_APPLICABLE,
                    )
                    for m in headline
                ]
            )
        found = MissingFindings(grid, self.name)
        return Conclusion(findings=found.findings(), charts=found.charts(), notes=found.notes())
