"""Which worlds are made, and which probes are asked about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from muroan.mitigation import Mitigation
from muroan.organism import Bed, Organism
from muroan.probe import Probe


@dataclass(frozen=True)
class Extent:
    """How many seeds.

    power: of the dose that matters, and of the twin, for the probes that should find the fault; curve: of the other
    doses (0: the others are left out). specificity: of the dose that matters, and of the twin, for all other probes.
    quiet: of the exact bed that most faults are planted in, for all probes: what false alarms are counted on.
    mended: of the dose that matters, after a mitigation that should remove the fault (0: none is tried).
    """

    power: int
    curve: int
    specificity: int
    quiet: int
    mended: int = 0

    def at_most(self, seeds: int) -> Extent:
        """The same with no more than so many seeds of anything."""
        return Extent(**{what: min(seeds, number) for what, number in asdict(self).items()})


FULL = Extent(power=16, curve=8, specificity=4, quiet=80, mended=8)
"""16 alarms of 16 put power above 0.8, no alarm in 80 twins puts false alarms below 0.05 (Wilson, 95 %)."""
QUICK = Extent(power=16, curve=0, specificity=0, quiet=40)
"""Upper bounds: a quick self test stops when its time is up."""


@dataclass(frozen=True)
class Ask:
    """A unit of work. world: the name of an organism, or of a bed where the dose is 0; mended: by which mitigation."""

    world: str
    dose: float
    seed: int
    probes: tuple[str, ...]
    mended: str = ""


def asks(
    probes: Sequence[Probe], organisms: Sequence[Organism], extent: Extent, mitigations: Sequence[Mitigation] = ()
) -> Iterator[Ask]:
    """All of them; seeds outermost, so that a run that was stopped has seen a little of everything."""
    names = tuple(p.name for p in probes)
    meant = {o.name: tuple(p.name for p in probes if o.name in p.finds) for o in organisms}
    exact = Counter(o.bed.name for o in organisms if o.bed.exact)
    main = max(exact, key=lambda name: exact[name], default=None)
    twins = {b.name: tuple(n for n in names if any(n in meant[o.name] for o in organisms if o.bed == b))
             for b in beds_of(organisms)}  # fmt: skip
    for seed in range(max(extent.power, extent.curve, extent.specificity, extent.quiet, extent.mended)):
        for o in organisms:
            for dose in o.doses:
                asked = meant[o.name] if seed < (extent.power if dose == o.matters else extent.curve) else ()
                if dose == o.matters and seed < extent.specificity:
                    asked = names
                if asked:
                    yield Ask(o.name, dose, seed, asked)
            if seed < min(extent.mended, extent.power) and meant[o.name]:
                for m in mitigations:
                    if o.name in m.removes:
                        yield Ask(o.name, o.matters, seed, meant[o.name], m.name)
        for bed, asked in twins.items():
            if seed < (extent.quiet if bed == main else extent.specificity):
                asked = names
            elif seed >= extent.power:
                continue
            # Together they share the clean pass; one by one, cheap probes get more seeds before time is up.
            for some in [asked] if extent.curve else [(p,) for p in asked]:
                if some:
                    yield Ask(bed, 0.0, seed, some)


def beds_of(organisms: Sequence[Organism]) -> list[Bed]:
    """The beds that organisms are planted in, each once."""
    return list({o.bed.name: o.bed for o in organisms}.values())
