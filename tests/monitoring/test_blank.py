"""A model that was shown nothing: how sure may it be?"""

from __future__ import annotations

import pytest
import torch

from muroan.auditing.observe import observe_all
from muroan.finding import Verdict
from muroan.model import TorchModel
from muroan.monitoring.reliability.blank import Blank
from muroan.organisms.clinic import CLINIC
from muroan.selftest.trial import findings

PROBE = Blank()


def said(model, splits):
    evidence, quarantined = observe_all([PROBE], model, splits)
    assert not quarantined
    return {f.metric: f for f in findings(PROBE, evidence[PROBE.name]) if f.group is None}, evidence[PROBE.name]


def constant(logits):
    """A model of the clinic's inputs that answers the same whatever it sees."""
    encoders = {m: lambda values: torch.zeros(len(values), 1) for m in ("scan", "note", "table")}
    answer = torch.tensor(logits)
    return encoders, lambda codes: next(iter(codes.values())), lambda fused: answer.expand(len(fused), -1)


def test_bayes_rule_is_as_sure_as_its_guess_is_frequent():
    unfounded = said(*CLINIC.world(0))[0]["unfounded"]
    assert unfounded.estimate.low < 0 < unfounded.estimate.high
    assert unfounded.verdict is Verdict.PASS


def test_a_model_that_is_sure_of_nothing_has_its_confidence_less_what_its_guess_is_worth():
    model, splits = CLINIC.world(0)
    logits = [0.0] * len(model.classes)
    logits[1] = 20.0
    encoders, fuse, head = constant(logits)
    encoders = dict.fromkeys(model.modalities, encoders["scan"])
    sure = TorchModel(encoders=encoders, fusion=fuse, head=head, classes=model.classes, name="sure of nothing")
    by_metric, evidence = said(sure, splits)
    frequent = (evidence.of(condition="nothing")["target"] == 1).mean()
    assert by_metric["unfounded"].estimate.value == pytest.approx(1 - frequent, abs=1e-6)
    assert by_metric["unfounded"].verdict is Verdict.FAIL
    assert by_metric["confidence"].estimate.value == pytest.approx(1.0)
    assert (evidence.of(condition="nothing")["same"] == 1).all()  # inputs never mattered


def test_all_inputs_are_the_control():
    by_metric, evidence = said(*CLINIC.world(0))
    rows = evidence.of(condition="clean")
    control = by_metric["unfounded"].controls["with all inputs"]
    assert control.value == pytest.approx((rows["confidence"] - rows["right"]).mean())
    assert (rows["same"] == 1).all()
