"""A batch under attack: its codes row by row, its own decisions, and what becomes of them with other codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.meter import Codes, Metered
from muroan.modality import Value
from muroan.model import Embedded


@dataclass
class Stage:
    """N samples as they stand: inputs; codes[m], row i for sample i; clean [N, K]: logits before anything changed."""

    model: Metered
    batch: Batch
    codes: dict[str, Codes]
    clean: Tensor

    @staticmethod
    def of(model: Metered, batch: Batch) -> Stage:
        """Nothing changed yet."""
        codes, index = model.codes(batch)
        logits = model.logits(codes, index, batch.present or None)
        return Stage(model, batch, {m: c.take(index[m]) for m, c in codes.items()}, logits)

    @cached_property
    def labels(self) -> Tensor:
        """The decisions to leave, long [N]."""
        return self.clean.argmax(dim=1)

    @cached_property
    def every(self) -> Tensor:
        """All samples."""
        return torch.arange(len(self.batch))

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Codes as flat vectors [N, D]."""
        return {m: flat(c.data) for m, c in self.codes.items()}

    def present(self, rows: Tensor) -> dict[str, Tensor] | None:
        """Which modalities those samples have."""
        return {m: p[rows] for m, p in self.batch.present.items()} or None

    def logits(self, codes: Mapping[str, Codes], rows: Tensor, at: Tensor | None = None) -> Tensor:
        """Logits of the samples `rows` [R] with other codes of some modalities: the r-th, or the one at `at` [R]."""
        own = torch.arange(len(rows)) if at is None else at
        index = {m: own if m in codes else rows for m in self.codes}
        return self.model.logits({**self.codes, **codes}, index, self.present(rows))

    def left(self, codes: Mapping[str, Codes], rows: Tensor) -> Tensor:
        """Whether that changes their decision, [R]."""
        return self.logits(codes, rows).argmax(dim=1) != self.labels[rows]

    def with_values(self, x: Mapping[str, Value], rows: Tensor) -> Tensor:
        """Logits of the samples `rows` with other values of some modalities, row by row, which are encoded.

        Texts may come again; what a search made of a picture does not.
        """
        return self.logits({m: self.model.encode(m, v, anew=isinstance(v, Tensor)) for m, v in x.items()}, rows)

    def differentiable(self, x: Mapping[str, Tensor | Embedded], rows: Tensor) -> Tensor:
        """The same with a graph back to the values."""
        inputs = {m: x[m] if m in x else c.take(rows) for m, c in self.codes.items()}
        return self.model.differentiable(inputs, self.present(rows))

    def fused(self, codes: Mapping[str, Codes], rows: Tensor) -> tuple[Tensor, Tensor]:
        """(fused codes as flat vectors [R, D], logits) of the samples with other codes, with a graph back to these."""
        given = {m: codes[m] if m in codes else c.take(rows) for m, c in self.codes.items()}
        fused, logits = self.model.fused_differentiable(given, self.present(rows))
        return flat(fused), logits

    def having(self, values: Mapping[str, Value], codes: Mapping[str, Codes]) -> Stage:
        """The same samples with other values and codes of some modalities."""
        return replace(self, batch=self.batch.with_inputs(**values), codes={**self.codes, **codes})


def flat(code: object) -> Tensor:
    """A code as one vector a row."""
    if isinstance(code, Tensor):
        return code.flatten(1)
    assert isinstance(code, tuple)
    return torch.cat([flat(c) for c in code], dim=1)
