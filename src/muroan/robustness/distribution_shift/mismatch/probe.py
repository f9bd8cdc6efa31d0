"""Whether a model notices that its inputs do not belong together, and whom it follows then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset
from muroan.errors import unknown
from muroan.evidence import Evidence
from muroan.figure import Figure
from muroan.finding import Conclusion
from muroan.intervention import Outcome, outcome
from muroan.interventions.swaps import (
    REAL,
    SHIFTS,
    SWAPS,
    TABLE,
    TIMED,
    Elsewhere,
    Matched,
    OtherClass,
    Pool,
    Swap,
    Swapped,
)
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.panels import Shown, before_after
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.distribution_shift.mismatch.findings import NOBODY, charts, findings, notes
from muroan.robustness.distribution_shift.mismatch.parts import Parts
from muroan.robustness.distribution_shift.mismatch.view import View
from muroan.say import Say


@register
@dataclass(frozen=True, kw_only=True)
class Mismatch(Probe):
    """One input at a time is taken from elsewhere, so that it no longer belongs to the others, though each stays real.

    Swapped: another sample's value, of any class, another class, the same class, or the same stream (a sample
    of any class that shares the groups `stream`, all groups if none are named). Donors are `donors` samples of the
    reference, encoded once; only codes are recombined. Delayed and frozen: a sound or series late by 5 to 40 %, or
    stopped.

    Of the figures, each per input and condition, on samples that have the input and another one:

    - accuracy lost is paired with the sample as it was. What is right for inputs that do not belong together is a
      matter of taste, so this has no limit; of the same class it should be small.
    - dominance has as its control how often the model names the donor's class without the swap.
    - detection is of 1 − confidence, swapped against matched. A model that ignores the input has 0.5 and is no worse
      for it, and a swap that makes as good a sample as any (a picture and a question) shows in nothing, so it has no
      limit. It knows order alone: a model whose confidence falls by a millionth, always, has 1.
    - hidden conflict, the alarm. What a model makes of each part by itself, the rest missing, says how sure it should
      be of both: p(both) ∝ p(input) · p(rest) / p(nothing), which is what independent evidence adds up to. A swap
      costs that product some confidence, and hidden conflict is how much of this the model's own confidence keeps:
      (product matched − product swapped) − (confidence matched − confidence swapped), other classes, worst input.
      0 for a reader who adds up evidence, Bayes' rule for inputs that are independent given the class; for one who
      ignores an input (its part says nothing: the product loses what the model loses); and for tasks about a relation
      of the inputs (parts say nothing). Below 0: surer to notice than that. Above: the parts contradict each other,
      and the model is as sure as ever.
    - unshown loss is what `robustness.missing_modality` calls hidden, without a limit: a reader who rightly trusts one
      input most is misled by it, and surely so.
    - false match is for retrieval (classes missed, found); detection is of 1 − p(found) there, and the parts of a pair
      say nothing, so there is no hidden conflict.

    The null change, a value that is encoded anew and goes the donor's way, is the control of all.

    Cost: 12 fusions for each sample and input, one encoding of each value beside those of the clean pass and the pool,
    and of sounds and series 10 more.

    Known trade-offs (accepted): donors are shared, which intervals do not see; the reference has other clusters, and
    nothing says what was earlier, so "stale" is another moment of the same groups, not an earlier one; a missing part
    is its neutral value, which a model may never have seen (a bias that this adds is in the product's numerator and
    denominator, and goes); copies of the same evidence are no independent evidence, so a model that rightly counts
    them once is expected to lose a little more than it should.
    """

    name = "robustness.mismatch"
    question = "Does the model notice that its inputs do not belong together, and whom does it follow?"
    place = "robustness/distribution_shift"
    source = (
        "Muroan's own, beside Qiu et al., DMLR 2024 (arXiv 2212.08044), who perturb one modality at a time; "
        "p(both) ∝ p(input) · p(rest) / p(nothing) is a product of experts (Hinton, Neural Computation 2002); "
        "AUROC: DeLong et al. 1988"
    )
    figures = (
        Figure(
            "hidden_conflict",
            says="Confidence that the model's own reading of the parts loses when an input is of another class, minus "
            "what its confidence loses. 0: every conflict shows as it should; 1: none does.",
            limit=0.1,
            unit="points",
        ),
        Figure(
            "delay_loss",
            says="Accuracy lost on average over delays of 5 to 40 % of the length, of the input that suffers most. "
            "0: none; 1: all.",
            limit=0.3,
            unit="points",
        ),
        Figure(
            "accuracy_lost",
            says="Accuracy lost when this input is from elsewhere. 0: nothing; 1: everything.",
            unit="points",
        ),
        Figure(
            "dominance",
            says="Of the answers that follow either this input, which is of another class, or the others, the share "
            "that follows it. 0: the others decide; 1: this input does.",
            unit="number",
        ),
        Figure(
            "detection",
            says="Chance that a sample with an input from elsewhere is less confident than one as it was (AUROC). "
            "0.5: nothing shows; 1: all show.",
            better="higher",
            unit="number",
        ),
        Figure(
            "not_less_sure",
            says="Share of samples on which confidence does not fall when an input is of another class. "
            "0: it always falls; 1: never.",
        ),
        Figure(
            "unshown_loss",
            says="Accuracy lost minus confidence lost when an input is from elsewhere. 0: every loss shows; 1: none.",
            unit="points",
        ),
        Figure(
            "false_match",
            says="Share of pairs with one side swapped that are still found to match. 0: none; 1: all.",
        ),
    )
    outcomes = {"right": "higher"}
    finds = {
        "robustness.deaf-to-mismatch": ("hidden_conflict",),
        "robustness.needs-synchrony": ("delay_loss",),
    }

    limit: int | None = 300
    donors: int = 256
    mismatches: tuple[str, ...] = ()
    """Names of interventions; none: all."""
    stream: tuple[str, ...] = ()
    """Groups that say whose value it is (patient, device); none: all of the data's groups together."""

    def __post_init__(self) -> None:
        if self.donors < 2:
            raise ValueError(f"donors is {self.donors}; it must be at least 2")
        for name in self.mismatches:
            if name not in {change.name for change in TABLE}:
                raise unknown("mismatch", name, {change.name for change in TABLE})

    def applies(self, model: Model, schema: Schema) -> str | None:
        for group in self.stream:
            if group not in schema.groups:
                return f"the data have no group {group!r} to tell a stream by"
        return None if len(model.modalities) > 1 else "needs at least two inputs, of which one can be from elsewhere"

    def prepare(self, model: Metered, reference: Dataset, seed: int) -> Pool:
        return Pool.of(model, reference, self.donors, seed, self.stream)

    def asks(self, clean: Clean) -> Iterator[Elsewhere]:
        wanted = set(self.mismatches) or {change.name for change in TABLE}
        wanted -= set() if clean.batch.groups else {"stale"}
        # Of pairs all are of one class: to be found.
        wanted -= {"other_class", "same_class"} if clean.model.classes == FOUND else set()
        for m in clean.model.modalities:
            yield Matched(m)
            yield from (swap(m, clean.prepared[self.name]) for swap in SWAPS if swap.name in wanted)
            if clean.batch.modalities[m].kind in TIMED:
                for shift in SHIFTS:
                    yield from (shift(m, k + 1) for k in range(len(shift.levels)) if shift.name in wanted)

    def observe(self, clean: Clean) -> Observation:
        apart = Capability.SCORES in clean.model.model.capabilities and clean.model.classes != FOUND
        parts = Parts(clean) if apart else None
        frames: list[pl.DataFrame] = []
        shown: list[Shown] = []
        for change in self.asks(clean):
            came = outcome(clean, change)
            sure = pl.Series([None] * len(clean), dtype=pl.Float64)
            if parts and isinstance(change, REAL):
                sure = pl.Series(parts.confidence(change.modality, came.arrived).numpy())
            frames.append(came.rows(parts_confidence=sure))
            if isinstance(change, Swapped if clean.model.classes == FOUND else OtherClass):
                shown += _shown(change, came)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: (s.rank, s.sample))[:2])

    def conclude(self, evidence: Evidence) -> Conclusion:
        say, view = Say(self.name), View(evidence)
        if not view.cells:
            say.nothing([m.name for m in self.metrics], "What an input from elsewhere does", NOBODY)
            return Conclusion(findings=say.findings)
        findings(say, view)
        return Conclusion(findings=say.details_last, charts=charts(say, view), notes=notes(view))


def _shown(change: Swap, came: Outcome) -> list[Shown]:
    """The sample that follows an input of another class (or takes it for its partner) most confidently."""
    clean, pool = came.clean, change.pool
    assert pool is not None
    donor, _ = change.donors(clean)
    theirs = pool.batch.targets[donor]
    sure = came.logits.double().softmax(dim=1).amax(dim=1)
    misled = torch.nonzero(came.done & clean.correct & (came.predicted == theirs)).flatten().tolist()
    shown = []
    for i in sorted(misled, key=lambda j: (-sure[j], clean.batch.ids[j]))[:1]:
        title = f"Sure, with the {change.modality} of another sample"
        lent = {change.modality: ("of another sample", pool.value(change.modality, int(donor[i])))}
        caption = f"Right before; {clean.model.classes[int(came.predicted[i])]!r} with {float(sure[i]):.0%} confidence."
        shown.append(before_after(clean.batch, i, title, lent, caption=caption, rank=-float(sure[i])))
    return shown
