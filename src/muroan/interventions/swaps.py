"""Cross-modal perturbations: each input stays as real as it was, but one no longer belongs to the others.

A new one is a class: a `Swap` says who may lend its value, samples of the reference alone, so that audited samples stay
independent of each other, drawn by the sample's own key among a fixed pool; a `Shift` moves a sound or a series in time
against the other inputs. All constants are Muroan's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.content import digests
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset
from muroan.errors import NotApplicable
from muroan.intervention import Arrived, Intervention
from muroan.interventions.perturbations.signal import shifted
from muroan.meter import Codes, Metered
from muroan.modality import Value, take
from muroan.randomness import choose, uniform
from muroan.registry import register

TIMED = ("audio", "series")
"""Kinds of input that have a time axis."""
DRAWN_FOR = "robustness.mismatch"
"""What donors are drawn for, whoever asks: the same sample gets the same donor from every probe."""


@dataclass(frozen=True)
class Pool:
    """Samples of the reference that lend their inputs, P of them, in the order of their ids.

    codes[m]: their distinct codes, index[m] [P]: which one is whose; contents[m]: digests [P] of the values. stream:
    groups that say whose value it is (patient, device); none: all of the data's groups together.
    """

    batch: Batch
    codes: Mapping[str, Codes]
    index: Mapping[str, Tensor]
    contents: Mapping[str, NDArray[np.str_]]
    stream: tuple[str, ...] = ()

    @staticmethod
    def of(model: Metered, reference: Dataset, size: int, seed: int, stream: tuple[str, ...] = ()) -> Pool:
        """That many samples, drawn with the seed; raises `NotApplicable` where there are too few."""
        drawn = choose(reference.ids, size, seed, DRAWN_FOR, "donors")
        # In the order of their ids, so that the order of the reference changes nothing.
        batch = reference.load(sorted(drawn, key=lambda i: reference.ids[i])).batch
        if batch is None or len(batch) < 2:
            raise NotApplicable("needs at least two samples of the reference that can be read")
        codes, index = model.codes(batch)
        contents = {m: np.asarray(digests(batch.inputs[m])) for m in model.modalities}
        return Pool(batch, codes, index, contents, stream or tuple(batch.groups))

    def __len__(self) -> int:
        return len(self.batch)

    def value(self, modality: str, donor: int) -> Value:
        """One donor's value, as a batch of one."""
        return take(self.batch.inputs[modality], [donor])


@dataclass(frozen=True)
class Elsewhere(Intervention):
    """One input is from elsewhere, for samples that have it and another one beside it.

    says: what it is, as in "the scan is late".
    """

    says: ClassVar[str]
    modality: str = ""

    def __init_subclass__(cls) -> None:
        if "says" in cls.__dict__:
            cls.does = f"One input is {cls.says}."

    @property
    def condition(self) -> str:
        return f"{self.modality}: {self.name}"

    def instead(self, clean: Clean, codes: Codes, index: Tensor, among: Tensor, donor: Tensor | None = None) -> Arrived:
        """codes[index] arrive in the place of the input of those of `among`; donor [N]: the class of who lends it."""
        m, here = self.modality, torch.stack([clean.batch.has(o) for o in clean.model.modalities])
        done = among & clean.batch.has(m) & (here.sum(dim=0) > 1)
        # A pair with one side of another should be missed.
        missed = torch.where(done, FOUND.index("missed"), clean.batch.targets)
        return Arrived(
            {**clean.codes, m: codes},
            {**clean.index, m: index},
            clean.batch.present,
            done,
            missed if donor is not None and clean.model.classes == FOUND else None,
            {"donor_class": torch.full((len(clean),), -1) if donor is None else torch.where(done, donor, -1)},
        )

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Elsewhere]:
        return [replace(self, modality=m) for m in clean.model.modalities]


@register
class Matched(Elsewhere):
    """The null change: the sample's own value, encoded anew, goes the donor's way."""

    name, says = "matched", "as it was"

    def arrives(self, clean: Clean) -> Arrived:
        values, own, _ = clean.distinct(self.modality)
        codes = clean.model.encode(self.modality, values, anew=True)
        return self.instead(clean, codes, own, torch.ones_like(own) > 0)

    def nothing(self) -> Matched:
        return self


