"""How much worse a model gets when what arrives is noisy, blurred, badly compressed, mistyped or misread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.content import digests, distinct
from muroan.errors import AskedWrongly, unknown
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.interventions.perturbations import SEVERITIES, TABLE, Perturbation, of_kind
from muroan.interventions.perturbations.fidelity import (
    ALIKE,
    MEANING,
    TRIES,
    Changed,
    Gate,
    Judge,
    changed,
)
from muroan.interventions.perturbations.image import REFERENCE_SIZE
from muroan.interventions.perturbations.tools import missing, named, opened
from muroan.modality import Image, Modality, Text, Value, take
from muroan.model import Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import Words, sample_keys
from muroan.registry import register
from muroan.robustness.distribution_shift.corruptions.findings import CorruptionFindings, said
from muroan.robustness.distribution_shift.corruptions.notes import notes
from muroan.robustness.distribution_shift.corruptions.rows import Outcomes, rows

CHUNK_NUMBERS = 2**19
"""Numbers (pixels, samples, cells) changed at once: what stays in the processor's cache, and bounds memory."""
CHUNK_VALUES = 32
"""But never fewer values than this at once, since a model is slow on few."""
CHUNK_TEXTS = 512
MOST_TRIES = 10_000


@register
@dataclass(frozen=True, kw_only=True)
class Corruptions(Probe):
    """Each perturbation at each severity changes one modality, which is encoded anew; the others keep their codes.

    A value shared by several samples is changed and encoded once, and fused with each of them. What is drawn for a
    value depends on its contents, the seed and the perturbation, not on the severity or the batch. A sample that
    lacks the modality is left as it is, and left out of that modality's figures.

    Figures (Qiu et al., DMLR 2024, arXiv 2212.08044):

    - MMI, multimodal impact = (s_clean − mean s_perturbed) / s_clean, s being accuracy, the mean over perturbations
      and severities. 0: no effect; 1: all that was right is lost; below 0: better when perturbed. The headline is the
      mean over modalities, each judged too.
    - worst corruption: the same for the one perturbation, averaged over severities, that costs most, with an
      interval that holds for all of them at once (the largest of many noisy figures is biased). A model that goes
      blind on two classes loses half, so the limit is below that.
    - flips: of the samples that were right the share that is wrong when perturbed; consistency: the share of samples
      whose answer stays the same, right or wrong.
    - drop: accuracy lost, paired, per perturbation.
    - similarity, out of tries: with a judge of meaning, how alike what was drawn is to the original, per perturbation.

    A perturbation with fewer severities (a rewrite of a sentence has one) counts as one perturbation all the same.
    The null change (values encoded anew, unchanged) is the control of all: it must be 0.

    severities: which of 1..5 (a perturbation that has none of them gets its highest); corruptions: names of
    perturbations, none: all that fit and have what they want; scale_to_size: lengths in pixels (blur radii and the
    like), chosen for pictures of 224 pixels, are scaled to the picture's own size. given: what does not ship, by name
    (`perturbations.tools`): [[formal, "hf:./formal"]]. With [[meaning, "hf:./encoder"]] texts whose words or style
    change are drawn again until their cosine with the original is `alike`, `tries` times at most.

    Cost: perturbations × severities passes through the changed modality's encoder for each of its distinct values
    (75 for a picture), and as many fusions for each sample; the passes of what is given, which are not counted.

    Known trade-offs (accepted): words that are dropped or replaced may change what the right answer is; without a
    judge nothing checks that the meaning is kept, so losses under changes of words are an upper bound, and with one
    severities need not rise. Severities are comparable within a perturbation, not across; a mean over perturbations
    depends on which are in the list.
    """

    name = "robustness.corruptions"
    question = "How much accuracy is lost when inputs are noisy, blurred, compressed or mistyped?"
    place = "robustness/distribution_shift"
    source = (
        "Qiu et al., DMLR 2024 (arXiv 2212.08044): MMI = (s_clean − mean s_perturbed) / s_clean; "
        "constants of Hendrycks and Dietterich, ICLR 2019 (ImageNet-C)"
    )
    metrics = (
        Metric(
            name="mmi",
            says="Share of the clean accuracy lost on average over perturbations and severities. "
            "0: nothing; 1: everything; below 0: better when perturbed.",
            limit=0.2,
        ),
        Metric(
            name="worst_corruption",
            says="Share of the clean accuracy lost under the perturbation that costs most, averaged over severities. "
            "0: none costs anything; 1: one of them costs everything.",
            limit=0.4,
        ),
        Metric(
            name="flip_rate",
            says="Of the samples that were right, the share that is wrong when perturbed, on average. 0: none; 1: all.",
        ),
        Metric(
            name="consistency",
            says="Share of samples whose answer stays the same when perturbed, on average. 1: all; 0: none.",
            better="higher",
        ),
        Metric(
            name="drop",
            says="Accuracy lost under this perturbation, averaged over severities. 0: nothing; 1: everything.",
            unit="points",
        ),
        Metric(
            name="similarity",
            says="Cosine of the changed text with the original by the judge of meaning that the user names, averaged "
            "over severities. 1: the same to it; 0: nothing in common.",
            better="higher",
        ),
        Metric(
            name="out_of_tries",
            says="Share of changed texts that were accepted although no try was alike enough. 0: none; 1: all.",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {
        "robustness.one-corruption": ("worst_corruption",),
        "robustness.one-text-corruption": ("worst_corruption",),
    }

    limit: int | None = 300
    severities: tuple[int, ...] = SEVERITIES
    corruptions: tuple[str, ...] = ()
    scale_to_size: bool = True
    given: tuple[tuple[str, str], ...] = ()
    alike: float = ALIKE
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"severities are {self.severities}; they must be among {SEVERITIES}")
        if not (-1 <= self.alike <= 1 and 1 <= self.tries <= MOST_TRIES):
            raise ValueError(f"alike is a cosine and tries are 1 to {MOST_TRIES}, got {self.alike} and {self.tries}")
        given = named(self.given)
        for name in self.corruptions:
            wants = {p.wants for p in TABLE if p.name == name}
            if not wants:
                raise unknown("corruption", name, {p.name for p in TABLE})
            if wants.isdisjoint({None, *given}):
                raise AskedWrongly(f"{name} {missing(next(w for w in wants if w is not None))}")

    def chosen(self, modality: Modality) -> tuple[Perturbation, ...]:
        """The perturbations that this modality gets: those that fit and have what they want."""
        given = named(self.given)
        return tuple(
            p if p.wants is None else p.having(opened(p.wants, given[p.wants]))
            for p in of_kind(modality.kind)
            if p.fits(modality) is None
            and (not self.corruptions or p.name in self.corruptions)
            and (p.wants is None or p.wants in given)
        )

    def levels(self, p: Perturbation) -> tuple[int, ...]:
        """The severities that a perturbation is tried at."""
        return tuple(s for s in p.severities if s in self.severities) or p.severities[-1:]

    def applies(self, model: Model, schema: Schema) -> str | None:
        if any(self.chosen(schema.modalities[m]) for m in model.modalities):
            return None
        kinds = sorted({schema.modalities[m].kind for m in model.modalities})
        return f"no perturbation fits these inputs ({', '.join(kinds)})"

    def observe(self, clean: Clean) -> Observation:
        frames: list[pl.DataFrame] = []
        shown: list[Shown] = []
        for m in clean.model.modalities:
            judge = self._judge(clean.batch.modalities[m])
            for p, severity, found in self._conditions(clean, m, judge):
                frames.append(rows(clean, m, p, severity, found))
            shown += self._shown(clean, m, frames, judge)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: (s.rank, s.sample))[:2])

    def _scale(self, modality: Modality) -> float:
        if not self.scale_to_size or not isinstance(modality, Image):
            return 1.0
        return min(modality.size) / REFERENCE_SIZE

    def _judge(self, modality: Modality) -> Judge | None:
        given = named(self.given)
        return Judge(opened(MEANING, given[MEANING])) if MEANING in given and modality.kind == Text.kind else None

    def _keys(self, clean: Clean, modality: str, p: Perturbation, contents: Sequence[str]) -> Words:
        return sample_keys(contents, clean.seed, self.name, modality, p.name)

    def _changed(
        self, p: Perturbation, values: Value, severities: Sequence[int], keys: Words, of: Modality, judge: Judge | None
    ) -> Iterator[Changed]:
        gate = Gate(judge, self.alike, self.tries) if judge is not None and p.gated else None
        return changed(p, values, severities, keys, of, gate, scale=self._scale(of))

    def _conditions(
        self, clean: Clean, m: str, judge: Judge | None
    ) -> Iterator[tuple[Perturbation | None, int, Outcomes]]:
        """The null change, then each perturbation at each severity."""
        modality = clean.batch.modalities[m]
        known, own = clean.batch.unique(m)
        values, which, contents = distinct(known)
        own = which[own]
        here = clean.batch.present.get(m, torch.ones(len(clean), dtype=torch.bool))
        asked: list[Perturbation | None] = [None, *self.chosen(modality)]
        # Perturbation by perturbation, so that what is kept at once is one perturbation's outcomes; chunk by chunk
        # within it, so that changed values and their codes are let go as soon as they are fused.
        size = (
            CHUNK_TEXTS if isinstance(values, list) else max(CHUNK_VALUES, CHUNK_NUMBERS // max(1, values[0].numel()))
        )
        for p in asked:
            levels = (0,) if p is None else self.levels(p)
            out = {s: Outcomes.of(clean) for s in levels}
            for start in range(0, len(values), size):
                part = range(start, min(start + size, len(values)))
                at = torch.nonzero((own >= part.start) & (own < part.stop) & here).flatten()
                if len(at) == 0:
                    continue
                some = take(values, part)
                new: Iterable[Changed] = [Changed(some)]
                if p is not None:
                    keys = self._keys(clean, m, p, [contents[i] for i in part])
                    new = self._changed(p, some, levels, keys, modality, judge)
                self._fuse(clean, m, some, new, own[at] - start, at, list(out.values()))
                if judge is not None:
                    judge.forget()
            for severity, outcome in out.items():
                yield p, severity, outcome

    def _fuse(
        self,
        clean: Clean,
        m: str,
        original: Value,
        changes: Iterable[Changed],
        own: Tensor,
        at: Tensor,
        out: Sequence[Outcomes],
    ) -> None:
        """Writes what the samples at `at`, whose values are `changes[severity].values[own]`, get into `out`."""
        model = clean.model
        others = {o: clean.index[o][at] for o in model.modalities if o != m}
        codes = {o: clean.codes[o] for o in others}
        if isinstance(original, Tensor):
            for new, outcome in zip(changes, out, strict=True):
                index = {**others, m: own}
                outcome.logits[at] = model.logits(
                    {**codes, m: model.encode(m, new.values)}, index, self._present(clean, at)
                )
                outcome.changed[at] = (new.values != original).flatten(1).any(dim=1)[own]
            return
        # Texts at neighbouring severities are often the same: each is encoded once for all of them.
        texts = list(changes)
        unlike, where, _ = distinct([t for new in texts for t in new.values])
        code = model.encode(m, unlike)
        for k, (new, outcome) in enumerate(zip(texts, out, strict=True)):
            index = {**others, m: where[k * len(original) + own]}
            outcome.logits[at] = model.logits({**codes, m: code}, index, self._present(clean, at))
            outcome.changed[at] = torch.tensor([a != b for a, b in zip(new.values, original, strict=True)])[own]
            if new.similarity is not None and new.tries is not None:
                outcome.similarity[at], outcome.tries[at] = new.similarity[own], new.tries[own]

    def _present(self, clean: Clean, at: Tensor) -> dict[str, Tensor] | None:
        return {o: p[at] for o, p in clean.batch.present.items()} or None

    def _shown(self, clean: Clean, m: str, frames: Sequence[pl.DataFrame], judge: Judge | None) -> list[Shown]:
        """The sample that the weakest change of this modality turns from right to wrong."""
        modality = clean.batch.modalities[m]
        right = clean.correct.numpy()
        for severity in SEVERITIES:
            for frame in frames:
                if frame["modality"][0] != m or frame["severity"][0] != severity:
                    continue
                lost = np.flatnonzero(right & ~frame["correct"].to_numpy())
                if len(lost) == 0:
                    continue
                i = min(lost.tolist(), key=lambda j: clean.batch.ids[j])
                p = next(p for p in self.chosen(modality) if p.name == frame["corruption"][0])
                value = take(clean.batch.inputs[m], [i])
                keys = self._keys(clean, m, p, digests(value))
                (new,) = self._changed(p, value, (severity,), keys, modality, judge)
                classes = clean.model.classes
                return [
                    Shown(
                        sample=clean.batch.ids[i],
                        title=f"Wrong after {said(p.name)} of the {m} at severity {severity}",
                        panels=panels(clean.batch.take([i]), 0, {m: (f"{said(p.name)} {severity}", new.values)}),
                        caption=f"Right before; {classes[int(frame['predicted'][i])]!r} instead of "
                        f"{classes[int(clean.predicted[i])]!r}.",
                        rank=float(severity),
                    )
                ]
        return []

    def conclude(self, evidence: Evidence) -> Conclusion:
        found = CorruptionFindings(evidence, self.name, self.alike)
        said = notes(
            found.sides,
            evidence.about,
            scaled=self.scale_to_size,
            asked=self.corruptions,
            alike=self.alike,
            most=self.tries,
        )
        return Conclusion(findings=found.findings(), charts=found.charts(), notes=said)
