"""How much worse a model gets when what arrives is noisy, blurred, badly compressed, mistyped or misread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.errors import unknown
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.modality import Image, Modality, Value, take
from muroan.model import Capability, Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import sample_keys
from muroan.registry import register
from muroan.robustness.distribution_shift.content import digests, distinct
from muroan.robustness.distribution_shift.corruption_findings import CorruptionFindings
from muroan.robustness.distribution_shift.perturbations import SEVERITIES, TABLE, Draws, Perturbation, of_kind
from muroan.robustness.distribution_shift.perturbations.image import REFERENCE_SIZE

CHUNK_NUMBERS = 2**19
"""Numbers (pixels, samples, cells) changed at once: what stays in the processor's cache, and bounds memory."""
CHUNK_VALUES = 32
"""But never fewer values than this at once, since a model is slow on few."""
CHUNK_TEXTS = 512
NOTHING = "nothing"
"""The null change: values go the whole way, unchanged."""


@dataclass
class Outcomes:
    """What came of one condition, filled in chunk by chunk: logits [N, K], and whether the input changed [N]."""

    logits: Tensor
    changed: Tensor


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

    The null change (values encoded anew, unchanged) is the control of all: it must be 0.

    severities: which of 1..5; corruptions: names of perturbations, none: all that fit; scale_to_size: lengths in
    pixels (blur radii and the like), chosen for pictures of 224 pixels, are scaled to the picture's own size.

    Cost: perturbations × severities passes through the changed modality's encoder for each of its distinct values
    (70 for a picture), and as many fusions for each sample.

    Known trade-offs (accepted): words that are dropped or replaced may change what the right answer is, and nothing
    checks that the meaning is kept, so losses under changes of words are an upper bound; severities are comparable
    within a perturbation, not across; a mean over perturbations depends on which are in the list.
    """

    name: ClassVar[str] = "robustness.corruptions"
    question: ClassVar[str] = "How much accuracy is lost when inputs are noisy, blurred, compressed or mistyped?"
    place: ClassVar[str] = "robustness/distribution_shift"
    source: ClassVar[str] = (
        "Qiu et al., DMLR 2024 (arXiv 2212.08044): MMI = (s_clean − mean s_perturbed) / s_clean; "
        "constants of Hendrycks and Dietterich, ICLR 2019 (ImageNet-C)"
    )
    metrics: ClassVar[tuple[Metric, ...]] = (
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
    )
    outcomes: ClassVar[Mapping[str, Literal["higher", "lower"]]] = {"correct": "higher"}
    finds: ClassVar[Mapping[str, tuple[str, ...]]] = {"robustness.one-corruption": ("worst_corruption",)}

    limit: int | None = 300
    severities: tuple[int, ...] = SEVERITIES
    corruptions: tuple[str, ...] = ()
    scale_to_size: bool = True

    def __post_init__(self) -> None:
        if not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"severities are {self.severities}; they must be among {SEVERITIES}")
        for name in self.corruptions:
            if name not in {p.name for p in TABLE}:
                raise unknown("corruption", name, {p.name for p in TABLE})

    def chosen(self, modality: Modality) -> tuple[Perturbation, ...]:
        """The perturbations that this modality gets."""
        return tuple(
            p
            for p in of_kind(modality.kind)
            if p.fits(modality) is None and (not self.corruptions or p.name in self.corruptions)
        )

    def applies(self, model: Model, schema: Schema) -> str | None:
        if any(self.chosen(schema.modalities[m]) for m in model.modalities):
            return None
        kinds = sorted({schema.modalities[m].kind for m in model.modalities})
        return f"no perturbation fits these inputs ({', '.join(kinds)})"

    def observe(self, clean: Clean) -> Observation:
        frames: list[pl.DataFrame] = []
        shown: list[Shown] = []
        for m in clean.model.modalities:
            for p, severity, found in self._conditions(clean, m):
                frames.append(self._rows(clean, m, p, severity, found))
            shown += self._shown(clean, m, frames)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: (s.rank, s.sample))[:2])

    def _scale(self, modality: Modality) -> float:
        if not self.scale_to_size or not isinstance(modality, Image):
            return 1.0
        return min(modality.size) / REFERENCE_SIZE

    def _draws(self, clean: Clean, modality: str, p: Perturbation, contents: Sequence[str]) -> Draws:
        return Draws(sample_keys(contents, clean.seed, self.name, modality, p.name))

    def _conditions(self, clean: Clean, m: str) -> Iterator[tuple[Perturbation | None, int, Outcomes]]:
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
            levels = (0,) if p is None else self.severities
            out = {s: Outcomes(clean.logits.clone(), torch.zeros(len(clean), dtype=torch.bool)) for s in levels}
            for start in range(0, len(values), size):
                part = range(start, min(start + size, len(values)))
                at = torch.nonzero((own >= part.start) & (own < part.stop) & here).flatten()
                if len(at) == 0:
                    continue
                some = take(values, part)
                draws = None if p is None else self._draws(clean, m, p, [contents[i] for i in part])
                scale = self._scale(modality)
                # One severity after the other: changed pictures are made, encoded, fused and let go.
                changed = (
                    some if p is None or draws is None else p(some, s, draws, modality, scale=scale) for s in levels
                )
                self._fuse(clean, m, some, changed, own[at] - start, at, list(out.values()))
            for severity, outcome in out.items():
                yield p, severity, outcome

    def _fuse(
        self,
        clean: Clean,
        m: str,
        original: Value,
        changed: Iterable[Value],
        own: Tensor,
        at: Tensor,
        out: Sequence[Outcomes],
    ) -> None:
        """Writes what the samples at `at`, whose values are `changed[severity][own]`, get into `out[severity]`."""
        model = clean.model
        others = {o: clean.index[o][at] for o in model.modalities if o != m}
        codes = {o: clean.codes[o] for o in others}
        if isinstance(original, Tensor):
            for values, outcome in zip(changed, out, strict=True):
                index = {**others, m: own}
                outcome.logits[at] = model.logits(
                    {**codes, m: model.encode(m, values)}, index, self._present(clean, at)
                )
                outcome.changed[at] = (values != original).flatten(1).any(dim=1)[own]
            return
        # Texts at neighbouring severities are often the same: each is encoded once for all of them.
        texts = list(changed)
        unlike, where, _ = distinct([t for values in texts for t in values])
        code = model.encode(m, unlike)
        for k, (values, outcome) in enumerate(zip(texts, out, strict=True)):
            index = {**others, m: where[k * len(original) + own]}
            outcome.logits[at] = model.logits({**codes, m: code}, index, self._present(clean, at))
            outcome.changed[at] = torch.tensor([a != b for a, b in zip(values, original, strict=True)])[own]

    def _present(self, clean: Clean, at: Tensor) -> dict[str, Tensor] | None:
        return {o: p[at] for o, p in clean.batch.present.items()} or None

    def _rows(self, clean: Clean, m: str, p: Perturbation | None, severity: int, found: Outcomes) -> pl.DataFrame:
        name, n = NOTHING if p is None else p.name, len(clean)
        predicted = found.logits.argmax(dim=1)
        scores = Capability.SCORES in clean.model.model.capabilities
        sure = found.logits.double().softmax(dim=1).amax(dim=1)
        return clean.rows(
            f"{m}: {name} {severity}",
            modality=[m] * n,
            corruption=[name] * n,
            family=["none" if p is None else p.family] * n,
            severity=[severity] * n,
            present=clean.batch.present.get(m, torch.ones(n, dtype=torch.bool)),
            changed=found.changed,
            predicted=predicted,
            correct=predicted == clean.batch.targets,
            confidence=sure if scores else pl.Series("confidence", [None] * n, dtype=pl.Float64),
        )

    def _shown(self, clean: Clean, m: str, frames: Sequence[pl.DataFrame]) -> list[Shown]:
        """The sample that the weakest change of this modality turns from right to wrong."""
        modality = clean.batch.modalities[m]
        right = clean.correct.numpy()
        for severity in sorted(self.severities):
            for frame in frames:
                if frame["modality"][0] != m or frame["severity"][0] != severity:
                    continue
                lost = np.flatnonzero(right & ~frame["correct"].to_numpy())
                if len(lost) == 0:
                    continue
                i = min(lost.tolist(), key=lambda j: clean.batch.ids[j])
                p = next(p for p in self.chosen(modality) if p.name == frame["corruption"][0])
                value = take(clean.batch.inputs[m], [i])
                draws = self._draws(clean, m, p, digests(value))
                new = p(value, severity, draws, modality, scale=self._scale(modality))
                classes = clean.model.classes
                return [
                    Shown(
                        sample=clean.batch.ids[i],
                        title=f"Wrong after {p.name} of the {m} at severity {severity}",
                        panels=panels(clean.batch.take([i]), 0, {m: (f"{p.name} {severity}", new)}),
                        caption=f"Right before; {classes[int(frame['predicted'][i])]!r} instead of "
                        f"{classes[int(clean.predicted[i])]!r}.",
                        rank=float(severity),
                    )
                ]
        return []

    def conclude(self, evidence: Evidence) -> Conclusion:
        found = CorruptionFindings(evidence, self.name)
        return Conclusion(findings=found.findings(), charts=found.charts(), notes=found.notes(self.scale_to_size))
