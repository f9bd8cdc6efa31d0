"""Between models: ends to the bit, integers never averaged, statistics of batch norms those of the data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from muroan import Tabular, TorchModel
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.mitigations.weight_space import average, fisher_information, interpolate, recalibrate


def same(a, b):
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def net(seed, steps=0):
    """With a batch norm, whose counter is an integer, and position ids, which are another."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
    made.register_buffer("position_ids", torch.arange(4) + seed)
    made.register_buffer("seen", torch.tensor([seed % 2 == 0]))
    for _ in range(steps):
        made(torch.randn(16, 3))
    return made


def model(seed=0, steps=0):
    body = net(seed, steps)
    head = nn.Linear(8, 2)
    return TorchModel(encoders={"x": body}, fusion=lambda c: c["x"], head=head, classes=("no", "yes"))


def data(n=300, shift=0.0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1)) * 2 + shift
    kinds = {"x": Tabular(columns=("a", "b", "c"))}
    return InMemory({"x": x}, targets=(x[:, 0] > 0).long(), modalities=kinds, classes=("no", "yes"))


def test_the_ends_are_reproduced_bit_for_bit_and_integers_are_copied():
    a, b = net(0, steps=2).state_dict(), net(1, steps=5).state_dict()
    b["0.weight"][0, 0] = torch.inf  # 0 · inf is no number: the ends are copies, not sums
    assert same(interpolate(a, b, 0), a)
    assert same(interpolate(a, b, 1.0), b)
    half = interpolate(a, b, 0.5)
    for name in ("1.num_batches_tracked", "position_ids", "seen"):
        assert torch.equal(half[name], b[name])
        assert half[name].dtype == b[name].dtype
    assert torch.allclose(half["0.bias"], (a["0.bias"] + b["0.bias"]) / 2)
    half["position_ids"][0] = 9
    assert int(b["position_ids"][0]) == 1  # copies, not views


def test_a_quarter_of_the_way():
    a, b = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([8.0, 4.0])}
    assert interpolate(a, b, 0.25)["w"].tolist() == [2.0, 4.0]
    same_at_both = torch.tensor([0.1, 1 / 3, 1e30, -7e-20])
    for alpha in (0.1, 0.3, 0.7):
        assert torch.equal(interpolate({"w": same_at_both}, {"w": same_at_both}, alpha)["w"], same_at_both)


def test_half_precision_is_averaged_in_more():
    """In float16 the sum of two numbers near its largest is infinite, and small changes are lost."""
    large = {"w": torch.full((2,), 60000.0, dtype=torch.float16)}
    assert torch.equal(average([large, large])["w"], large["w"])
    assert torch.equal(interpolate(large, large, 0.5)["w"], large["w"])
    many = [{"w": torch.tensor([v], dtype=torch.float16)} for v in [1024.0] + [1025.0] * 3]
    assert float(average(many)["w"]) == float(torch.tensor(1024.75).half())
    wide = {"w": torch.tensor([1 / 3], dtype=torch.float64)}
    assert average([wide, wide])["w"].dtype == torch.float64


def test_the_mean_of_one_is_that_one_and_of_equals_too():
    a, b, c = (net(k, steps=k).state_dict() for k in range(3))
    assert same(average([a]), a)
    assert same(average([a, a, a]), a)
    three = average([a, b, c])
    assert torch.allclose(three["0.weight"], torch.stack([s["0.weight"] for s in (a, b, c)]).mean(dim=0))
    assert torch.equal(three["1.num_batches_tracked"], c["1.num_batches_tracked"])


def test_other_architectures_are_refused_by_the_name_of_what_differs():
    a = net(0).state_dict()
    with pytest.raises(AskedWrongly, match=r"position_ids is in the first alone"):
        interpolate(a, {n: t for n, t in a.items() if n != "position_ids"}, 0.5)
    with pytest.raises(AskedWrongly, match=r"0\.bias is \(8,\) .* \(9,\)"):
        average([a, {**a, "0.bias": torch.zeros(9)}])
    with pytest.raises(AskedWrongly, match="float16"):
        average([a, {**a, "0.bias": a["0.bias"].half()}])
    with pytest.raises(AskedWrongly, match="nothing to average"):
        average([])
    with pytest.raises(AskedWrongly, match="between 0"):
        interpolate(a, a, 1.1)


def test_fisher_weights_pull_to_the_end_that_minds():
    a, b = {"w": torch.tensor([0.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 1.0])}
    minds = {"w": torch.tensor([1.0, 3.0, 0.0])}, {"w": torch.tensor([3.0, 1.0, 0.0])}
    # .5 · 3 · 1 / (.5 · 1 + .5 · 3); where neither minds the floor makes it the plain mean
    assert interpolate(a, b, 0.5, minds)["w"].tolist() == pytest.approx([0.75, 0.25, 0.5])
    assert same(interpolate(a, b, 1, minds), b)
    nobody = interpolate(a, b, 0.3, ({}, {}))
    assert nobody["w"].tolist() == pytest.approx([0.3] * 3)


def test_the_fisher_information_of_a_logistic_model_is_known():
    """Of logits (0, w · x) it is the mean of p (1 − p) x²; labels are drawn from the model, not read."""
    head = nn.Linear(3, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, -1.0]]))
        head.bias.zero_()
    m = TorchModel(encoders={"x": nn.Identity()}, fusion=lambda c: c["x"], head=head, classes=("no", "yes"))
    some = data(2000)
    x = some.load(range(2000)).batch.inputs["x"]
    p = m.predict({"x": x}).softmax(dim=1)[:, 1:]
    wanted = (p * (1 - p) * x.square()).mean(dim=0)
    found = fisher_information(m, some, 2000, seed=0)
    assert found["head.weight"][1].tolist() == pytest.approx(wanted.tolist(), rel=0.1)
    assert not any(p.grad is not None for p in head.parameters())


def test_statistics_of_batch_norms_become_those_of_the_data():
    m, some = model(steps=9), data(300, shift=5.0)
    norm = m.trainable()["encoder x"][1]
    was = {n: t.clone() for n, t in m.trainable().state_dict().items()}
    assert recalibrate(m, some) == 1
    x = some.load(range(300)).batch.inputs["x"]
    before = m.trainable()["encoder x"][0](x).detach()
    assert torch.allclose(norm.running_mean, before.mean(dim=0), atol=1e-5)
    assert torch.allclose(norm.running_var, before.var(dim=0), rtol=0.1)
    assert norm.momentum == 0.1
    assert not any(k.training for k in m.trainable()["encoder x"].modules())
    moved = {n for n, t in m.trainable().state_dict().items() if not torch.equal(t, was[n])}
    assert {n.rsplit(".", 1)[1] for n in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    plain = TorchModel(encoders={"x": nn.Identity()}, fusion=lambda c: c["x"], head=nn.Linear(3, 2), classes=("a", "b"))
    assert recalibrate(plain, some) == 0
