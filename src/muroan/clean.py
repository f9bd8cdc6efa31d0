"""The clean pass over a batch, made once and shared by every probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.content import distinct
from muroan.meter import Codes, Metered
from muroan.modality import Value, take
from muroan.model import Capability
from muroan.randomness import Words, sample_keys


@dataclass(frozen=True)
class Clean:
    """A batch, its codes and its logits, untouched by any intervention.

    codes[m]: distinct codes of modality m; index[m] [N]: which one is the sample's own. logits [N, K]. prepared: what
    the probe that looks at it prepared beforehand, by its name (`Probe.prepare`).
    """

    model: Metered
    batch: Batch
    codes: dict[str, Codes]
    index: dict[str, Tensor]
    logits: Tensor
    split: str = "audited"
    seed: int = 0
    prepared: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def observe(model: Metered, batch: Batch, *, split: str = "audited", seed: int = 0) -> Clean:
        """Encode each distinct value once, fuse, decide."""
        codes, index = model.codes(batch)
        batch = batch.knowing({m: k[index[m].numpy()] for m, c in codes.items() if (k := c.keys) is not None})
        return Clean(model, batch, codes, index, model.logits(codes, index, batch.present or None), split, seed)

    def __len__(self) -> int:
        return len(self.batch)

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, double [N, K]."""
        return self.logits.double().softmax(dim=1)

    @cached_property
    def predicted(self) -> Tensor:
        """Class indices, long [N]."""
        return self.logits.argmax(dim=1)

    @cached_property
    def correct(self) -> Tensor:
        """bool [N]."""
        return self.predicted == self.batch.targets

    def take(self, index: Sequence[int]) -> Clean:
        """The samples at `index`, in that order, with what was computed for them."""
        if list(index) == list(range(len(self))):
            return self
        at = torch.tensor(list(index), dtype=torch.long)
        codes, where = {}, {}
        for m, found in self.index.items():
            used, where[m] = torch.unique(found[at], return_inverse=True)
            codes[m] = self.codes[m].take(used)
        return Clean(
            self.model, self.batch.take(at), codes, where, self.logits[at], self.split, self.seed, self.prepared
        )

    def keys(self, *purpose: object) -> Words:
        """One random key a sample for this purpose (see `muroan.randomness`)."""
        return sample_keys(self.batch.ids, self.seed, *purpose)

    def own_codes(self) -> dict[str, Codes]:
        """Codes row by row: sample i's code is row i."""
        return {m: c.take(self.index[m]) for m, c in self.codes.items()}

    @cached_property
    def _worked_out(self) -> dict[tuple[str, str], Any]:
        """What was worked out of a modality, for whoever asks again."""
        return {}

    def distinct(self, modality: str) -> tuple[Value, Tensor, list[str]]:
        """(distinct values, told apart by what they hold; which is each sample's own [N]; a digest of each value)."""
        if ("distinct", modality) not in self._worked_out:
            known, own = self.batch.unique(modality)
            values, which, digests = distinct(known)
            self._worked_out["distinct", modality] = values, which[own], digests
        found: tuple[Value, Tensor, list[str]] = self._worked_out["distinct", modality]
        return found

    def neutral(self, modality: str) -> tuple[Codes, Tensor]:
        """Codes of the distinct neutral values of a modality, and for each sample which one is its own [N].

        Encoded once; where one neutral value serves all samples (a mean colour, the empty text) that one alone.
        """
        if ("neutral", modality) not in self._worked_out:
            self._worked_out["neutral", modality] = self._neutral(modality)
        found: tuple[Codes, Tensor] = self._worked_out["neutral", modality]
        return found

    def _neutral(self, modality: str) -> tuple[Codes, Tensor]:
        # Of distinct values alone: erasing every row of a batch of pictures takes longer than encoding them.
        distinct, own = self.batch.unique(modality)
        values = self.model.modalities[modality].neutral(distinct)
        alike = (values == values[:1]).all() if isinstance(values, Tensor) else len(set(values)) == 1
        if len(self) and bool(alike):
            return self.model.encode(modality, take(values, [0])), torch.zeros_like(own)
        return self.model.encode(modality, values), own

    def having(
        self, new: Mapping[str, tuple[Codes, Tensor]], at: Tensor | None = None, *, anew: bool = False
    ) -> Tensor:
        """Logits of the samples at `at` (all, if None) with other codes of some modalities.

        new: by modality, codes and which one each of these samples has, [len(at)]. anew: as in `Metered.logits`.
        """
        every = torch.arange(len(self)) if at is None else at
        index = {m: new[m][1] if m in new else own[every] for m, own in self.index.items()}
        present = {m: here[every] for m, here in self.batch.present.items()} or None
        codes = {m: new[m][0] if m in new else c for m, c in self.codes.items()}
        return self.model.logits(codes, index, present, anew=anew)

    def confidence(self, logits: Tensor) -> pl.Series:
        """The largest probability that logits [N, K] give; null for a model that shows no scores."""
        if Capability.SCORES not in self.model.model.capabilities:
            return pl.Series([None] * len(logits), dtype=pl.Float64)
        return pl.Series(logits.double().softmax(dim=1).amax(dim=1).numpy())

    def rows(self, condition: str, **columns: Any) -> pl.DataFrame:
        """Evidence rows of one condition: one per sample, in order, with the given columns."""
        plain = {
            name: (value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
            for name, value in columns.items()
        }
        head = {"sample": list(self.batch.ids), "condition": [condition] * len(self)}
        return pl.DataFrame(head | plain)
