"""Models and data with planted faults, and their clean twins: what the auditor is audited on.

A fault is planted in a bed: the `clinic`, where every relation is known and nothing else is wrong, or real data with a
real model. It is declared where it is written, in a module of this folder, by `plant`; being there is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache, partial, update_wrapper, wraps
from typing import Any, TypeVar, cast

from muroan.organism import Bed, Organism, World
from muroan.registry import register

F = TypeVar("F")
W = TypeVar("W", bound=Callable[..., World])


def plant(
    name: str, *, place: str, bed: Bed, fault: str, dose: str, doses: tuple[float, ...], matters: float
) -> Callable[[F], F]:
    """Declares what it stands before as a planted fault (an `Organism`, which says what the arguments are).

    What it stands before is the fault in the form that its bed takes: in the clinic a class of clinicians that get
    something wrong or a change of the patients, elsewhere perhaps a function of dose and seed. It is given back.
    """

    def declared(what: F) -> F:
        planted: Any = Organism(name, place, bed, fault, dose, doses, matters, partial(bed.plants, what))
        update_wrapper(planted, cast(Any, what), updated=())  # what it stands before says where it is written
        register(planted)
        return what

    return declared


def trained_once(kept: int) -> Callable[[W], W]:
    """For a function that makes worlds: so many are kept in memory, since several probes are asked about each.

    Everybody gets a model of their own: a mitigation may train what it is given.
    """

    def once(make: W) -> W:
        known = lru_cache(maxsize=kept)(make)

        @wraps(make)
        def world(*asked: Any) -> World:
            model, splits = known(*asked)
            return copy.deepcopy(model), splits

        return cast(W, world)

    return once


__all__ = ["plant", "trained_once"]
