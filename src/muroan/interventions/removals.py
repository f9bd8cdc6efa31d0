"""Inputs taken away: which subsets there are, listed here and nowhere else, and what arrives without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.intervention import Arrived, Intervention
from muroan.meter import Codes
from muroan.registry import register

Kept = tuple[str, ...]

CLEAN = "clean"
"""The condition in which nothing is changed."""

MOST_FOR_ALL_SUBSETS = 6
"""Modalities up to which every subset is kept in turn (63 of them); above, all but one and one alone."""
MOST_FOR_ALL_REMOVALS = 3
"""Modalities up to which every subset is taken away in turn; above, each one alone."""


def of_sizes(names: Sequence[str], sizes: Iterable[int]) -> list[Kept]:
    """All subsets of these sizes, size by size, each in the order of the names."""
    return [chosen for size in sizes for chosen in combinations(names, size)]


def every_subset(names: Sequence[str]) -> list[Kept]:
    """All 2^n − 1 non-empty subsets, single ones first."""
    return of_sizes(names, range(1, len(names) + 1))


def subsets(names: Sequence[str]) -> list[Kept]:
    """What may be left of the inputs: proper non-empty subsets, the largest first.

    All 2^n − 2 for up to `MOST_FOR_ALL_SUBSETS` modalities; above that those that lack one, and single ones.
    """
    n = len(names)
    return of_sizes(names, range(n - 1, 0, -1) if n <= MOST_FOR_ALL_SUBSETS else (n - 1, 1))


def removals(names: Sequence[str]) -> list[Kept]:
    """What may be taken away, nothing first; something is always left."""
    return of_sizes(names, range(len(names) if len(names) <= MOST_FOR_ALL_REMOVALS else 2))


def others(names: Sequence[str], some: Sequence[str]) -> Kept:
    """What is left of the names without some of them, in their order."""
    return tuple(n for n in names if n not in some)


def without(missing: Sequence[str], nothing: str = CLEAN) -> str:
    """How evidence names what was taken away: "without image and sound"; `nothing` where nothing was."""
    return f"without {' and '.join(missing)}" if missing else nothing


@register
@dataclass(frozen=True)
class Removal(Intervention):
    """Inputs are missing: their neutral value stands in their place, and a model that can be told is told so.

    missing: which; none: nothing is changed, and nobody is asked again. told: whether a model that declares `absent`
    hears of it; to others it is all one.
    """

    name = "removal"
    does = "Takes inputs away: a plain picture, the empty text, a column's mean stands in their place."

    missing: Kept = ()
    told: bool = True

    @property
    def condition(self) -> str:
        return without(self.missing) if self.told or not self.missing else f"{' and '.join(self.missing)} neutral"

    def arrives(self, clean: Clean) -> Arrived:
        codes, index = dict(clean.codes), dict(clean.index)
        present = {m: clean.batch.has(m) for m in clean.model.modalities}
        done = torch.zeros(len(clean), dtype=torch.bool)
        for m in self.missing:
            codes[m], index[m] = self.instead(clean, m)
            done |= present[m]
        if self.told:
            present |= dict.fromkeys(self.missing, torch.zeros_like(done))
        return Arrived(codes, index, present, done)

    def instead(self, clean: Clean, modality: str) -> tuple[Codes, Tensor]:
        """What stands in the place of an input: codes, and which one is each sample's [N]."""
        return clean.neutral(modality)

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Removal]:
        subsets = removals(tuple(clean.model.modalities))
        return [replace(self, missing=missing, told=told) for missing in subsets[1:] for told in (True, False)]

    def nothing(self) -> Removal:
        return replace(self, missing=())


@register
@dataclass(frozen=True)
class Nothing(Intervention):
    """Every input is missing: nothing speaks for any answer."""

    name = "nothing"
    does = "Takes every input away."
    condition = "nothing"

    def arrives(self, clean: Clean) -> Arrived:
        return Removal(tuple(clean.model.modalities)).arrives(clean)
