"""The example plugin, found through its entry point and held to the contracts; a broken one breaks nothing."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

from muroan import checks, registry

names = {e.name for e in entry_points(group=registry.GROUP)}
pytestmark = pytest.mark.skipif("brightness" not in names, reason="examples/plugin is not installed: run `make test`")


def plugin():
    return registry.probe("robustness.brightness")()


def test_it_is_found_by_its_entry_point_and_listed():
    assert "robustness.brightness" in registry.methods("probes")
    assert type(plugin()).__module__ == "muroan_brightness"


def contract():
    change = registry.methods("interventions")["brightness_shift"]()
    return {c.name: c for thing in (plugin(), change) for c in checks.of(thing)}


@pytest.mark.parametrize("name", contract() if "brightness" in names else [])
def test_contract(name):
    contract()[name]()


def test_a_plugin_that_fails_to_import_warns_and_breaks_nothing(monkeypatch, tmp_path):
    (tmp_path / "broken_plugin.py").write_text("raise OSError('no such device')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("broken", "broken_plugin", registry.GROUP)])
    registry.load.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="plugin 'broken' could not be loaded: no such device"):
            known = registry.methods("probes")
        assert "controllability.fairness" in known
    finally:
        sys.modules.pop("broken_plugin", None)
        registry.load.cache_clear()
