"""Robust encoders: the random start matters, the other encoder does not move, shifts fall, saved is the same bits."""

import pytest
import torch
from torch.nn import functional

from muroan.budget import Budget
from muroan.errors import AskedWrongly
from muroan.hardened import Folder
from muroan.mitigations.fare import FARE
from muroan.mitigations.pmg_aft import PMGAFT, kl
from muroan.mitigations.robust_encoder import Tower, worst
from muroan.mitigations.tecoa import TeCoA
from muroan.model import weights_fingerprint
from muroan.organisms import frail_tower
from muroan.training import Trainer

BUDGET = Budget(radius=8 / 255)


def world(dose=30.0):
    return frail_tower.world(0, dose)


def batch_of(splits, n=128):
    return splits.audited.load(range(n)).batch


def tower_of(model, batch):
    return Tower.of(model, "image", batch.inputs["image"][:1])


def test_at_the_sample_itself_the_distance_to_it_has_no_gradient_and_a_random_start_gives_one():
    model, splits = world()
    batch = batch_of(splits)
    climbed, _ = FARE().losses(tower_of(model, batch), batch)
    still = worst(model, batch, "image", BUDGET, climbed, steps=3, seed=None)
    assert still.zero.all()
    assert (still.loss == 0).all()
    moved = worst(model, batch, "image", BUDGET, climbed, steps=3, seed=1)
    assert not moved.zero.any()
    assert (moved.loss > 0).all()
    far = (moved.inputs["image"] - batch.inputs["image"]).abs().max()
    assert far <= BUDGET.radius + 1e-6


def test_a_tower_is_what_its_codes_depend_on_and_can_be_what_it_was():
    model, splits = world()
    batch = batch_of(splits)
    tower = tower_of(model, batch)
    assert {id(p) for p in tower.parameters} == {id(p) for p in model.trainable()["image"].parameters()}
    before = tower.vectors(batch.inputs["image"]).detach()
    assert not torch.allclose(before.norm(dim=1), torch.ones(len(before)))  # not made of length 1
    with torch.no_grad():
        for p in tower.parameters:
            p.add_(1.0)
    after = tower.vectors(batch.inputs["image"]).detach()
    assert not torch.equal(before, after)
    assert torch.equal(tower.vectors_before(batch.inputs["image"]), before)
    assert torch.equal(tower.vectors(batch.inputs["image"]).detach(), after)


@pytest.mark.parametrize("method", [FARE(epochs=3), TeCoA(epochs=3), PMGAFT(epochs=3)], ids=lambda m: m.name)
def test_worst_cases_are_held_and_the_text_encoder_stays_bit_for_bit(method, tmp_path):
    model, splits = world()
    batch = batch_of(splits)
    climbed, _ = method.losses(tower_of(model, batch), batch)
    attacked = worst(model, batch, "image", BUDGET, climbed, steps=10, seed=1).loss.mean()
    text, image = (weights_fingerprint(model.trainable()[m]) for m in ("text", "image"))
    base = world()[0]
    done = method.apply(model, splits, Trainer())
    assert weights_fingerprint(done.model.trainable()["text"]) == text
    assert weights_fingerprint(done.model.trainable()["image"]) != image
    climbed, _ = method.losses(_tower_with_old_target(done.model, base, batch), batch)
    assert worst(done.model, batch, "image", BUDGET, climbed, steps=10, seed=1).loss.mean() < 0.8 * attacked
    folder = Folder(tmp_path, "base", base.fingerprint())
    folder.add(method, done)
    again = Folder.read(tmp_path).restore(base)
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))


def _tower_with_old_target(model, base, batch):
    tower = tower_of(model, batch)
    kept = tuple(p.detach() for p in base.trainable()["image"].parameters())
    return Tower(model, "image", tower.parameters, kept, tower.classes, tower.scale)


def test_pairs_are_trained_against_the_texts_of_their_batch():
    model, splits = world()
    batch = batch_of(splits, 20)
    names = [frail_tower.NAMES[t] for t in batch.targets.tolist()]
    pairs = model.towers.retrieval({"image": batch.inputs["image"], "text": names})
    both = batch.with_inputs(text=names)
    anchors, right = tower_of(pairs, batch).anchors(both)
    assert anchors.shape == (20, frail_tower.CODE)
    assert torch.equal(anchors, pairs.encode("text", names))
    assert right.tolist() == list(range(20))


def test_kl_is_of_the_first_from_the_second():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    wanted = (p * (p / q).log()).sum()
    assert torch.allclose(kl(p.log(), q.log()), wanted)
    assert not torch.allclose(kl(q.log(), p.log()), wanted)
    assert torch.allclose(kl(p.log(), q.log()), functional.kl_div(q.log(), p, reduction="sum"))


def test_what_cannot_be_attacked_is_refused():
    model, splits = world()
    assert "no modality 'sound'" in FARE(modality="sound").applies(model, splits.audited.schema)
    assert FARE().applies(model, splits.audited.schema) is None
    with pytest.raises(AskedWrongly):
        FARE(steps=0)
