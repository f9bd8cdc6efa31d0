"""An organism: a model and data with one planted, known fault, in any dose.

What a probe is worth can only be measured where the truth is known. At dose 0 an organism is its clean twin, which
differs in nothing else; over the dose the share of seeds on which a probe alarms is its power.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from muroan.dataset import Splits
from muroan.model import Model

World = tuple[Model, Splits]
"""A model and the data to audit it on."""


@dataclass(frozen=True)
class Bed:
    """What faults are planted in: a seed -> a model and data without the fault.

    exact: by construction nothing at all is wrong here, so any alarm of any probe about it is false. Without it
    (a trained model on real data), only the planted fault is known to be absent.
    """

    name: str
    says: str
    world: Callable[[int], World]
    exact: bool


class Organism(ABC):
    """A fault that is planted in a bed. A subclass is one small file, registered with `@register`:

        name      "pillar.fault"
        place     where it stands in the taxonomy: "monitoring/reliability"
        fault     one sentence: what is wrong with this model or data
        dose      what the dose is, in units: "logits are multiplied by 1 + dose"
        doses     the doses that are tried, rising, without 0
        matters   the smallest of them that a user would care about: a probe that does not find it here misses it
        bed       what it is planted in: its clean twin

    A probe says which faults it is meant to find (`Probe.finds`).
    """

    name: ClassVar[str]
    place: ClassVar[str]
    fault: ClassVar[str]
    dose: ClassVar[str]
    doses: ClassVar[tuple[float, ...]]
    matters: ClassVar[float]
    bed: ClassVar[Bed]

    @abstractmethod
    def plant(self, dose: float, seed: int) -> World:
        """The bed of this seed with the fault in this dose; at dose 0 the bed itself, value for value."""

    def world(self, dose: float, seed: int) -> World:
        """A model with data; dose 0: the clean twin."""
        return self.plant(dose, seed) if dose else self.bed.world(seed)
