"""Which worlds are made, and which probes are asked about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from muroan.organism import Bed, Organism
from muroan.probe import Probe


@dataclass(frozen=True)
class Extent:
    """How many seeds: of every dose for the probes that should find it (power), of the dose that matters for all
    others (specificity), and of twins, in which nothing at all is wrong (exact) or only the fault is absent (other)."""

    power: int
    specificity: int
    exact: int
    other: int
    doses: bool = True
    """Every dose, not only the one that matters."""

    def at_most(self, seeds: int) -> Extent:
        """The same with no more than so many seeds of anything."""
        few = {n: min(seeds, getattr(self, n)) for n in ("power", "specificity", "exact", "other")}
        return replace(self, **few)


FULL = Extent(power=16, specificity=6, exact=80, other=16)
"""16 alarms of 16 put power above 0.8, no alarm in 80 twins puts false alarms below 0.05 (Wilson, 95 %)."""
QUICK = Extent(power=16, specificity=0, exact=40, other=4, doses=False)
"""Upper bounds: a quick self test stops when its time is up."""


@dataclass(frozen=True)
class Ask:
    """A unit of work. world: the name of an organism, or of a bed where the dose is 0."""

    world: str
    dose: float
    seed: int
    probes: tuple[str, ...]


def asks(probes: Sequence[Probe], organisms: Sequence[Organism], extent: Extent) -> Iterator[Ask]:
    """All of them; seeds outermost, so that a run that was stopped has seen a little of everything."""
    names = tuple(p.name for p in probes)
    beds = beds_of(organisms)
    meant = {o.name: tuple(p.name for p in probes if o.name in p.finds) for o in organisms}
    for seed in range(max(extent.power, extent.specificity, extent.exact, extent.other)):
        for o in organisms:
            for dose in o.doses if extent.doses else (o.matters,):
                asked = meant[o.name] if seed < extent.power else ()
                if dose == o.matters and seed < extent.specificity:
                    asked = names
                if asked:
                    yield Ask(o.name, dose, seed, asked)
        for bed in beds:
            if seed < (extent.exact if bed.exact else extent.other):
                yield Ask(bed.name, 0.0, seed, names)


def beds_of(organisms: Sequence[Organism]) -> list[Bed]:
    """The beds that organisms are planted in, each once."""
    return list({o.bed.name: o.bed for o in organisms}.values())