@dataclass(frozen=True)
class Swap(Elsewhere):
    """One input is another sample's. pool: who may lend."""

    pool: Pool | None = field(default=None, repr=False, compare=False)

    @abstractmethod
    def lends(self, batch: Batch, pool: Pool) -> Tensor:
        """Who may lend to whom, bool [N, P]."""

    def donors(self, clean: Clean) -> tuple[Tensor, Tensor]:
        """(who lends to each sample, long [N]; whether there is anybody, bool [N]).

        Only a value that differs from the sample's own can be lent. One draw per sample serves all swaps.
        """
        m, pool = self.modality, self.pool
        assert pool is not None
        _, own, contents = clean.distinct(m)
        unlike = torch.from_numpy(np.asarray(contents)[own.numpy()][:, None] != pool.contents[m][None, :])
        able = self.lends(clean.batch, pool) & unlike & pool.batch.has(m)
        draw = torch.from_numpy(uniform(clean.keys(DRAWN_FOR, m, "donor"), len(pool)))
        return draw.masked_fill(~able, 2.0).argmin(dim=1), able.any(dim=1)

    def arrives(self, clean: Clean) -> Arrived:
        m, pool = self.modality, self.pool
        assert pool is not None
        donor, somebody = self.donors(clean)
        return self.instead(clean, pool.codes[m], pool.index[m][donor], somebody, pool.batch.targets[donor])

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Swap]:
        pool = Pool.of(clean.model, reference, len(reference), clean.seed)
        return [replace(self, modality=m, pool=pool) for m in clean.model.modalities]


@register
class Swapped(Swap):
    name, says = "swapped", "of any other sample"

    def lends(self, batch: Batch, pool: Pool) -> Tensor:
        return torch.ones(len(batch), len(pool), dtype=torch.bool)


@register
class OtherClass(Swap):
    name, says = "other_class", "of a sample of another class"

    def lends(self, batch: Batch, pool: Pool) -> Tensor:
        return batch.targets[:, None] != pool.batch.targets[None, :]


@register
class SameClass(Swap):
    name, says = "same_class", "of another sample of the same class"

    def lends(self, batch: Batch, pool: Pool) -> Tensor:
        return batch.targets[:, None] == pool.batch.targets[None, :]


@register
class Stale(Swap):
    """Whoever shares all groups of the stream lends, whatever the class; an unknown group is shared by nobody."""

    name, says = "stale", "of another moment of the same stream"

    def lends(self, batch: Batch, pool: Pool) -> Tensor:
        alike = torch.full((len(batch), len(pool)), bool(pool.stream))
        for g in pool.stream:
            own, theirs = np.asarray(batch.groups[g], dtype=str), np.asarray(pool.batch.groups[g], dtype=str)
            alike &= torch.from_numpy((own[:, None] == theirs[None, :]) & (own != "")[:, None])
        return alike


@dataclass(frozen=True)
class Shift(Elsewhere):
    """One input comes late, or stops. severity: 1 to 5, of `levels`, shares of its length; 0: nothing is changed."""

    levels: ClassVar[tuple[float, ...]]
    severity: int = 0

    @property
    def condition(self) -> str:
        return f"{super().condition} {self.severity}"

    @abstractmethod
    def moved(self, x: Tensor, share: float) -> Tensor:
        """Streams [N, T, ...], changed by a share of their length."""

    def arrives(self, clean: Clean) -> Arrived:
        values, own, _ = clean.distinct(self.modality)
        codes = clean.model.encode(self.modality, self.moved(values, self.levels[self.severity - 1]))
        return self.instead(clean, codes, own, torch.ones_like(own) * self.severity > 0)

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Shift]:
        timed = [m for m in clean.model.modalities if clean.batch.modalities[m].kind in TIMED]
        return [replace(self, modality=m, severity=k + 1) for m in timed for k in range(len(self.levels))]

    def nothing(self) -> Shift:
        return replace(self, severity=0)


@register
class Delayed(Shift):
    """Until it comes its first value is held."""

    name, says = "delayed", "late"
    levels = (0.05, 0.1, 0.2, 0.3, 0.4)

    def moved(self, x: Tensor, share: float) -> Tensor:
        return shifted(x, max(1, round(share * x.shape[1])))


@register
class Frozen(Shift):
    """For the last share of the length the value before it is held; 1: the first value alone."""

    name, says = "frozen", "stopped"
    levels = (0.2, 0.4, 0.6, 0.8, 1.0)

    def moved(self, x: Tensor, share: float) -> Tensor:
        last = max(0, x.shape[1] - max(1, round(share * x.shape[1])) - 1)
        return x[:, torch.arange(x.shape[1]).clamp(max=last)]


SWAPS: tuple[type[Swap], ...] = (Swapped, OtherClass, SameClass, Stale)
SHIFTS: tuple[type[Shift], ...] = (Delayed, Frozen)
TABLE: tuple[type[Elsewhere], ...] = (*SWAPS, *SHIFTS)
REAL: tuple[type[Elsewhere], ...] = (Matched, *SWAPS)
"""Those after which the input is some sample's value, as it was."""
