"""Every subset of the inputs as a condition: what the model says when some of them are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from muroan.clean import Clean
from muroan.intervention import outcome
from muroan.interventions.removals import CLEAN as CLEAN
from muroan.interventions.removals import Removal, removals, without


class Removed(NamedTuple):
    """A condition: its name, which modalities it takes away, and the logits [N, K] without them."""

    condition: str
    missing: tuple[str, ...]
    logits: Tensor


def shown(condition: str) -> str:
    """A condition as a reader sees it."""
    return "all inputs" if condition == CLEAN else condition


def single(condition: str | None, modalities: Sequence[str]) -> str | None:
    """The modality that a condition removes, None if it removes none or several."""
    return next((m for m in modalities if condition == without([m])), None)


def observe_removals(clean: Clean) -> Iterator[Removed]:
    """The clean condition and every removal, from codes alone."""
    for missing in removals(tuple(clean.model.modalities)):
        asked = outcome(clean, Removal(missing))
        yield Removed(asked.change.condition, missing, asked.logits)
