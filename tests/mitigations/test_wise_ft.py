"""WiSE-FT: alpha by a rule on held-out members, either end by name, nothing read that is audited."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from muroan import Tabular, TorchModel, registry
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.mitigation import state
from muroan.mitigations.fine_tuning import Bench, fine_tuning
from muroan.mitigations.weight_space import interpolate
from muroan.mitigations.wise_ft import HALF, WiseFT, chosen
from muroan.training import Trainer


def world(n=200, norm=False):
    """Two columns that both tell the class; the second is noise among the members."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (n,), generator=g)
    x = torch.stack([2.0 * y - 1, torch.zeros(n)], dim=1) + torch.randn(n, 2, generator=g) * 0.7
    kinds = {"x": Tabular(columns=("a", "b"))}
    members = InMemory({"x": x}, targets=y, modalities=kinds, classes=("no", "yes"), name="members")
    return Splits(InMemory({"x": x[:2]}, targets=y[:2], modalities=kinds, classes=("no", "yes")), members=members)


def model(seed=0, norm=False, width=6):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width) if norm else nn.Tanh())
    return TorchModel(encoders={"x": body}, fusion=lambda c: c["x"], head=nn.Linear(width, 2), classes=("no", "yes"))


def test_the_smallest_alpha_within_the_margin_is_chosen():
    assert chosen({0.0: 0.2, 0.5: 0.79, 0.8: 0.80, 1.0: 0.80}, 0.01) == 0.5
    assert chosen({0.0: 0.2, 0.5: 0.79, 0.8: 0.80, 1.0: 0.80}, 0.0) == 0.8
    assert chosen({0.0: 0.9, 0.5: 0.5, 1.0: 0.8}, 0.01) == 0.0
    assert chosen({0.0: 0.1, 0.5: 0.5, 1.0: 0.8}, 0.01) == 1.0


def test_it_ends_on_the_line_at_the_alpha_that_the_facts_name():
    base, data = model(), world()
    start, ends = state(base.trainable()), {}
    for alpha in (0.0, 1.0, 0.4):
        m = copy.deepcopy(base)
        done = WiseFT(alpha=alpha, rate=0.02).apply(m, data, Trainer(), seed=0)
        ends[alpha] = state(m.trainable())
        assert done.facts["alpha"] == alpha
        assert [a for a, _ in done.facts["curve"]] == [k / 10 for k in range(11)]
        assert done.facts["selected on"] == 40
        assert any("by alpha" in n for n in done.notes)
    assert all(torch.equal(ends[0.0][n], start[n]) for n in start)
    assert any(not torch.equal(ends[1.0][n], start[n]) for n in start)
    line = interpolate(start, ends[1.0], 0.4)
    assert all(torch.equal(ends[0.4][n], line[n]) for n in start)


def test_alpha_is_chosen_on_members_that_train_nothing():
    base, data = model(), world()
    done = WiseFT(rate=0.02).apply(base, data, Trainer(), seed=0)
    curve = dict(done.facts["curve"])
    assert done.facts["alpha"] == chosen(curve, 0.01)
    assert curve[done.facts["alpha"]] >= curve[1.0] - 0.01
    parts = Bench.of(base, data.members, 0.2, 0)
    assert not set(parts.train.ids) & set(parts.select.ids)
    assert len(parts.train) + len(parts.select) == len(data.members)


def test_too_few_members_to_choose_by_mean_half():
    base = model()
    few = Splits(world().audited, members=world().members.subset(range(4)))
    named = WiseFT(end=f"torch:{__name__}:other")
    done = named.apply(base, few, Trainer(), seed=0)
    assert done.facts["alpha"] == HALF
    assert any("too few members" in n for n in done.notes)


def other():
    return model(seed=5)


def another_architecture():
    return model(width=7)


def test_an_end_or_a_start_can_be_named():
    base, data = model(), world()
    given, named = state(base.trainable()), state(other().trainable())
    to = copy.deepcopy(base)
    WiseFT(end=f"torch:{__name__}:other", alpha=0.25).apply(to, data, Trainer())
    of = copy.deepcopy(base)
    WiseFT(start=f"torch:{__name__}:other", alpha=0.25).apply(of, data, Trainer())
    for n in given:
        assert torch.equal(to.trainable().state_dict()[n], interpolate(given, named, 0.25)[n])
        assert torch.equal(of.trainable().state_dict()[n], interpolate(named, given, 0.25)[n])
    with pytest.raises(AskedWrongly, match="one architecture"):
        WiseFT(end=f"torch:{__name__}:another_architecture").apply(model(), data, Trainer())
    with pytest.raises(AskedWrongly, match="not both"):
        WiseFT(start="a", end="b")
    with pytest.raises(AskedWrongly, match="alpha"):
        WiseFT(alpha=2)


def test_batch_norms_between_the_ends_know_the_members():
    base, data = model(norm=True), world()
    WiseFT(alpha=0.5, rate=0.05, epochs=3).apply(base, data, Trainer(), seed=0)
    first, norm = base.trainable()["encoder x"]
    x = Bench.of(base, data.members, 0.2, 0).train.load(range(160)).batch.inputs["x"]
    assert torch.allclose(norm.running_mean, first(x).mean(dim=0), atol=1e-5)


def test_pairs_are_fine_tuned_by_the_loss_that_made_them():
    from muroan.checks.bed import planted_pairs
    from muroan.checks.trainable import trainable_pairs
    from muroan.losses import info_nce, pair_codes

    data, towers = planted_pairs(), trainable_pairs()
    batch = data.members.load(range(12)).batch
    loss = fine_tuning(towers, data.members).loss(batch)
    assert loss.item() == info_nce(*pair_codes(towers, batch), towers.scale).item()


def test_it_is_registered_under_its_name():
    assert registry.mitigation("wise_ft") is WiseFT
