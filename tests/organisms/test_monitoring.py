"""The organisms of monitoring have the fault that they say, in the dose that they say, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from muroan.batch import Batch
from muroan.meter import Metered
from muroan.organisms import clinic
from muroan.organisms.confidence import ByGroup, FillsIn, Overconfident, Underconfident, confidence, opposite
from muroan.organisms.slices import FailsOnOldOfOneSite, FailsWhereTwoMeet
from muroan.registry import methods, organism
from muroan.selftest.trial import trial

N = 4000


def whole(data) -> Batch:
    return data.load(range(len(data))).batch


@pytest.fixture(scope="module")
def audited() -> Batch:
    return whole(clinic.patients("audited", 0, N).dataset())


def logits(model, batch, *missing):
    metered = Metered(model, batch.modalities)
    inputs = {
        m: batch.modalities[m].neutral(batch.inputs[m]) if m in missing else batch.inputs[m] for m in model.modalities
    }
    return metered.of(Batch(**{**vars(batch), "inputs": inputs})).double()


def overconfidence(z, batch) -> torch.Tensor:
    """Confidence less accuracy, sample by sample."""
    return z.softmax(dim=1).amax(dim=1) - (z.argmax(dim=1) == batch.targets).double()


def wrong(model, batch) -> np.ndarray:
    return (logits(model, batch).argmax(dim=1) != batch.targets).numpy()


@pytest.mark.parametrize(
    "model", [Overconfident, Underconfident, FillsIn, ByGroup, FailsOnOldOfOneSite, FailsWhereTwoMeet]
)
def test_without_a_dose_the_model_is_the_exact_one(model, audited):
    torch.testing.assert_close(logits(model(0.0), audited), logits(clinic.Clinician(), audited), rtol=0, atol=1e-5)


def test_too_sure_and_too_modest_by_what_the_exact_model_says(audited):
    z = logits(clinic.Clinician(), audited)
    torch.testing.assert_close(logits(Overconfident(1.0), audited), 2 * z)
    torch.testing.assert_close(logits(Underconfident(1.0), audited), z / 2)
    # The sum over all that inputs may tell: 97.6 % and 80.7 % sure, 92.48 % right.
    assert confidence(1.0) == pytest.approx(0.9248, abs=1e-6)
    for model, expected in ((Overconfident(1.0), 0.0513), (Underconfident(1.0), -0.1179)):
        assert float(overconfidence(logits(model, audited), audited).mean()) == pytest.approx(expected, abs=0.012)


def test_a_missing_input_costs_accuracy_and_no_confidence(audited):
    exact, fills = clinic.Clinician(), FillsIn(1.0)
    assert abs(float(overconfidence(logits(fills, audited), audited).mean())) < 0.012
    assert abs(float(overconfidence(logits(exact, audited, "scan"), audited).mean())) < 0.015
    without = logits(fills, audited, "scan")
    assert float(overconfidence(without, audited).mean()) > 0.07
    # It is the same answer, believed as if the scan had been seen.
    assert torch.equal(without.argmax(dim=1), logits(exact, audited, "scan").argmax(dim=1))
    full = logits(fills, audited).softmax(dim=1).amax(dim=1).mean()
    assert float(without.softmax(dim=1).amax(dim=1).mean()) == pytest.approx(float(full), abs=0.02)


def test_one_sex_is_too_sure_and_the_other_makes_up_for_it(audited):
    gap = overconfidence(logits(ByGroup(1.0), audited), audited)
    women = torch.tensor([s == "female" for s in audited.groups["sex"]])
    assert confidence(2.0) + confidence(opposite(2.0)) == pytest.approx(2 * confidence(1.0))
    assert float(gap.mean()) == pytest.approx(0, abs=0.012)
    assert float(gap[women].mean()) == pytest.approx(0.051, abs=0.017)
    assert float(gap[~women].mean()) == pytest.approx(-0.051, abs=0.017)


def test_the_leaked_part_of_the_reference_is_known_by_heart_and_nothing_else_is():
    model, splits = organism("monitoring.leaking-conformal-split").plant(0.25, 0)
    exact = clinic.Clinician()
    reference, audited = whole(splits.reference), whole(splits.audited)
    known = logits(model, reference).softmax(dim=1)
    own = known[torch.arange(len(known)), reference.targets]
    leaked = ((logits(model, reference) - logits(exact, reference)).abs() > 1e-3).any(dim=1)
    assert float(leaked.float().mean()) == pytest.approx(0.25, abs=0.05)
    assert float(own[leaked].min()) > 0.9
    for batch, rows in ((reference, ~leaked), (audited, torch.ones(len(audited), dtype=torch.bool))):
        torch.testing.assert_close(logits(model, batch)[rows], logits(exact, batch)[rows])


def test_the_slice_fails_in_its_dose_and_nobody_else_does(audited):
    before, after = wrong(clinic.Clinician(), audited), wrong(FailsOnOldOfOneSite(0.4), audited)
    inside = (np.array(audited.groups["site"]) == "north") & (np.array(audited.groups["age"]) == "65 and over")
    assert inside.mean() == pytest.approx(1 / 9, abs=0.02)
    assert (before[~inside] == after[~inside]).all()
    # Of the 40 % turned round nearly all become wrong, and few of those that were wrong become right.
    assert (after[inside].mean() - before[inside].mean()) == pytest.approx(0.4 * 0.9, abs=0.06)


def test_it_takes_both_the_scan_and_the_word_to_fail(audited):
    before, after = wrong(clinic.Clinician(), audited), wrong(FailsWhereTwoMeet(1.0), audited)
    says = logits(clinic.Clinician(), audited, "note", "vitals", "table").argmax(dim=1).numpy() == 0
    word = np.array(["mild" in text.split() for text in audited.inputs["note"]])
    meet = says & word
    assert meet.mean() == pytest.approx(0.344 / 3, abs=0.02)
    assert (before[~meet] == after[~meet]).all()
    assert after[meet].mean() > 0.9
    half = wrong(FailsWhereTwoMeet(0.5), audited)[meet]
    assert 0.45 < half.mean() < 0.75


def test_word_vectors_and_words_give_the_same_code(audited):
    model, notes = FailsWhereTwoMeet(0.5), list(audited.inputs["note"][:50])
    torch.testing.assert_close(model.encode("note", notes), model.encode_embedded("note", model.embed("note", notes)))
    assert model.encode("note", [""]).shape == (1, 4)


def test_labels_are_wrong_at_one_site_for_one_disease_and_inputs_are_untouched():
    _, faulty = organism("monitoring.label-noise").plant(0.4, 0)
    _, twin = clinic.world(0)
    for name in ("audited", "reference", "members"):
        mine, theirs = whole(getattr(faulty, name)), whole(getattr(twin, name))
        assert torch.equal(mine.inputs["scan"], theirs.inputs["scan"])
        changed = (mine.targets != theirs.targets).numpy()
        region = (np.array(theirs.groups["site"]) == "west") & (theirs.targets == 0).numpy()
        assert not changed[~region].any()
        assert changed[region].mean() == pytest.approx(0.4, abs=0.15)
        assert set(mine.targets[torch.from_numpy(changed)].tolist()) == {1}


def test_foreign_scans_are_audited_alone_look_unlike_all_others_and_are_believed():
    _, faulty = organism("monitoring.foreign-inputs").plant(0.2, 0)
    _, twin = clinic.world(0)
    assert torch.equal(whole(faulty.reference).inputs["scan"], whole(twin.reference).inputs["scan"])
    mine, theirs = whole(faulty.audited), whole(twin.audited)
    foreign = (mine.inputs["scan"] != theirs.inputs["scan"]).flatten(1).any(dim=1)
    assert float(foreign.double().mean()) == pytest.approx(0.2, abs=0.05)
    assert mine.inputs["note"] == theirs.inputs["note"]
    assert torch.equal(mine.targets, theirs.targets)
    roughness = mine.inputs["scan"].diff(dim=3).abs().mean(dim=(1, 2, 3))
    assert float(roughness[foreign].min()) > float(roughness[~foreign].max())
    z = logits(clinic.Clinician(), mine, "note", "vitals", "table")
    sure = z.softmax(dim=1).amax(dim=1)
    assert float(sure[foreign].min()) == pytest.approx(float(sure[~foreign].min()), abs=0.01)
    right = (z.argmax(dim=1) == mine.targets)[foreign].double().mean()
    assert float(right) == pytest.approx(1 / 3, abs=0.12)


MONITORING = {n: p for n, p in methods("probes").items() if n.startswith("monitoring.")}
ORGANISMS = methods("organisms")
FOUND = [(n, o) for n, p in MONITORING.items() for o in p.finds if o in ORGANISMS and ORGANISMS[o].bed is clinic.CLINIC]


@pytest.mark.parametrize(("probe", "fault"), FOUND)
def test_a_probe_finds_the_blatant_fault_and_says_which(probe, fault):
    subject, planted = MONITORING[probe](), organism(fault)
    heard = trial([subject], planted, planted.doses[-1], 0)[probe]
    assert heard.of(subject.finds[fault]), heard
    assert not trial([subject], planted, 0.0, 0)[probe].alarms
