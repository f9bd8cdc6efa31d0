"""Names and methods: being in a pillar's folder is enough, a name has one owner, a slip is answered."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import muroan.registry as registry
from muroan.attack import Attack
from muroan.errors import AskedWrongly
from muroan.probe import Probe
from muroan.registry import methods, probe, register


@pytest.fixture
def own(monkeypatch):
    """A registry of one's own, filled with what ships."""
    methods("probes")
    monkeypatch.setattr(registry, "_found", {kind: dict(found) for kind, found in registry._found.items()})


def make(name: str, base: type = Probe, qualname: str = "Made") -> type:
    @dataclass(frozen=True, kw_only=True)
    class Made(base):
        pass

    Made.name, Made.__qualname__ = name, qualname
    return Made


def test_every_file_of_a_pillar_is_found():
    for kind, base in registry.KINDS.items():
        found = methods(kind)
        assert found
        assert list(found) == sorted(found)
        for name, method in found.items():
            assert method.name == name
            assert isinstance(method, base) if kind == "organisms" else issubclass(method, base)
    assert {"robustness.gradient", "monitoring.calibration", "controllability.membership"} <= set(methods("probes"))
    assert "pgd" in methods("attacks")


def test_every_probe_stands_in_a_pillar_of_the_taxonomy():
    for name, found in methods("probes").items():
        if not found.__module__.startswith("muroan."):
            continue  # a plugin of this environment
        assert found.place.split("/")[0] in registry.PILLARS
        assert name.split(".")[0] == found.place.split("/")[0]
        assert found.question.endswith("?")


def test_a_registered_method_is_found_under_its_name(own):
    mine = register(make("tests.mine"))
    assert probe("tests.mine") is mine
    attack = register(make("tests-attack", Attack))
    assert methods("attacks")["tests-attack"] is attack
    assert "tests-attack" not in methods("probes")


def test_a_name_has_one_owner_but_a_module_may_be_loaded_again(own):
    register(make("tests.mine"))
    again = register(make("tests.mine"))
    assert probe("tests.mine") is again
    with pytest.raises(ValueError, match="already registered"):
        register(make("tests.mine", qualname="Other"))
    with pytest.raises(ValueError, match="already registered"):
        register(make("monitoring.calibration"))


def test_what_is_no_method_is_refused():
    class Nothing:
        name = "nothing"

    with pytest.raises(TypeError, match="Nothing is none of probes, interventions, attacks, explainers"):
        register(Nothing)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(AskedWrongly, match=r"Did you mean 'monitoring\.calibration'\?"):
        probe("monitoring.calibraton")


def test_settings_come_by_name_and_a_wrong_one_is_answered():
    found = probe("robustness.gradient")
    default = found()
    assert found.configured(default.settings()) == default
    assert found.configured({"limit": 7}).limit == 7
    with pytest.raises(AskedWrongly, match=r"has no setting 'limt'\. Did you mean 'limit'\?"):
        found.configured({"limt": 7})


def test_settings_from_a_file_are_hashable():
    for found in methods("probes").values():
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in found().settings().items()}
        assert hash(found.configured(settings)) == hash(found())
