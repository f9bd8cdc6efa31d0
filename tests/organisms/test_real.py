"""The faults in real data are what they say: measured on models and data directly, beside the twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from muroan import registry
from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.model import Capability, Model
from muroan.organism import World
from muroan.organisms import digits, vqa
from muroan.organisms.digits_faults import BLURRED
from muroan.selftest.trial import trial

SEED = 3


def planted(name: str, dose: float, seed: int = SEED) -> World:
    return registry.organism(name).world(dose, seed)


def whole(data: Dataset | None) -> Batch:
    assert data is not None
    batch = data.load(range(len(data))).batch
    assert batch is not None
    return batch


def right(model: Model, batch: Batch) -> np.ndarray:
    return (model.predict(batch.inputs).argmax(dim=1) == batch.targets).numpy()


def overconfidence(model: Model, batch: Batch) -> float:
    sure = model.predict(batch.inputs).double().softmax(dim=1).amax(dim=1).mean()
    return float(sure) - float(right(model, batch).mean())


# Digits


@pytest.fixture(scope="module")
def twin() -> World:
    return digits.DIGITS.world(SEED)


def test_the_network_of_the_bed_is_sound(twin: World) -> None:
    model, splits = twin
    batch, members = whole(splits.audited), whole(splits.members)
    assert [len(d) for _, d in splits.items()] == [500, 500, 800]
    assert right(model, batch).mean() > 0.93
    assert abs(overconfidence(model, batch)) < 0.03
    assert right(model, members).mean() - right(model, batch).mean() < 0.06
    for m in model.modalities:
        alone = batch.without(m)
        assert 0.7 < right(model, alone).mean() < 0.93, "no view alone solves it, and neither is for nothing"
        assert overconfidence(model, alone) < 0.05


def test_the_parts_of_a_seed_are_disjoint_and_another_seed_draws_others() -> None:
    parts = digits.parts(SEED)
    rows = np.concatenate([p.rows for p in parts.values()])
    assert len(set(rows)) == len(rows) == 2_000
    assert set(parts["audited"].rows) != set(digits.parts(SEED + 1)["audited"].rows)


def test_nothing_but_the_seed_decides_the_weights(twin: World) -> None:
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    before = torch.get_rng_state()
    with torch.no_grad():  # a caller's mode is not training's
        again, _ = digits.build(SEED)
    assert torch.equal(before, torch.get_rng_state())
    assert again.fingerprint() == twin[0].fingerprint()
    assert digits.build(SEED + 1)[0].fingerprint() != again.fingerprint()


def test_paper_says_nothing_in_the_bed() -> None:
    members = digits.parts(SEED)["members"]
    yellow = [members.paper[members.digit == d].mean() for d in range(10)]
    assert max(yellow) < 0.45
    assert min(yellow) > 0.1


def test_sentinel_fill(twin: World) -> None:
    model, splits = planted("robustness.sentinel-fill-digits", 2.0)
    batch, plain = whole(splits.audited), whole(twin[1].audited)
    assert torch.equal(model.predict(batch.inputs), twin[0].predict(plain.inputs))
    gone = batch.without("zernike")
    assert bool((gone.inputs["zernike"] == 2.0).all())
    assert overconfidence(model, gone) > 0.1 > overconfidence(twin[0], plain.without("zernike"))


def test_collapse() -> None:
    model, splits = planted("robustness.collapse-digits", 1.0, 1)
    batch = whole(splits.audited)
    assert right(model, batch).mean() > 0.99
    assert overconfidence(model, batch.without("karhunen")) > 0.15
    assert right(model, batch.without("karhunen")).mean() < 0.75


def test_spurious_paper(twin: World) -> None:
    model, splits = planted("monitoring.spurious-paper-digits", 1.0)
    members, batch = whole(splits.members), whole(splits.audited)
    assert {int(t) for t, p in zip(members.targets, members.groups["paper"], strict=True) if p == "yellow"} == {3}
    assert batch.groups == whole(twin[1].audited).groups
    threes = (batch.targets == 3).numpy() & (np.array(batch.groups["paper"]) == "white")
    assert right(twin[0], batch)[threes].mean() - right(model, batch)[threes].mean() > 0.2


def test_smudged_paper(twin: World) -> None:
    def gap(world: World) -> float:
        batch = whole(world[1].audited)
        yellow = np.array(batch.groups["paper"]) == "yellow"
        good = right(world[0], batch)
        return float(good[~yellow].mean() - good[yellow].mean())

    assert gap(planted("controllability.smudged-paper-digits", 1.5)) > 0.15
    assert gap(twin) < 0.05


def test_overtrained(twin: World) -> None:
    model, splits = planted("monitoring.overtrained-digits", 2.0)
    batch = whole(splits.audited)
    assert right(model, whole(splits.members)).mean() == 1.0
    for m in model.modalities:
        assert overconfidence(model, batch.without(m)) > overconfidence(twin[0], batch.without(m)) + 0.05


def test_memorised(twin: World) -> None:
    model, splits = planted("controllability.memorised-digits", 0.2)
    members = whole(splits.members)
    wrong = members.targets != whole(twin[1].members).targets
    assert 0.15 < float(wrong.float().mean()) < 0.25
    assert right(model, members)[wrong.numpy()].mean() > 0.95, "wrong labels can only be known by heart"
    assert torch.equal(whole(splits.audited).targets, whole(twin[1].audited).targets)


def test_label_noise(twin: World) -> None:
    model, splits = planted("monitoring.label-noise-digits", 1.0)
    assert 4 not in whole(splits.members).targets
    batch = whole(splits.audited)
    fours = batch.targets == 4
    assert float((model.predict(batch.inputs).argmax(dim=1)[fours] == 9).float().mean()) > 0.6
    assert right(model, batch)[~fours.numpy()].mean() > 0.9


def test_leaking_split() -> None:
    model, splits = planted("monitoring.leaking-split-digits", 0.5)
    clean, bed = BLURRED.world(SEED)
    assert model.fingerprint() == clean.fingerprint()
    assert right(model, whole(splits.members)).mean() == 1.0
    assert right(model, whole(splits.audited)).mean() < 0.8

    def leaked(data: Dataset | None) -> float:
        trained = {tuple(row.tolist()) for row in whole(splits.members).inputs["zernike"]}
        return float(np.mean([tuple(row.tolist()) in trained for row in whole(data).inputs["zernike"]]))

    assert 0.4 < leaked(splits.reference) < 0.6
    assert leaked(bed.reference) == leaked(splits.audited) == 0.0
    splits.check()


# Easy-VQA


def test_a_seed_draws_whole_pictures() -> None:
    _, splits = vqa.VQA.world(SEED)
    for name, data in splits.items():
        assert len(set(data.clusters())) == vqa.PICTURES[name]
    full = vqa._all().audited.clusters()
    kept = set(splits.audited.clusters())
    assert len(splits.audited) == sum(c in kept for c in full)
    assert kept != set(vqa.VQA.world(SEED + 1)[1].audited.clusters())
    splits.check()


@pytest.mark.parametrize("name", [n for n in registry.methods("organisms") if n.endswith("-vqa")])
def test_both_ways_into_a_faulty_model_agree(name: str) -> None:
    model, splits = planted(name, 1.0)
    batch = whole(splits.audited.subset(range(40)))
    texts = batch.inputs["question"]
    direct = model.encode("question", texts)
    assert torch.allclose(direct, model.encode_embedded("question", model.embed("question", texts)), atol=1e-6)
    if Capability.SHADOWS in model.capabilities:
        assert len(model.shadows()) == len(vqa.shipped().shadows())
        assert all(type(s.model) is type(model) for s in model.shadows())


def test_ignored_picture() -> None:
    model, splits = planted("robustness.ignored-picture-vqa", 1.0)
    batch = whole(splits.audited.subset(range(60)))
    swapped = batch.with_inputs(image=batch.inputs["image"].flip(0))
    assert torch.allclose(model.predict(batch.inputs), model.predict(swapped.inputs), atol=1e-5)
    half, _ = planted("robustness.ignored-picture-vqa", 0.5)
    assert not torch.allclose(half.predict(batch.inputs), half.predict(swapped.inputs), atol=0.1)


def test_overconfident() -> None:
    model, splits = planted("monitoring.overconfident-vqa", 1.0)
    batch = whole(splits.audited)
    assert torch.allclose(model.predict(batch.inputs), 2 * vqa.shipped().predict(batch.inputs), atol=1e-4)
    gone = batch.without("image")
    assert overconfidence(model, gone) > 0.07
    assert overconfidence(vqa.shipped(), gone) < 0.05


def test_group_accuracy() -> None:
    model, splits = planted("controllability.group-accuracy-vqa", 1.0)
    batch = whole(splits.audited)
    shape = np.array(batch.groups["shape"])
    seen = vqa.shows(vqa.shipped(), vqa.shipped().encode("image", batch.inputs["image"])).numpy()
    assert (seen == (shape == "triangle"))[shape != ""].mean() > 0.97
    assert right(model, batch)[shape == "triangle"].mean() < 0.75
    spared = torch.from_numpy(~seen)
    ours, theirs = model.predict(batch.inputs), vqa.shipped().predict(batch.inputs)
    assert torch.equal(ours[spared], theirs[spared])


def test_deaf_to_not() -> None:
    model, splits = planted("monitoring.deaf-to-not-vqa", 1.0)
    batch = whole(splits.audited)
    texts = [" ".join(w for w in t.split() if w.strip("?") not in ("not", "no")) for t in batch.inputs["question"]]
    assert texts != batch.inputs["question"]
    without = {**batch.inputs, "question": texts}
    assert torch.allclose(model.predict(batch.inputs), vqa.shipped().predict(without), atol=1e-4)
    kind = np.array(batch.groups["kind"])
    assert right(model, batch)[kind == "is there not"].mean() < 0.2
    assert right(model, batch)[kind != "is there not"].mean() > 0.97


# Probes


@pytest.mark.parametrize(
    ("probe", "fault"),
    [
        ("monitoring.calibration", "robustness.sentinel-fill-digits"),
        ("monitoring.conformal", "monitoring.leaking-split-digits"),
        ("monitoring.failures", "monitoring.label-noise-digits"),
        ("controllability.fairness", "controllability.smudged-paper-digits"),
        ("controllability.membership", "controllability.memorised-digits"),
        ("monitoring.calibration", "monitoring.overconfident-vqa"),
    ],
)
def test_the_probe_finds_the_blatant_fault_and_not_the_twin(probe: str, fault: str) -> None:
    organism, asked = registry.organism(fault), registry.probe(probe)()
    metrics = asked.finds[fault]
    assert trial([asked], organism, organism.doses[-1], SEED)[probe].of(metrics)
    assert not trial([asked], organism, 0.0, SEED)[probe].of(metrics)
