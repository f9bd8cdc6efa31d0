"""What a probe is worth: does it alarm where there is a fault, and stay quiet where there is none?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from muroan.auditing.observe import observe_all
from muroan.dataset import Splits
from muroan.estimate import Estimate, proportion
from muroan.finding import Finding, Verdict
from muroan.model import Model
from muroan.organism import Organism, World
from muroan.probe import Probe
from muroan.selftest.trial import findings as judged
from muroan.selftest.trial import trial


def findings(probe: Probe, model: Model, splits: Splits, **options: Any) -> list[Finding]:
    """What a probe concludes about a model, judged by its own default limits."""
    evidence, _ = observe_all([probe], model, splits, **options)
    return judged(probe, evidence[probe.name])


def alarms(probe: Probe, world: Callable[[int], World], seeds: Iterable[int]) -> list[list[str]]:
    """Per seed, the keys of the findings that break a default limit."""
    out = []
    for seed in seeds:
        found = findings(probe, *world(seed), seed=seed)
        out.append([f.key for f in found if f.verdict is Verdict.FAIL])
    return out


def alarms_on(probe: Probe, world: Callable[[int], World], seeds: Iterable[int]) -> Estimate:
    """The share of seeds on which the probe alarms about a model."""
    return proportion([bool(keys) for keys in alarms(probe, world, seeds)])


def false_alarms(probe: Probe, twin: Callable[[int], World], seeds: Iterable[int]) -> Estimate:
    """The share of seeds on which the probe alarms about a model without the fault; promised: at most 0.05."""
    return alarms_on(probe, twin, seeds)


def power(
    probe: Probe, fault: Organism, seeds: Iterable[int], *, doses: Sequence[float] | None = None
) -> dict[float, Estimate]:
    """Power by dose: the share of seeds on which a metric that the probe names for the fault breaks its limit.

    doses: those of the organism, and 0 for its clean twin, if None. A probe that names no metric for the fault
    (`Probe.finds`) finds it by any alarm. The command `muroan selftest --probe NAME` does this for all the faults
    that a registered probe names, in parallel and resumable.
    """
    metrics = probe.finds.get(fault.name)
    listed = list(seeds)
    out = {}
    for dose in (0.0, *fault.doses) if doses is None else doses:
        heard = [trial([probe], fault, dose, seed)[probe.name] for seed in listed]
        why = next((h.inapplicable or h.failed for h in heard if h.inapplicable or h.failed), "")
        if why:
            raise AssertionError(f"{probe.name} says nothing of {fault.name}: {why}")
        out[dose] = proportion([h.of(metrics) if metrics else bool(h.alarms) for h in heard])
    return out
