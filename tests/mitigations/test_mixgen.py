"""MixGen and RobustMixGen: the golden case (G17), pixels inside and outside a box, partners, boxes, captions."""

from __future__ import annotations

import pytest
import torch

from muroan.checks.bed import planted, planted_pairs
from muroan.checks.trainable import TrainableNet, trainable_pairs
from muroan.errors import AskedWrongly
from muroan.losses import alignment, info_nce, pair_codes
from muroan.mitigations import robust_mixgen
from muroan.mitigations.mixgen import MixGen, cut_short, mixed, whole
from muroan.mitigations.robust_mixgen import (
    BACKGROUND,
    CONJUNCTIONS,
    OBJECT,
    UNUSABLE,
    RobustMixGen,
    border_boxes,
    categories,
    conjoined,
    cut_mixup,
)
from muroan.training import Trainer


def drawn(n=8, side=6, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


TEXTS = [f"text {i}." for i in range(8)]


# MixGen.


def test_the_first_rows_are_joined_with_the_next_and_the_others_are_the_same_bits():
    x = drawn()
    shown, said = mixed(x, TEXTS, 2, 0.5)
    assert torch.allclose(shown[:2], 0.5 * x[:2] + 0.5 * x[2:4])
    assert torch.equal(shown[2:], x[2:])
    assert said == ["text 0. text 2.", "text 1. text 3.", *TEXTS[2:]]
    assert float(shown.min()) >= 0
    assert float(shown.max()) <= 1


def test_a_share_of_one_is_the_identity_on_pictures():
    x = drawn()
    assert torch.equal(mixed(x, TEXTS, 2, 1.0)[0], x)
    assert torch.allclose(mixed(x, TEXTS, 2, 0.25)[0][0], 0.25 * x[0] + 0.75 * x[2])


def test_partners_are_never_beyond_the_batch():
    for n in range(6):
        x = drawn(n)
        shown, said = mixed(x, TEXTS[:n], 4)
        assert (len(shown), len(said)) == (n, n)
        assert torch.equal(shown[n // 2 :], x[n // 2 :])
    assert mixed(drawn(1), ["alone"], 4)[1] == ["alone"]


def test_training_lowers_the_loss_of_untouched_pairs():
    model, splits = trainable_pairs(), planted_pairs()
    batch = splits.audited.load(range(60)).batch
    before = float(alignment(model, batch).detach())
    done = MixGen(epochs=4, batch=40, rate=0.01).apply(model, splits, Trainer())
    assert float(alignment(done.model, batch).detach()) < before


def test_without_a_joined_part_it_is_plain_training(monkeypatch):
    plain, none = trainable_pairs(), trainable_pairs()
    settings = {"epochs": 2, "batch": 40, "rate": 0.01}
    MixGen(part=0.0, **settings).apply(none, planted_pairs(), Trainer())
    monkeypatch.setattr(MixGen, "mixing", lambda *_: ((lambda batch: batch), ()))
    MixGen(**settings).apply(plain, planted_pairs(), Trainer())
    assert plain.fingerprint() == none.fingerprint()


def test_pairs_without_a_side_do_not_train():
    batch = planted_pairs().audited.load(range(6)).batch
    less = batch.without("text")
    assert len(whole(less)) == 0
    assert len(whole(batch)) == 6
    assert torch.allclose(alignment(trainable_pairs(), batch), info_nce(*pair_codes(trainable_pairs(), batch), 10.0))


def test_joined_captions_that_are_cut_off_are_reported(monkeypatch):
    model, data = trainable_pairs(), planted_pairs().members
    assert cut_short(model, data, "text") == ()
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda m, texts: embed(m, [" ".join(t.split()[:9]) for t in texts]))
    assert "cut off" in cut_short(model, data, "text")[0]


def test_it_wants_pairs_of_picture_and_text():
    assert "pairs" in MixGen().applies(TrainableNet(), planted().audited.schema)
    assert "classes of their own" in MixGen().applies(trainable_pairs(), planted().audited.schema)
    assert MixGen().applies(trainable_pairs(), planted_pairs().audited.schema) is None
    with pytest.raises(AskedWrongly):
        MixGen(part=0.75)


# RobustMixGen.


def test_inside_the_box_nothing_is_mixed_and_outside_it_is_as_stated():
    objects, grounds = drawn(2), drawn(2, seed=1)
    boxes = torch.tensor([[1, 2, 3, 2], [0, 0, 6, 1]])
    out = cut_mixup(objects, grounds, boxes, 0.3)
    assert torch.equal(out[0, :, 1:4, 2:4], objects[0, :, 1:4, 2:4])
    assert torch.equal(out[1, :, :, :1], objects[1, :, :, :1])
    mixture = 0.7 * objects + 0.3 * grounds
    assert torch.allclose(out[0, :, 0], mixture[0, :, 0])
    assert torch.allclose(out[0, :, :, 4:], mixture[0, :, :, 4:])
    assert torch.allclose(out[1, :, :, 1:], mixture[1, :, :, 1:])


def test_a_box_is_what_differs_from_the_border():
    x = torch.full((4, 3, 10, 12), 0.9)
    x[0, :, 2:5, 3:9] = 0.1
    x[1, 1, 9, 11] = 0.2  # one pixel at the edge
    x[3] = drawn(1, 12)[0, :, :10]  # a scene: its border has no colour of its own
    assert border_boxes(x).tolist() == [[2, 3, 3, 6], [9, 11, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_what_a_picture_is_depends_on_the_share_that_its_box_covers():
    boxes = torch.tensor([[0, 0, 5, 2], [0, 0, 3, 3], [0, 0, 0, 0], [0, 0, 10, 9], [0, 0, 10, 8]])
    found = categories(boxes, (10, 10), 0.1, 0.8)
    assert found.tolist() == [OBJECT, BACKGROUND, BACKGROUND, UNUSABLE, OBJECT]


def test_captions_are_joined_by_a_conjunction_without_the_full_stop_between():
    assert conjoined("a meadow. ", "two cows.", "as well as") == "a meadow as well as two cows."
    assert len(set(CONJUNCTIONS)) == 13


def test_objects_are_mixed_with_backgrounds_alone():
    splits = planted_pairs()
    batch = splits.members.load(range(60)).batch
    numbered = batch.with_inputs(
        image=torch.linspace(0, 1, 60).view(60, 1, 1, 1).expand(60, 3, 16, 16), text=[f"{i}." for i in range(60)]
    )
    boxes = torch.zeros(60, 4, dtype=torch.long)
    boxes[:30] = torch.tensor([4, 4, 8, 8])
    boxes[30:35] = torch.tensor([0, 0, 16, 16])
    torch.manual_seed(0)
    out = RobustMixGen(most=0.9, probability=0.8, ground=0.25).mixed(numbered, "image", "text", boxes)
    x, before = out.inputs["image"], numbered.inputs["image"]
    changed = [i for i, t in enumerate(out.inputs["text"]) if t != f"{i}."]
    assert 30 < len(changed) < 55
    assert not set(changed) & set(range(30, 35))
    assert {i < 30 for i in changed} == {True, False}
    for i, text in enumerate(out.inputs["text"]):
        if i not in changed:
            assert torch.equal(x[i], before[i])
            continue
        scene, _, rest = text.partition(" ")
        thing = rest.split()[-1]
        scene, thing = int(scene), int(thing.rstrip("."))
        assert scene >= 35
        assert thing < 30
        assert i in (scene, thing)
        assert torch.equal(x[i, :, 4:12, 4:12], before[thing, :, 4:12, 4:12])
        assert torch.allclose(x[i, :, 0], 0.75 * before[thing, :, 0] + 0.25 * before[scene, :, 0])


def halves(pictures, ids):
    """Every second sample, by its number, has a box."""
    return torch.tensor([[0, 0, 8, 8] if int(i.split("-")[-1]) % 2 else [0] * 4 for i in ids])


def test_boxes_come_from_a_function_of_the_users_and_shares_are_reported(monkeypatch):
    monkeypatch.setattr(robust_mixgen, "open_function", {"python:mine:halves": halves}.__getitem__)
    done = RobustMixGen(boxes="python:mine:halves", epochs=1).apply(trainable_pairs(), planted_pairs(), Trainer())
    assert "object " in done.notes[1]
    assert "python:mine:halves" in done.notes[1]
    assert not any("nothing was mixed" in note for note in done.notes)
    monkeypatch.setattr(robust_mixgen, "open_function", lambda ref: lambda pictures, ids: torch.zeros(len(ids), 2))
    with pytest.raises(AskedWrongly, match="boxes of shape"):
        RobustMixGen(boxes="python:mine:wrong", epochs=1).apply(trainable_pairs(), planted_pairs(), Trainer())


def test_where_there_is_no_object_it_says_that_nothing_was_mixed():
    done = RobustMixGen(epochs=1).apply(trainable_pairs(), planted_pairs(), Trainer())
    assert "no object, so nothing was mixed" in done.notes[-1]
