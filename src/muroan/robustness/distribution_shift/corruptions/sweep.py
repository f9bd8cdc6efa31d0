"""One input of a batch under perturbations: changed, encoded anew and fused, chunk by chunk, as rows of evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.content import distinct
from muroan.interventions.perturbations import Perturbation
from muroan.interventions.perturbations.fidelity import Changed, Gate, changed
from muroan.meter import Codes
from muroan.modality import Text, Value, differ, take
from muroan.randomness import sample_keys

NOTHING = "nothing"
"""The null change: values go the whole way, unchanged."""
CHUNK_NUMBERS = 2**19
"""Numbers (pixels, samples, cells) changed at once: what stays in the processor's cache, and bounds memory."""
CHUNK_VALUES = 32
"""But never fewer values than this at once, since a model is slow on few."""
CHUNK_TEXTS = 512


@dataclass
class Outcomes:
    """What came of one condition, filled in chunk by chunk: logits [N, K], and whether the input changed [N].

    similarity, tries: [N] of the fidelity gate; NaN and 0 where there was none.
    """

    logits: Tensor
    changed: Tensor
    similarity: Tensor
    tries: Tensor

    @staticmethod
    def of(clean: Clean) -> Outcomes:
        """Those of the clean pass."""
        n = len(clean)
        unchanged, untried = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.int16)
        return Outcomes(clean.logits.clone(), unchanged, torch.full((n,), torch.nan), untried)


@dataclass(frozen=True)
class Sweep:
    """purpose: of what is drawn; scale: of lengths in pixels; gate: of changes of words, where a judge is given."""

    clean: Clean
    modality: str
    purpose: str
    scale: float = 1.0
    gate: Gate | None = None

    @property
    def _texts(self) -> bool:
        return self.clean.batch.modalities[self.modality].kind == Text.kind

    @property
    def _here(self) -> Tensor:
        """Who has the input, bool [N]."""
        return self.clean.batch.present.get(self.modality, torch.ones(len(self.clean), dtype=torch.bool))

    def changed(
        self, p: Perturbation, values: Value, severities: Sequence[int], contents: Sequence[str]
    ) -> Iterator[Changed]:
        """Values at each severity; contents: a digest of each, on which what is drawn depends."""
        keys = sample_keys(contents, self.clean.seed, self.purpose, self.modality, p.name)
        of = self.clean.batch.modalities[self.modality]
        return changed(p, values, severities, keys, of, self.gate if p.gated else None, scale=self.scale)

    def rows(self, p: Perturbation | None, severities: Sequence[int]) -> list[pl.DataFrame]:
        """The rows of each severity; of the null change, if there is no perturbation."""
        values, own, contents = self.clean.distinct(self.modality)
        # Perturbation by perturbation, so that what is kept at once is one perturbation's outcomes; chunk by chunk
        # within it, so that changed values and their codes are let go as soon as they are fused.
        numbers = 1 if self._texts else max(1, values[0].numel())
        size = CHUNK_TEXTS if self._texts else max(CHUNK_VALUES, CHUNK_NUMBERS // numbers)
        outcomes = [Outcomes.of(self.clean) for _ in severities]
        for start in range(0, len(values), size):
            part = range(start, min(start + size, len(values)))
            at = torch.nonzero((own >= part.start) & (own < part.stop) & self._here).flatten()
            if len(at) == 0:
                continue
            some, mine = take(values, part), own[at] - start
            new: Iterable[Changed] = [Changed(some)]
            if p is not None:
                new = self.changed(p, some, severities, [contents[i] for i in part])
            for outcome, (change, codes, which) in zip(outcomes, self._encoded(new, again=p is None), strict=True):
                outcome.logits[at] = self.clean.having({self.modality: (codes, which[mine])}, at)
                outcome.changed[at] = differ(change.values, some)[mine]
                if change.similarity is not None and change.tries is not None:
                    outcome.similarity[at], outcome.tries[at] = change.similarity[mine], change.tries[mine]
            if self.gate is not None:
                self.gate.judge.forget()
        return [self._rows(p, severity, outcome) for severity, outcome in zip(severities, outcomes, strict=True)]

    def _encoded(self, changes: Iterable[Changed], *, again: bool) -> Iterator[tuple[Changed, Codes, Tensor]]:
        """Each change with codes, and which of them is each value's own; again: of what the model was asked before."""
        encode = self.clean.model.encode
        if not self._texts:
            for change in changes:
                # Hardly a changed value comes twice, and a picture's key takes as long as a small encoder.
                yield change, encode(self.modality, change.values, anew=True), torch.arange(len(change.values))
            return
        # Texts at neighbouring severities are often the same: each is encoded once for all of them.
        texts = list(changes)
        unlike, which, _ = distinct([t for change in texts for t in change.values])
        codes = encode(self.modality, unlike, anew=again)
        yield from ((change, codes, own) for change, own in zip(texts, which.view(len(texts), -1), strict=True))

    def _rows(self, p: Perturbation | None, severity: int, outcome: Outcomes) -> pl.DataFrame:
        """Narrow columns: an audit has a row for every sample and condition, a hundred times its samples."""
        clean, name, n = self.clean, NOTHING if p is None else p.name, len(self.clean)
        predicted = outcome.logits.argmax(dim=1)

        def always(value: str | int, dtype: type[pl.DataType]) -> pl.Series:
            return pl.Series([value], dtype=dtype).new_from_index(0, n)

        tries = pl.Series(outcome.tries.numpy(), dtype=pl.Int16)
        return clean.rows(
            f"{self.modality}: {name} {severity}",
            modality=always(self.modality, pl.Categorical),
            corruption=always(name, pl.Categorical),
            family=always("none" if p is None else p.family, pl.Categorical),
            severity=always(severity, pl.Int8),
            present=self._here,
            changed=outcome.changed,
            predicted=predicted.int(),
            correct=predicted == clean.batch.targets,
            confidence=clean.confidence(outcome.logits).cast(pl.Float32),
            similarity=pl.Series(outcome.similarity.numpy(), dtype=pl.Float32).fill_nan(None),
            tries=tries.set(tries == 0, None),
        )
