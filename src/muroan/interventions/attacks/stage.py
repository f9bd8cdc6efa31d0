"""A batch under attack: its clean pass with codes row by row, and what becomes of its decisions with other codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.meter import Codes, Metered
from muroan.modality import Value
from muroan.model import Embedded


class Stage(Clean):
    """N samples as they stand. Row i of every code is sample i's; `predicted` are the decisions to leave."""

    @staticmethod
    def of(model: Metered, batch: Batch) -> Stage:
        """Nothing changed yet."""
        clean = Clean.observe(model, batch)
        own = dict.fromkeys(clean.index, torch.arange(len(batch)))
        return Stage(model, batch, clean.own_codes(), own, clean.logits)

    @cached_property
    def every(self) -> Tensor:
        """All samples."""
        return torch.arange(len(self))

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Codes as flat vectors [N, D]."""
        return {m: flat(c.data) for m, c in self.codes.items()}

    def present(self, rows: Tensor) -> dict[str, Tensor] | None:
        """Which modalities those samples have."""
        return {m: p[rows] for m, p in self.batch.present.items()} or None

    def asked(self, codes: Mapping[str, Codes], rows: Tensor, at: Tensor | None = None) -> Tensor:
        """Logits of the samples `rows` [R] with other codes of some modalities: the r-th, or the one at `at` [R]."""
        which = torch.arange(len(rows)) if at is None else at
        return self.having({m: (c, which) for m, c in codes.items()}, rows)

    def left(self, codes: Mapping[str, Codes], rows: Tensor) -> Tensor:
        """Whether that changes their decision, [R]."""
        return self.asked(codes, rows).argmax(dim=1) != self.predicted[rows]

    def with_values(self, x: Mapping[str, Value], rows: Tensor) -> Tensor:
        """Logits of the samples `rows` with other values of some modalities, row by row, which are encoded.

        Texts may come again; what a search made of a picture does not.
        """
        return self.asked({m: self.model.encode(m, v, anew=isinstance(v, Tensor)) for m, v in x.items()}, rows)

    def differentiable(self, x: Mapping[str, Tensor | Embedded], rows: Tensor) -> Tensor:
        """The same with a graph back to the values."""
        inputs = {m: x[m] if m in x else c.take(rows) for m, c in self.codes.items()}
        return self.model.differentiable(inputs, self.present(rows))

    def fused(self, codes: Mapping[str, Codes], rows: Tensor) -> tuple[Tensor, Tensor]:
        """(fused codes as flat vectors [R, D], logits) of the samples with other codes, with a graph back to these."""
        given = {m: codes[m] if m in codes else c.take(rows) for m, c in self.codes.items()}
        fused, logits = self.model.fused_differentiable(given, self.present(rows))
        return flat(fused), logits

    def changed(self, values: Mapping[str, Value], codes: Mapping[str, Codes]) -> Stage:
        """The same samples with other values and codes of some modalities."""
        return replace(self, batch=self.batch.with_inputs(**values), codes={**self.codes, **codes})


def flat(code: object) -> Tensor:
    """A code as one vector a row."""
    if isinstance(code, Tensor):
        return code.flatten(1)
    assert isinstance(code, tuple)
    return torch.cat([flat(c) for c in code], dim=1)
