"""One trial: an organism in one dose and seed, observed by some probes, each judged alone by its default limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from muroan import registry
from muroan.auditing.gate import Gate
from muroan.auditing.observe import observe_all
from muroan.auditing.plan import why_not
from muroan.dataset import Splits
from muroan.errors import NotApplicable
from muroan.evidence import Evidence
from muroan.finding import Finding, Verdict, judge
from muroan.model import Model
from muroan.organism import Organism
from muroan.probe import Probe


@dataclass(frozen=True)
class Heard:
    """What one probe said of one world: the keys of the findings that break a limit, the metrics that it judged.

    inapplicable: why the question makes no sense here; empty where it does.
    """

    alarms: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    inapplicable: str = ""
    seconds: float = 0.0

    def of(self, metrics: Sequence[str]) -> bool:
        """Whether one of these metrics breaks its limit."""
        return any(key.split("/")[1].split("[")[0] in metrics for key in self.alarms)


@dataclass
class Trial:
    """A world and what each probe said of it."""

    organism: str
    dose: float
    seed: int
    heard: dict[str, Heard] = field(default_factory=dict)


def trial(probes: Sequence[Probe], organism: Organism, dose: float, seed: int) -> Trial:
    """Plants the fault and asks the probes.

    A probe that joins others' evidence (fairness of an attack, say) gets it where the metrics that should show this
    fault are not to be had without.
    """
    model, splits = organism.world(dose, seed)
    wanted = {p.name: set(p.finds.get(organism.name, ())) for p in probes}
    out = Trial(organism.name, dose, seed)
    out.heard = ask(probes, model, splits, seed=seed)
    alone = [p for p in probes if p.joins and not wanted[p.name] <= set(out.heard[p.name].judged)]
    for p in alone:
        missing = [registry.probe(n)() for n in p.joins if n not in {q.name for q in probes}]
        if missing:
            out.heard[p.name] = ask([p, *missing], model, splits, seed=seed)[p.name]
    return out


def ask(probes: Sequence[Probe], model: Model, splits: Splits, *, seed: int) -> dict[str, Heard]:
    """What each probe says of a model, in memory; one that does not apply says why."""
    out: dict[str, Heard] = {}
    fitting = []
    for p in probes:
        why = why_not(p, model, splits)
        if why:
            out[p.name] = Heard(inapplicable=why)
        else:
            fitting.append(p)
    start = time.perf_counter()
    evidence, _ = observe_all(fitting, model, splits, seed=seed) if fitting else ({}, [])
    seconds = (time.perf_counter() - start) / max(1, len(fitting))
    for p in fitting:
        out[p.name] = _heard(p, evidence.get(p.name), seconds)
    return out


def _heard(probe: Probe, evidence: Evidence | None, seconds: float) -> Heard:
    if evidence is None:
        return Heard(inapplicable="no sample could be observed", seconds=seconds)
    try:
        found = judged(probe, evidence)
    except NotApplicable as error:
        return Heard(inapplicable=str(error), seconds=seconds)
    return Heard(
        alarms=tuple(f.key for f in found if f.verdict is Verdict.FAIL),
        judged=tuple(sorted({f.metric for f in found if f.limit is not None})),
        seconds=seconds,
    )


def judged(probe: Probe, evidence: Evidence) -> list[Finding]:
    """What a probe concludes, judged by its own default limits alone."""
    found = probe.conclude(evidence).findings
    return judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))
