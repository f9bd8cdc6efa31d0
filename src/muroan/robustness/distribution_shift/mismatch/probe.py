"""Whether a model notices that its inputs do not belong together, and whom it follows then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.content import digests, distinct
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset
from muroan.errors import NotApplicable, unknown
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.interventions.swaps import MATCHED, SHIFTS, SWAPS, TABLE, TIMED, Pool, Swap
from muroan.meter import Codes, Metered
from muroan.model import Capability, Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import choose
from muroan.registry import register
from muroan.robustness.distribution_shift.mismatch.charts import charts, notes
from muroan.robustness.distribution_shift.mismatch.findings import MismatchFindings
from muroan.robustness.distribution_shift.mismatch.parts import Parts
from muroan.robustness.distribution_shift.mismatch.view import View


@dataclass
class Outcome:
    """What came of one condition. donor [N]: who lent, −1 nobody; parts [N]: see `Mismatch`."""

    modality: str
    mismatch: str
    severity: int
    applied: Tensor
    logits: Tensor
    donor: Tensor
    parts: Tensor | None = None


@register
@dataclass(frozen=True, kw_only=True)
class Mismatch(Probe):
    """One input at a time is taken from elsewhere, so that it no longer belongs to the others, though each stays real.

    Swapped: another sample's value, of any class, another class, the same class, or the same stream (a sample
    of any class that shares the groups `stream`, all groups if none are named). Donors are `donors` samples of the
    reference, encoded once; only codes are recombined. Delayed and frozen: a sound or series late by 5 to 40 %, or
    stopped.

    Figures, each per input and condition, on samples that have the input and another one:

    - accuracy lost, paired with the sample as it was. What is right for inputs that do not belong together is a
      matter of taste, so this has no limit; of the same class it should be small.
    - dominance: of the samples given an input of another class and answered with either's class, the share that got
      the donor's. 0: the other inputs decide alone; 1: this one does. Its control is how often the model names the
      donor's class without the swap.
    - detection: AUROC of 1 − confidence, swapped against matched. 0.5: nothing shows; 1: confidence tells them apart.
      A model that ignores the input has 0.5 and is no worse for it, and a swap that makes as good a sample as any (a
      picture and a question) shows in nothing, so it has no limit. It knows order alone: a model whose confidence
      falls by a millionth, always, has 1.
    - hidden conflict, the alarm. What a model makes of each part by itself, the rest missing, says how sure it should
      be of both: p(both) ∝ p(input) · p(rest) / p(nothing), which is what independent evidence adds up to. A swap
      costs that product some confidence, and hidden conflict is how much of this the model's own confidence keeps:
      (product matched − product swapped) − (confidence matched − confidence swapped), other classes, worst input.
      0 for a reader who adds up evidence, Bayes' rule for inputs that are independent given the class; for one who
      ignores an input (its part says nothing: the product loses what the model loses); and for tasks about a relation
      of the inputs (parts say nothing). Below 0: surer to notice than that. Above: the parts contradict each other,
      and the model is as sure as ever.
    - unshown loss: accuracy lost minus confidence lost, as `robustness.missing_modality` has it, without a limit: a
      reader who rightly trusts one input most is misled by it, and surely so.
    - delay loss: accuracy lost on average over delays, of the input that suffers most.
    - false match, for retrieval (classes missed, found): the share of swapped pairs that are still found; detection
      is of 1 − p(found), and the parts of a pair say nothing, so there is no hidden conflict.

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
    metrics = (
        Metric(
            name="hidden_conflict",
            says="Confidence that the model's own reading of the parts loses when an input is of another class, minus "
            "what its confidence loses. 0: every conflict shows as it should; 1: none does.",
            limit=0.1,
            unit="points",
        ),
        Metric(
            name="delay_loss",
            says="Accuracy lost on average over delays of 5 to 40 % of the length, of the input that suffers most. "
            "0: none; 1: all.",
            limit=0.3,
            unit="points",
        ),
        Metric(
            name="accuracy_lost",
            says="Accuracy lost when this input is from elsewhere. 0: nothing; 1: everything.",
            unit="points",
        ),
        Metric(
            name="dominance",
            says="Of the answers that follow either this input, which is of another class, or the others, the share "
            "that follows it. 0: the others decide; 1: this input does.",
            unit="number",
        ),
        Metric(
            name="detection",
            says="Chance that a sample with an input from elsewhere is less confident than one as it was (AUROC). "
            "0.5: nothing shows; 1: all show.",
            better="higher",
            unit="number",
        ),
        Metric(
            name="not_less_sure",
            says="Share of samples on which confidence does not fall when an input is of another class. "
            "0: it always falls; 1: never.",
        ),
        Metric(
            name="unshown_loss",
            says="Accuracy lost minus confidence lost when an input is from elsewhere. 0: every loss shows; 1: none.",
            unit="points",
        ),
        Metric(
            name="false_match",
            says="Share of pairs with one side swapped that are still found to match. 0: none; 1: all.",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {
        "robustness.deaf-to-mismatch": ("hidden_conflict",),
        "robustness.needs-synchrony": ("delay_loss",),
    }

    limit: int | None = 300
    donors: int = 256
    mismatches: tuple[str, ...] = ()
    """Names of rows of the table; none: all."""
    stream: tuple[str, ...] = ()
    """Groups that say whose value it is (patient, device); none: all of the data's groups together."""

    def __post_init__(self) -> None:
        if self.donors < 2:
            raise ValueError(f"donors is {self.donors}; it must be at least 2")
        for name in self.mismatches:
            if name not in {row.name for row in TABLE}:
                raise unknown("mismatch", name, {row.name for row in TABLE})

    def applies(self, model: Model, schema: Schema) -> str | None:
        for group in self.stream:
            if group not in schema.groups:
                return f"the data have no group {group!r} to tell a stream by"
        return None if len(model.modalities) > 1 else "needs at least two inputs, of which one can be from elsewhere"

    def prepare(self, model: Metered, reference: Dataset, seed: int) -> Pool:
        drawn = choose(reference.ids, self.donors, seed, self.name, "donors")
        # In the order of their ids, so that the order of the reference changes nothing.
        batch = reference.load(sorted(drawn, key=lambda i: reference.ids[i])).batch
        if batch is None or len(batch) < 2:
            raise NotApplicable("needs at least two samples of the reference that can be read")
        codes, index = model.codes(batch)
        contents = {m: np.asarray(digests(batch.inputs[m])) for m in model.modalities}
        return Pool(batch, codes, index, contents)

    def _swaps(self, clean: Clean) -> Iterator[Swap]:
        for swap in SWAPS:
            grouped = bool(clean.batch.groups) or swap.name != "stale"
            # Of pairs all are of one class: to be found.
            paired = clean.model.classes == FOUND and swap.name in ("other_class", "same_class")
            if grouped and not paired and (not self.mismatches or swap.name in self.mismatches):
                yield swap

    def observe(self, clean: Clean) -> Observation:
        pool: Pool = clean.prepared[self.name]
        everyone = torch.ones(len(clean), dtype=torch.bool)
        here = torch.stack([clean.batch.present.get(m, everyone) for m in clean.model.modalities])
        frames: list[pl.DataFrame] = []
        shown: list[Shown] = []
        parts = Parts(clean) if clean.model.classes != FOUND else None
        for k, m in enumerate(clean.model.modalities):
            able = here[k] & (here.sum(dim=0) > 1)
            known, own = clean.batch.unique(m)
            values, which, contents = distinct(known)
            own = which[own]
            found = [
                self._matched(clean, m, values, own, able),
                *self._swapped(clean, m, np.asarray(contents)[own.numpy()], able, pool),
                *self._shifted(clean, m, values, own, able),
            ]
            if parts is not None:
                for outcome in found[: 1 + sum(o.severity == 0 for o in found[1:])]:
                    lent = (pool.codes[m], pool.index[m][outcome.donor.clamp(min=0)])
                    code = (clean.codes[m], clean.index[m]) if outcome.mismatch == MATCHED else lent
                    outcome.parts = parts.confidence(m, code)
            frames += [self._rows(clean, outcome, pool) for outcome in found]
            shown += self._shown(clean, found, pool)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: (s.rank, s.sample))[:2])

    def _recombined(self, clean: Clean, m: str, codes: Codes, index: Tensor, at: Tensor) -> Tensor:
        """The clean logits with those of the samples at `at` replaced: their `m` is codes[index]."""
        out = clean.logits.clone()
        if len(at):
            others = {o: clean.index[o][at] for o in clean.model.modalities if o != m}
            present = {o: p[at] for o, p in clean.batch.present.items()} or None
            out[at] = clean.model.logits({**clean.codes, m: codes}, {**others, m: index[at]}, present)
        return out

    def _matched(self, clean: Clean, m: str, values: Any, own: Tensor, able: Tensor) -> Outcome:
        logits = self._recombined(clean, m, clean.model.encode(m, values), own, torch.nonzero(able).flatten())
        return Outcome(m, MATCHED, 0, able, logits, torch.full_like(own, -1))

    def _swapped(self, clean: Clean, m: str, contents: Any, able: Tensor, pool: Pool) -> Iterator[Outcome]:
        keys = clean.keys(self.name, m, "donor")
        stream = self.stream or tuple(clean.batch.groups)
        for swap in self._swaps(clean):
            donor, any_ = swap.donors(clean.batch, pool, m, contents, keys, stream)
            applied = able & any_
            donor = torch.where(applied, donor, -1)
            index = pool.index[m][donor.clamp(min=0)]
            logits = self._recombined(clean, m, pool.codes[m], index, torch.nonzero(applied).flatten())
            yield Outcome(m, swap.name, 0, applied, logits, donor)

    def _shifted(self, clean: Clean, m: str, values: Any, own: Tensor, able: Tensor) -> Iterator[Outcome]:
        if clean.batch.modalities[m].kind not in TIMED:
            return
        at = torch.nonzero(able).flatten()
        for shift in SHIFTS:
            if self.mismatches and shift.name not in self.mismatches:
                continue
            for severity, level in enumerate(shift.levels, start=1):
                codes = clean.model.encode(m, shift.change(values, level))
                logits = self._recombined(clean, m, codes, own, at)
                yield Outcome(m, shift.name, severity, able, logits, torch.full_like(own, -1))

    def _rows(self, clean: Clean, found: Outcome, pool: Pool) -> pl.DataFrame:
        n, targets = len(clean), clean.batch.targets
        predicted = found.logits.argmax(dim=1)
        lent = found.donor >= 0
        theirs = torch.where(lent, pool.batch.targets[found.donor.clamp(min=0)], -1)
        wanted = torch.where(lent, FOUND.index("missed"), targets) if clean.model.classes == FOUND else targets
        scores = Capability.SCORES in clean.model.model.capabilities
        none = [None] * n
        sure = found.logits.double().softmax(dim=1).amax(dim=1)
        level = f" {found.severity}" if found.severity else ""
        return clean.rows(
            f"{found.modality}: {found.mismatch}{level}",
            modality=[found.modality] * n,
            mismatch=[found.mismatch] * n,
            severity=[found.severity] * n,
            applied=found.applied,
            donor_class=pl.Series("donor_class", theirs.numpy()),
            predicted=predicted,
            correct=predicted == wanted,
            follows=lent & (predicted == theirs) & (theirs != targets),
            confidence=sure if scores else pl.Series("confidence", none, dtype=pl.Float64),
            parts_confidence=found.parts
            if scores and found.parts is not None
            else pl.Series("parts_confidence", none, dtype=pl.Float64),
        )

    def _shown(self, clean: Clean, found: list[Outcome], pool: Pool) -> list[Shown]:
        """The sample that follows an input of another class (or takes it for its partner) most confidently."""
        paired = clean.model.classes == FOUND
        out = []
        for o in found:
            if o.mismatch != ("swapped" if paired else "other_class"):
                continue
            said = o.logits.argmax(dim=1)
            theirs = pool.batch.targets[o.donor.clamp(min=0)]
            misled = o.applied & clean.correct & (said == theirs)
            sure = o.logits.double().softmax(dim=1).amax(dim=1)
            for i in sorted(torch.nonzero(misled).flatten().tolist(), key=lambda j: (-sure[j], clean.batch.ids[j]))[:1]:
                value = pool.value(o.modality, int(o.donor[i]))
                name = clean.model.classes[int(said[i])]
                out.append(
                    Shown(
                        sample=clean.batch.ids[i],
                        title=f"Sure, with the {o.modality} of another sample",
                        panels=panels(clean.batch.take([i]), 0, {o.modality: ("of another sample", value)}),
                        caption=f"Right before; {name!r} with {float(sure[i]):.0%} confidence.",
                        rank=-float(sure[i]),
                    )
                )
        return out

    def conclude(self, evidence: Evidence) -> Conclusion:
        found = MismatchFindings(View.read(evidence), self.name, [m.name for m in self.metrics])
        return Conclusion(findings=found.findings(), charts=charts(found), notes=notes(found))
