"""One trial: what probes say of a world with or without a fault, each judged alone by its default limits."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

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


class Heard(BaseModel):
    """What one probe said of one world.

    alarms: keys of the findings that break a limit; judged: the metrics that were held against one.
    inapplicable: why the question makes no sense here; failed: how the probe failed. Empty where neither is so.
    """

    model_config = ConfigDict(frozen=True)

    alarms: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    inapplicable: str = ""
    failed: str = ""

    def of(self, metrics: Collection[str]) -> bool:
        """Whether one of these metrics breaks its limit."""
        return any(key.split("/", 1)[1].split("[")[0] in metrics for key in self.alarms)


def trial(probes: Sequence[Probe], organism: Organism, dose: float, seed: int) -> dict[str, Heard]:
    """Plants the fault and asks the probes about the world; by name of the probe."""
    wanted = {p.name: p.finds.get(organism.name, ()) for p in probes}
    return ask(probes, *organism.world(dose, seed), seed=seed, wanted=wanted)


def ask(
    probes: Sequence[Probe],
    model: Model,
    splits: Splits,
    *,
    seed: int = 0,
    wanted: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Heard]:
    """What each probe says of a model, in memory.

    wanted: per probe, metrics that it should judge. A probe that joins others' evidence (fairness of an attack,
    say) gets it, at its price, where a wanted metric is not to be had without.
    """
    heard = {p.name: Heard(inapplicable=why) for p in probes if (why := why_not(p, model, splits))}
    asked = [p for p in probes if p.name not in heard]
    heard |= _together(asked, model, splits, seed)
    known = {p.name for p in probes}
    for p in asked:
        lacking = set((wanted or {}).get(p.name, ())) - set(heard[p.name].judged)
        others = [registry.probe(n)() for n in p.joins if n not in known]
        fitting = [o for o in others if not why_not(o, model, splits)]
        if lacking and fitting:
            heard[p.name] = _together([p, *fitting], model, splits, seed)[p.name]
    return heard


def _together(probes: Sequence[Probe], model: Model, splits: Splits, seed: int) -> dict[str, Heard]:
    evidence, _ = observe_all(probes, model, splits, seed=seed) if probes else ({}, [])
    return {p.name: _heard(p, evidence.get(p.name)) for p in probes}


def _heard(probe: Probe, evidence: Evidence | None) -> Heard:
    if evidence is None:
        return Heard(failed="no sample could be observed")
    try:
        found = findings(probe, evidence)
    except NotApplicable as error:
        return Heard(inapplicable=str(error))
    except Exception as error:  # one probe's mistake must not cost the others their trial
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Heard(failed=f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})")
    return Heard(
        alarms=tuple(f.key for f in found if f.verdict is Verdict.FAIL),
        judged=tuple(sorted({f.metric for f in found if f.limit is not None})),
    )


def findings(probe: Probe, evidence: Evidence) -> list[Finding]:
    """What a probe concludes, judged by its own default limits alone."""
    found = probe.conclude(evidence).findings
    return judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))
