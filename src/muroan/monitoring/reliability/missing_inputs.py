"""Every subset of the inputs as a condition: what the model says when some of them are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from torch import Tensor

from muroan.clean import Clean

CLEAN = "clean"
ALL_SUBSETS = 3
"""Up to so many modalities every non-empty subset is observed (7 of 3); with more, each one is removed alone."""


class Removed(NamedTuple):
    """A condition: its name, which modalities it takes away, and the logits [N, K] without them."""

    condition: str
    missing: tuple[str, ...]
    logits: Tensor


def named(missing: Sequence[str]) -> str:
    """ "clean", "without image", "without image and sound"."""
    return f"without {' and '.join(missing)}" if missing else CLEAN


def shown(condition: str) -> str:
    """A condition as a reader sees it."""
    return "all inputs" if condition == CLEAN else condition


def single(condition: str | None, modalities: Sequence[str]) -> str | None:
    """The modality that a condition removes, None if it removes none or several."""
    return next((m for m in modalities if condition == named([m])), None)


def removals(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Which modalities to take away, () first; something is always left."""
    most = len(modalities) - 1 if len(modalities) <= ALL_SUBSETS else 1
    return [chosen for size in range(most + 1) for chosen in combinations(modalities, size)]


def observe_removals(clean: Clean) -> Iterator[Removed]:
    """The clean condition and every removal, from codes alone."""
    for missing in removals(tuple(clean.model.modalities)):
        yield Removed(named(missing), missing, clean.without(*missing))
