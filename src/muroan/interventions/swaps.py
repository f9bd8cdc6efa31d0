"""Cross-modal perturbations: each input stays as real as it was, but one no longer belongs to the others.

A new one is a function and a row of `TABLE`. A `Swap` says who may lend its value: samples of the reference alone, so
that audited samples stay independent of each other, drawn by the sample's own key among a fixed pool. A `Shift` moves a
sound or a series in time against the other inputs. All constants are Muroan's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan.batch import Batch
from muroan.interventions.perturbations.signal import shifted
from muroan.meter import Codes
from muroan.modality import Value, take
from muroan.randomness import Words, uniform

MATCHED = "matched"
"""The null change: the sample's own value goes the donor's way."""
TIMED = ("audio", "series")
"""Kinds of input that have a time axis."""
DELAYS = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Share of the length by which an input comes late, at severity 1..5."""
FROZEN = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of the length from which on nothing new comes, at severity 1..5."""


@dataclass(frozen=True)
class Pool:
    """Samples of the reference that lend their inputs, P of them, in the order of their ids.

    codes[m]: their distinct codes, index[m] [P]: which one is whose; contents[m]: digests [P] of the values.
    """

    batch: Batch
    codes: Mapping[str, Codes]
    index: Mapping[str, Tensor]
    contents: Mapping[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.batch)

    def value(self, modality: str, donor: int) -> Value:
        """One donor's value, as a batch of one."""
        return take(self.batch.inputs[modality], [donor])


Lends = Callable[[Batch, Pool, Sequence[str]], Tensor]
"""(samples, pool, groups that name a stream) -> who may lend to whom, bool [N, P]."""


@dataclass(frozen=True)
class Swap:
    """A row of the table: one input is another sample's."""

    name: str
    says: str
    lends: Lends

    def donors(
        self, batch: Batch, pool: Pool, modality: str, contents: NDArray[np.str_], keys: Words, stream: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """(who lends to each sample, long [N]; whether there is anybody, bool [N]).

        Only a value that differs from the sample's own can be lent. One draw per sample serves all swaps.
        """
        unlike = torch.from_numpy(contents[:, None] != pool.contents[modality][None, :])
        there = pool.batch.present.get(modality, torch.ones(len(pool), dtype=torch.bool))
        able = self.lends(batch, pool, stream) & unlike & there
        draw = torch.from_numpy(uniform(keys, len(pool)))
        return draw.masked_fill(~able, 2.0).argmin(dim=1), able.any(dim=1)


@dataclass(frozen=True)
class Shift:
    """A row of the table: one input comes late, or stops; `levels` at severity 1..5."""

    name: str
    says: str
    change: Callable[[Tensor, float], Tensor]
    levels: tuple[float, ...]


def anybody(batch: Batch, pool: Pool, stream: Sequence[str]) -> Tensor:
    return torch.ones(len(batch), len(pool), dtype=torch.bool)


def of_another_class(batch: Batch, pool: Pool, stream: Sequence[str]) -> Tensor:
    return batch.targets[:, None] != pool.batch.targets[None, :]


def of_the_same_class(batch: Batch, pool: Pool, stream: Sequence[str]) -> Tensor:
    return batch.targets[:, None] == pool.batch.targets[None, :]


def of_the_same_stream(batch: Batch, pool: Pool, stream: Sequence[str]) -> Tensor:
    """Whoever shares all the groups, whatever the class; a group that is unknown is shared by nobody."""
    alike = torch.ones(len(batch), len(pool), dtype=torch.bool)
    for g in stream:
        own, theirs = np.asarray(batch.groups[g], dtype=str), np.asarray(pool.batch.groups[g], dtype=str)
        alike &= torch.from_numpy((own[:, None] == theirs[None, :]) & (own != "")[:, None])
    return alike


def delayed(x: Tensor, share: float) -> Tensor:
    """`share` of the length late; until it comes its first value is held."""
    return shifted(x, max(1, round(share * x.shape[1])))


def frozen(x: Tensor, share: float) -> Tensor:
    """For the last `share` of the length the value before it is held; 1: the first value alone."""
    last = max(0, x.shape[1] - max(1, round(share * x.shape[1])) - 1)
    return x[:, torch.arange(x.shape[1]).clamp(max=last)]


SWAPS: tuple[Swap, ...] = (
    Swap("swapped", "of any other sample", anybody),
    Swap("other_class", "of a sample of another class", of_another_class),
    Swap("same_class", "of another sample of the same class", of_the_same_class),
    Swap("stale", "of another moment of the same stream", of_the_same_stream),
)
SHIFTS: tuple[Shift, ...] = (
    Shift("delayed", "late", delayed, DELAYS),
    Shift("frozen", "stopped", frozen, FROZEN),
)
TABLE: tuple[Swap | Shift, ...] = (*SWAPS, *SHIFTS)
