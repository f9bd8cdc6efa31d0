"""An organism: a model and data with one planted, known fault, in any dose.

What a probe is worth can only be measured where the truth is known. At dose 0 an organism is its clean twin, which
differs in nothing else; over the dose the share of seeds on which a probe alarms is its power.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from muroan.dataset import Splits
from muroan.model import Model

World = tuple[Model, Splits]
"""A model and the data to audit it on."""


def as_it_says(fault: Callable[[float, int], World], dose: float, seed: int) -> World:
    """The world of a fault that is itself a function of dose and seed."""
    return fault(dose, seed)


@dataclass(frozen=True)
class Bed:
    """What faults are planted in: a seed -> a model and data without the fault.

    exact: by construction nothing at all is wrong here, so any alarm of any probe about it is false. Without it
    (a trained model on real data), only the planted fault is known to be absent.
    plants: (fault, dose, seed) -> the bed of this seed with the fault in it, at dose 0 as it is. The bed says in what
    form it takes faults: as a model's class, say. Without a word about it, as a function of dose and seed.
    """

    name: str
    says: str
    world: Callable[[int], World]
    exact: bool
    plants: Callable[[Any, float, int], World] = as_it_says


@dataclass(eq=False)
class Organism:
    """A fault that is planted in a bed, declared by `muroan.plant`:

        name      "pillar.fault"
        place     where it stands in the taxonomy: "monitoring/reliability"
        bed       what it is planted in: its clean twin
        fault     one sentence: what is wrong with this model or data
        dose      what the dose is, in units: "logits are multiplied by 1 + dose"
        doses     the doses that are tried, rising, without 0
        matters   the smallest of them that a user would care about: a probe that does not find it here misses it
        plant     (dose, seed) -> the bed of this seed with the fault; at dose 0 the bed itself, value for value

    A probe says which faults it is meant to find (`Probe.finds`).
    """

    name: str
    place: str
    bed: Bed
    fault: str
    dose: str
    doses: tuple[float, ...]
    matters: float
    plant: Callable[[float, int], World]

    def world(self, dose: float, seed: int) -> World:
        """A model with data; dose 0: the clean twin."""
        return self.plant(dose, seed) if dose else self.bed.world(seed)
