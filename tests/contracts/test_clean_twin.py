"""No shipped probe alarms about a model that has nothing of what it looks for (benchmarks/false_alarms.py, small)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from muroan import registry
from muroan.checks.alarms import alarms

spec = importlib.util.spec_from_file_location(
    "false_alarms", Path(__file__).parents[2] / "benchmarks" / "false_alarms.py"
)
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


@pytest.mark.parametrize("name", registry.methods("probes"))
def test_redundant_cues_and_noisy_labels_raise_no_alarm(name):
    """Noise in the labels is no failing slice, and a picture that cannot outvote a text masks no gradient."""
    model = bench.twin()
    found = alarms(registry.probe(name)(), lambda seed: (model, bench.world(seed)), range(3))
    assert found == [[], [], []]
