"""Conformance checks: does a probe, intervention, attack, mitigation, ..., model or data set keep its promises?

Muroan runs these on everything registered; run them on your own:

    import pytest
    from muroan import checks

    @pytest.mark.parametrize("check", checks.of(MyProbe()), ids=str)
    def test_contract(check):
        check()

A check raises `AssertionError` saying which promise is broken. What a probe is worth is measured on planted faults:

    curve = checks.power(MyProbe(), organism, seeds=range(16))     # dose -> share of worlds with an alarm
    assert curve[organism.matters].value >= 0.8
    assert checks.false_alarms(MyProbe(), organism.bed.world, range(40)).value <= 0.05

The faults that ship are `muroan.registry.methods("organisms")`; one of your own is declared by `muroan.plant`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from muroan.checks.alarms import alarms_on, false_alarms, power
from muroan.checks.bed import PlantedModel, planted

__all__ = ["Check", "PlantedModel", "alarms_on", "false_alarms", "of", "planted", "power"]


@dataclass(frozen=True)
class Check:
    """One promise of one thing; call it to test it."""

    name: str
    subject: Any
    test: Callable[[Any], None]

    def __call__(self) -> None:
        self.test(self.subject)

    def __str__(self) -> str:
        return f"{getattr(self.subject, 'name', type(self.subject).__name__)}-{self.name}"


def of(subject: Any) -> list[Check]:
    """All checks that apply to a probe, intervention, attack, explainer, mitigation, organism, model or data set."""
    from muroan.attack import Attack
    from muroan.checks import attacks, datasets, explainers, interventions, mitigations, models, organisms, probes
    from muroan.dataset import Dataset
    from muroan.explainer import Explainer
    from muroan.intervention import Intervention
    from muroan.mitigation import Mitigation
    from muroan.model import Model
    from muroan.organism import Organism
    from muroan.probe import Probe

    for kind, module in (
        (Probe, probes),
        (Intervention, interventions),
        (Attack, attacks),
        (Explainer, explainers),
        (Mitigation, mitigations),
        (Organism, organisms),
        (Model, models),
        (Dataset, datasets),
    ):
        if isinstance(subject, kind):
            return [Check(test.__name__, subject, test) for test in _promises(module)]
    known = "probe, intervention, attack, explainer, mitigation, organism, model or data set"
    raise TypeError(f"{type(subject).__name__} is no {known}")


def _promises(module: ModuleType) -> list[Callable[[Any], None]]:
    """The public functions of a module, in its order: each is a promise, and raises where it is broken."""
    own = (f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__)
    return [f for f in own if not f.__name__.startswith("_")]
