"""The auditor audited: which planted faults does each probe find, from which dose, and how often does it cry wolf?

from muroan.selftest import examine
result = examine(probes=["robustness.decoupling"], out="selftest-run")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from muroan import registry
from muroan.errors import AskedWrongly
from muroan.organism import Organism
from muroan.selftest.conclude import SelfTest, conclude
from muroan.selftest.plan import FULL, QUICK, asks
from muroan.selftest.run import run

QUICK_SECONDS = 140.0
"""After which a quick self test begins nothing new: with what is under way it ends within three minutes."""


def examine(
    probes: Sequence[str] | None = None,
    faults: Sequence[str] | None = None,
    *,
    out: str | Path,
    quick: bool = False,
    seeds: int | None = None,
    minutes: float | None = None,
    workers: int | None = None,
    show_progress: bool = True,
) -> SelfTest:
    """Measures power, false alarms and specificity of some probes on some faults (all of both if None), and whether
    mitigations remove the faults that they are meant to remove.

    out: a directory that keeps every trial; given again, the self test goes on where it stopped, and does anew only
    what has other code by now. quick: only the dose that matters and as many seeds as fit into `QUICK_SECONDS`.
    seeds: no more than so many of anything. minutes: begin nothing new after them; every question is asked at least
    once, and what costs little gets more seeds. workers: processes, one a core if None. Raises `AskedWrongly` for names
    that do not exist.
    """
    chosen = [registry.probe(name)() for name in probes or registry.methods("probes")]
    planted = organisms(faults)
    extent = QUICK if quick else FULL
    mitigations = [m() for m in registry.methods("mitigations").values()]
    listed = list(asks(chosen, planted, extent if seeds is None else extent.at_most(seeds), mitigations))
    limit = QUICK_SECONDS if quick else None if minutes is None else 60 * minutes
    records = run(listed, Path(out), workers=workers, seconds=limit, show=show_progress)
    return conclude(
        records.values(), chosen, planted, [m for m in mitigations if set(m.removes) & {o.name for o in planted}]
    )


def organisms(names: Sequence[str] | None = None) -> list[Organism]:
    """Organisms by name, all if None."""
    planted = [registry.organism(name) for name in names or registry.methods("organisms")]
    if not planted:
        raise AskedWrongly("there is no planted fault")
    return planted


__all__ = ["SelfTest", "examine", "organisms"]
