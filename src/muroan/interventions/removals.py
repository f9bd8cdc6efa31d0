"""Inputs taken away: which subsets there are, listed here and nowhere else, and what arrives without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from muroan.clean import Clean
from muroan.intervention import Arrived, Intervention
from muroan.registry import register

Kept = tuple[str, ...]

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


def without(missing: Sequence[str], nothing: str = "clean") -> str:
    """How evidence names what was taken away: "without image and sound"; `nothing` where nothing was."""
    return f"without {' and '.join(missing)}" if missing else nothing


@register
@dataclass(frozen=True)
class Removal(Intervention):
    """Inputs are missing: their neutral value stands in their place, and a model that can be told is told so.

    missing: which; none: nothing is changed. told: whether a model that declares `absent` hears that they are.
    """

    name = "removal"
    does = "Takes inputs away: a plain picture, the empty text, a column's mean stands in their place."

    missing: Kept = ()
    told: bool = True

    @property
    def condition(self) -> str:
        return without(self.missing)

    def arrives(self, clean: Clean) -> Arrived:
        codes, index = dict(clean.codes), dict(clean.index)
        for m in self.missing:
            codes[m], index[m] = clean.neutral(m)
        gone = torch.zeros(len(clean), dtype=torch.bool)
        present = {**clean.batch.present, **(dict.fromkeys(self.missing, gone) if self.told else {})}
        return Arrived(codes, index, present)
