"""No probe alarms about the clinic, in which nothing is wrong (`muroan selftest` counts over many more seeds)."""

from __future__ import annotations

import pytest

from muroan import registry
from muroan.organisms.clinic import CLINIC
from muroan.selftest.trial import ask


@pytest.mark.parametrize("name", registry.methods("probes"))
def test_bayes_rule_raises_no_alarm(name):
    heard = ask([registry.probe(name)()], *CLINIC.world(1), seed=1)[name]
    if heard.inapplicable:  # what needs an aligned model, or a surrogate, has beds of its own
        pytest.skip(heard.inapplicable)
    if name == "robustness.consistency" and not heard.judged:
        pytest.skip("no two samples of the clinic ask the same: its twin is in tests/robustness/test_consistency.py")
    assert heard.judged
    assert (heard.alarms, heard.inapplicable, heard.failed) == ((), "", "")
