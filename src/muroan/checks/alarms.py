"""What a probe is worth: does it alarm where there is a fault, and stay quiet where there is none?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from muroan.auditing.gate import Gate
from muroan.auditing.observe import observe_all
from muroan.dataset import Splits
from muroan.estimate import Estimate, proportion
from muroan.finding import Finding, Verdict, judge
from muroan.model import Model
from muroan.probe import Probe

World = Callable[[int], tuple[Model, Splits]]
"""A seed -> a model and the data to audit it on."""


def findings(probe: Probe, model: Model, splits: Splits, **options: Any) -> list[Finding]:
    """What a probe concludes about a model, judged by its own default limits."""
    evidence, _ = observe_all([probe], model, splits, **options)
    found = probe.conclude(evidence[probe.name]).findings
    return judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))


def alarms(probe: Probe, world: World, seeds: Iterable[int]) -> list[list[str]]:
    """Per seed, the keys of the findings that break a default limit."""
    out = []
    for seed in seeds:
        judged = findings(probe, *world(seed), seed=seed)
        out.append([f.key for f in judged if f.verdict is Verdict.FAIL])
    return out


def alarms_on(probe: Probe, world: World, seeds: Iterable[int]) -> Estimate:
    """Power: the share of seeds on which the probe alarms about a model with a fault."""
    return proportion([bool(keys) for keys in alarms(probe, world, seeds)])


def false_alarms(probe: Probe, twin: World, seeds: Iterable[int]) -> Estimate:
    """The share of seeds on which the probe alarms about a model without the fault; promised: at most 0.05."""
    return alarms_on(probe, twin, seeds)
