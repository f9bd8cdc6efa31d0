"""The probes about matching and transfer: they find the planted fault and are quiet about its twin."""

from __future__ import annotations

import pytest

from muroan import registry
from muroan.auditing.observe import observe_all
from muroan.checks.alarms import alarms
from muroan.errors import AskedWrongly, NotApplicable
from muroan.organisms.pairs import MODALITIES, PAIRED, model, world
from muroan.registry import organism
from muroan.robustness.adversarial.matching import Matching
from muroan.robustness.adversarial.transfer import Transfer

FAST = Matching(limit=80)


def surrogate():
    """What somebody else trained on the same world."""
    return model(2.0)


HERE = f"torch:{__name__}:surrogate"


def test_matching_finds_the_fragile_pairs_and_not_their_twin():
    fault = organism("robustness.fragile-match")
    heard = alarms(FAST, lambda seed: fault.world(fault.matters, seed), [0])[0]
    assert "robustness.matching/success[condition=one after another]" in heard
    assert "robustness.matching/excess[condition=sets]" in heard
    assert alarms(FAST, PAIRED.world, [0, 1]) == [[], []]


def test_matching_says_which_input_gave_way():
    evidence, _ = observe_all([FAST], *world(2, model(1.5)))
    found = {f.key: f for f in FAST.conclude(evidence[FAST.name]).findings}
    picture = found["robustness.matching/success[condition=image alone]"].estimate
    words = found["robustness.matching/success[condition=text alone]"].estimate
    assert picture.low > 0.5
    assert words.value == 0
    # Moved away from its own code alone, a picture may stay near its caption; moved away from both, it does not.
    assert found["robustness.matching/interaction[condition=one after another]"].estimate.low > 0


def test_matching_is_not_asked_of_a_model_without_pairs():
    towers, splits = organism("robustness.frail-tower-digits").world(0.0, 0)
    assert "asks about pairs" in FAST.applies(towers, splits.audited.schema)


def test_transfer_is_not_asked_without_a_surrogate():
    fragile, splits = world(0, model(1.5))
    assert Transfer().applies(fragile, splits.audited.schema) == "name a surrogate: surrogate=REF"
    with pytest.raises(AskedWrongly, match="unknown model"):
        observe_all([Transfer(surrogate="nothing")], fragile, splits)
    with pytest.raises(NotApplicable, match="the surrogate reads image, question"):
        observe_all([Transfer(surrogate="easy-vqa")], fragile, splits)


def test_transfer_alarms_where_the_fault_is_shared():
    probe = Transfer(surrogate=HERE, limit=60)
    shared, apart = (alarms(probe, lambda seed, d=d: world(seed, model(d)), [0])[0] for d in (1.5, 0.0))
    assert shared == ["robustness.transfer/transfer", "robustness.transfer/excess"]
    assert apart == []


def test_transfer_takes_any_attack_by_name():
    probe = Transfer(surrogate=HERE, attack="pgd", steps=5, limit=40)
    evidence, quarantined = observe_all([probe], *world(0, model(1.5)))
    assert not quarantined
    assert {"transfer", "white_box", "excess"} <= {f.metric for f in probe.conclude(evidence[probe.name]).findings}


def test_both_are_registered():
    assert {"robustness.matching", "robustness.transfer"} <= set(registry.methods("probes"))
    assert {"co_attack", "sga", "attack_vlm", "m_attack"} <= set(registry.methods("attacks"))
    assert set(MODALITIES) == {"image", "text"}
