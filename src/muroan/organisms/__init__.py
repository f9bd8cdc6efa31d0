"""Models and data with planted faults, and their clean twins: what the auditor is audited on.

A fault is planted in a bed: the `clinic`, where every relation is known and nothing else is wrong, or real data with a
real model. It is declared where it is written, in a module of this folder, by `plant`; being there is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, TypeVar, cast

from muroan.organism import Bed, Organism
from muroan.registry import register

F = TypeVar("F")


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


__all__ = ["plant"]
