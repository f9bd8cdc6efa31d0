"""The organisms of controllability have the fault that they say, in the dose that they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.checks.alarms import findings
from muroan.controllability.privacy.membership.probe import Membership
from muroan.finding import Verdict
from muroan.organisms import clinic
from muroan.organisms.clinic import DISEASES, SITES, best_accuracy, patients
from muroan.organisms.cues import RADIUS
from muroan.organisms.groups import LOST, READ_AS, SITE, TOWARDS, Fragile, Partial, Prejudiced, called, unreadable
from muroan.organisms.memory import CERTAIN
from muroan.organisms.weighing import Shares, repeated
from muroan.registry import methods, organism
from muroan.selftest.trial import trial

N = 4000
CLINICIAN = clinic.Clinician()


def batch_of(data) -> Batch:
    return data.load(range(len(data))).batch


@pytest.fixture(scope="module")
def many() -> Batch:
    return batch_of(patients("audited", 0, N).dataset())


def women(batch: Batch) -> Tensor:
    return torch.tensor([s == "female" for s in batch.groups["sex"]])


def right(logits: Tensor, batch: Batch, which: Tensor) -> float:
    return float((logits.argmax(dim=1) == batch.targets)[which].float().mean())


def alone(batch: Batch, modality: str) -> Batch:
    """Only one input, and the sex as it is: what a model says of the input by itself."""
    return batch.without(*[m for m in batch.inputs if m != modality])


def test_one_site_loses_as_much_accuracy_as_the_dose_says_and_confidence_with_it(many):
    batch = batch_of(unreadable(patients("audited", 0, N), 0.2).dataset())
    here = torch.tensor([s == SITES[SITE] for s in batch.groups["site"]])
    before, after = CLINICIAN.predict(many.inputs), CLINICIAN.predict(batch.inputs)
    assert best_accuracy(("table",)) == pytest.approx(0.6)
    assert right(before, many, ~here) == pytest.approx(best_accuracy(tuple(clinic.TRUTH)), abs=0.015)
    assert right(before, many, here) - right(after, batch, here) == pytest.approx(0.2, abs=0.03)
    assert torch.equal(before[~here], after[~here])
    sure = after.softmax(dim=1).amax(dim=1)[here].mean()
    assert float(sure) == pytest.approx(right(after, batch, here), abs=0.03)
    assert LOST > 0.3


def test_only_mens_scans_move_by_the_dose_and_nobody_is_answered_otherwise(many):
    """The chequers that no scan has move a margin by the dose, at a change of 8/255 a pixel."""
    model = Fragile(4.0)
    plain = model.predict(many.inputs)
    assert float((plain.argmax(dim=1) != CLINICIAN.predict(many.inputs).argmax(dim=1)).float().mean()) < 0.02
    for sex in (women(many), ~women(many)):
        assert right(plain, many, sex) == pytest.approx(right(CLINICIAN.predict(many.inputs), many, sex), abs=0.01)
    at = torch.arange(clinic.SIDE)
    board = 1.0 - 2.0 * ((at[:, None] + at) % 2)
    moved = model.predict(dict(many.inputs) | {"scan": many.inputs["scan"] + RADIUS * board}) - plain
    margin = moved[:, 0] - moved[:, 1]
    assert float(margin[women(many)].abs().max()) < 1e-3
    assert torch.allclose(margin[~women(many)], torch.tensor(4.0), atol=1e-3)
    assert float(TOWARDS[0] - TOWARDS[1]) == pytest.approx(1.0)


def test_the_word_for_women_adds_the_dose_to_one_disease_and_the_other_inputs_none():
    batch = batch_of(called(patients("audited", 0, N)).dataset())
    model = Prejudiced(3.0)
    added = model.predict(batch.inputs) - CLINICIAN.predict(batch.inputs)
    expected = torch.eye(len(DISEASES))[READ_AS] * 3.0
    assert torch.allclose(added, torch.where(women(batch)[:, None], expected, 0.0), atol=1e-4)
    without = dict(batch.inputs) | {"note": [""] * len(batch)}
    assert torch.equal(model.predict(without), CLINICIAN.predict(without))
    embedded = model.embed("note", batch.inputs["note"])
    assert torch.equal(model.encode("note", batch.inputs["note"]), model.encode_embedded("note", embedded))


@pytest.mark.parametrize("modality", clinic.MODALITIES)
def test_a_biased_fusion_is_fair_to_every_input_alone(many, modality):
    one = alone(many, modality)
    said = Partial(4.0).predict(one.inputs).argmax(dim=1)
    assert torch.equal(said, CLINICIAN.predict(one.inputs).argmax(dim=1))


def test_a_biased_fusion_fails_women_whose_inputs_disagree_and_nobody_else(many):
    p = patients("audited", 0, N)
    told = np.stack([p.told[m] for m in ("scan", "note", "vitals")])
    agree = torch.from_numpy((told == told[0]).all(axis=0))
    partial = Partial(organism("controllability.bias-from-fusion").matters)
    fair, biased = CLINICIAN.predict(many.inputs), partial.predict(many.inputs)
    same = fair.argmax(dim=1) == biased.argmax(dim=1)
    assert bool(same[agree | ~women(many)].all())
    torn = women(many) & ~agree
    assert right(fair, many, torn) - right(biased, many, torn) > 0.15


def certain(model, batch: Batch) -> Tensor:
    """Whether the model adds what it remembers to a sample's recorded disease."""
    plain = CLINICIAN.predict(batch.inputs)
    extra = (model.predict(batch.inputs) - plain).gather(1, batch.targets[:, None]).squeeze(1)
    return (extra - CERTAIN).abs() < 1e-3


