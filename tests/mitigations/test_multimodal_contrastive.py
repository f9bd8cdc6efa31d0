"""Multimodal contrastive training: its terms on known codes, and that it trains the network alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from muroan.checks.bed import planted
from muroan.data.multiple_features import multiple_features
from muroan.errors import AskedWrongly
from muroan.mitigations.multimodal_contrastive import MultimodalContrastive, by_class, cut_off, info_nce
from muroan.models.digit_views import network
from muroan.training import Trainer

VIEWS = ("fourier", "profiles", "pixels")


def test_pairs_at_right_angles_to_all_others_have_the_loss_of_the_formula():
    e = torch.eye(3)
    loss = info_nce(e, e, torch.tensor([0, 1, 2]), temperature=0.5)
    assert float(loss) == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_items_of_the_same_class_are_no_negatives():
    e = torch.eye(3)
    assert float(info_nce(e, e, torch.tensor([0, 0, 0]), 0.5)) == 0
    one_left = info_nce(e, e, torch.tensor([0, 0, 1]), 0.5)  # rows 0 and 1 have one negative, row 2 has two
    first, last = math.log(1 + math.exp(-2)), math.log(1 + 2 * math.exp(-2))
    assert float(one_left) == pytest.approx((2 * first + last) / 3)


def test_codes_sorted_by_class_have_less_loss_than_shuffled_ones():
    codes = torch.eye(2).repeat_interleave(3, dim=0)
    good, bad = (by_class(codes, torch.tensor(y), 0.2) for y in ([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]))
    assert float(good) < float(bad)
    assert float(by_class(codes, torch.arange(6), 0.2)) == 0  # nobody has a partner


def test_points_are_erased_in_every_kind_of_input():
    batch = planted().audited.load(range(80)).batch
    assert batch is not None
    torch.manual_seed(0)
    picture = cut_off(batch, "image", 0.3)
    erased = (picture != batch.inputs["image"]).any(dim=1).float().mean()
    assert 0.27 < float(erased) < 0.33
    words = sum(len(t.split()) for t in cut_off(batch, "text", 0.3))
    assert 0.6 < words / sum(len(t.split()) for t in batch.inputs["text"]) < 0.8


def test_it_learns_and_is_restored_to_the_bit():
    data = multiple_features(VIEWS)
    batch = data.audited.load(range(200)).batch
    assert batch is not None
    base = network(VIEWS, seed=0)
    done = MultimodalContrastive(epochs=5).apply(copy.deepcopy(base), data, Trainer(), seed=1)
    accuracy = (done.model.predict(batch.inputs).argmax(dim=1) == batch.targets).float().mean()
    assert float(accuracy) > 0.85
    assert set(done.tensors) == set(base.trainable().state_dict())  # no parameter more
    again = MultimodalContrastive().restore(copy.deepcopy(base), done.tensors, done.facts)
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))


def test_wrong_weights_are_refused():
    with pytest.raises(AskedWrongly, match="weights"):
        MultimodalContrastive(unimodal=-1.0)