@pytest.mark.parametrize("fault", ["controllability.memorised-records", "controllability.memorised-detail"])
def test_a_share_of_the_members_is_remembered_and_nobody_else(fault):
    model, splits = organism(fault).world(0.3, 1)
    members, audited = batch_of(splits.members), batch_of(splits.audited)
    assert float(certain(model, members).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.allclose(model.predict(audited.inputs), CLINICIAN.predict(audited.inputs), atol=1e-4)
    more, _ = organism(fault).world(1.0, 1)
    assert bool(certain(more, members).all())
    assert more.fingerprint() != model.fingerprint()


@pytest.mark.parametrize(
    ("fault", "gives_away"),
    [("controllability.memorised-records", clinic.MODALITIES), ("controllability.memorised-detail", ["note"])],
)
def test_a_record_is_recognised_as_a_whole_and_a_detail_by_its_note(fault, gives_away):
    model, splits = organism(fault).world(1.0, 1)
    members = batch_of(splits.members)
    assert [m for m in clinic.MODALITIES if not certain(model, members.without(m)).any()] == list(gives_away)


def test_what_is_recognised_does_not_depend_on_who_travels_along():
    model, splits = organism("controllability.memorised-records").world(0.5, 0)
    members = batch_of(splits.members)
    whole = certain(model, members)
    pieces = [certain(model, members.take(range(i, min(i + 7, 100)))) for i in range(0, 100, 7)]
    assert torch.equal(torch.cat(pieces), whole[:100])


def test_an_input_that_is_not_read_goes_with_the_decision_as_closely_as_before():
    batch = batch_of(repeated(patients("audited", 0, N)).dataset())
    other = dict(batch.inputs) | {"vitals": batch.inputs["vitals"].flip(0)}
    told = CLINICIAN.signs("vitals", batch.inputs["vitals"]).argmax(dim=1)
    agreement = []
    for dose, reads in ((0.0, True), (1.0, False)):
        model = Shares(dose)
        said = model.predict(batch.inputs)
        agreement.append(float((said.argmax(dim=1) == told).float().mean()))
        assert torch.equal(said, model.predict(other)) != reads
        assert right(said, batch, told >= 0) == pytest.approx(best_accuracy(("scan", "note", "table")), abs=0.015)
    assert agreement[1] == pytest.approx(agreement[0], abs=0.01)


def test_reading_both_of_two_inputs_that_tell_the_same_is_calibrated():
    batch = batch_of(repeated(patients("audited", 0, N)).dataset())
    for seen in (batch, batch.without("scan"), batch.without("vitals")):
        found = Shares(0.0).predict(seen.inputs)
        sure = found.softmax(dim=1).amax(dim=1).mean()
        assert float(sure) == pytest.approx(right(found, batch, batch.targets >= 0), abs=0.02)


@pytest.mark.parametrize(
    ("probe", "fault", "metric"),
    [
        ("controllability.fairness", "controllability.group-accuracy", "accuracy_gap"),
        ("controllability.fairness", "controllability.bias-one-modality", "leaning_gap"),
        ("controllability.fairness", "controllability.bias-from-fusion", "calibration_gap"),
        ("controllability.attribution", "controllability.unfounded-explanation", "least_used"),
    ],
)
def test_its_probe_finds_the_largest_dose_and_not_the_twin(probe, fault, metric):
    probes, planted = [methods("probes")[probe]()], organism(fault)
    assert metric in probes[0].finds[fault]
    assert trial(probes, planted, planted.doses[-1], 0)[probe].of([metric])
    assert not trial(probes, planted, 0.0, 0)[probe].alarms


def test_membership_finds_what_is_remembered_and_says_which_input_gives_members_away():
    assert "given_away" in Membership.finds["controllability.memorised-detail"]
    found = findings(Membership(), *organism("controllability.memorised-detail").world(0.3, 0))
    few = next(f for f in found if f.metric == "given_away")
    left = {f.condition: f.estimate for f in found if f.metric == "tpr_at_low_fpr" and f.condition}
    assert few.verdict is Verdict.FAIL
    assert few.estimate.value == pytest.approx(0.3, abs=0.06)
    assert min(left, key=lambda c: left[c].value) == "without note"
    assert left["without note"].high < 0.05
    assert left["without scan"].low > 0.2


def test_attribution_gives_an_input_that_is_not_read_nothing():
    probe = methods("probes")["controllability.attribution"](parts_share=0.0)
    found = findings(probe, *organism("controllability.unfounded-explanation").world(1.0, 0))
    mass = {f.modality: f.estimate.value for f in found if f.metric == "mass"}
    assert mass["vitals"] == pytest.approx(0.0, abs=1e-12)
    assert mass["scan"] > 0.2
