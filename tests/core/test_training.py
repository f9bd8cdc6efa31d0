"""Training: the lowest validation loss is kept, what was interrupted ends as if it had not been, nothing else moves."""

import multiprocessing
import time

import pytest
import torch
from torch import nn

from muroan import Tabular, TorchModel
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly, CannotComplete
from muroan.training import Schedule, Trainer


def data(n=400, noise=0.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=g)
    y = (x[:, 0] + noise * torch.randn(n, generator=g) > 0).long()
    return InMemory(
        {"x": x},
        targets=y.numpy(),
        modalities={"x": Tabular(columns=("a", "b"))},
        classes=("no", "yes"),
        ids=[f"s{i}" for i in range(n)],
    )


def model(dropout=0.0):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(dropout))
    head = nn.Linear(8, 2)
    return TorchModel(encoders={"x": net}, fusion=lambda c: c["x"], head=head, classes=("no", "yes"))


def cross_entropy(m):
    return lambda b: nn.functional.cross_entropy(m.predict(b.inputs), b.targets)


def accuracy(m, some):
    batch = some.load(range(len(some))).batch
    return float((m.predict(batch.inputs).argmax(1) == batch.targets).float().mean())


def test_it_learns_and_ends_in_evaluation_mode_with_gradients_as_they_were():
    m = model(dropout=0.2)
    modules = m.trainable().requires_grad_(False)
    before = accuracy(m, data(seed=1))
    done = Trainer().fit(modules, cross_entropy(m), data(), Schedule(epochs=5, rate=0.05), seed=0)
    assert accuracy(m, data(seed=1)) > max(0.8, before)
    assert len(done.training) == len(done.validation) <= 5
    assert not modules.training
    assert not any(p.requires_grad for p in modules.parameters())


def test_the_weights_of_the_lowest_validation_loss_are_kept_and_patience_ends_it():
    m = model()
    few = data(40, noise=3.0)
    done = Trainer().fit(m.trainable(), cross_entropy(m), few, Schedule(epochs=200, rate=0.3, patience=4), seed=0)
    assert done.validation[done.kept] <= done.start
    assert done.kept == min(range(len(done.validation)), key=lambda k: (done.validation[k], -k))
    assert len(done.validation) == done.kept + 1 + 4 < 200
    assert f"epoch {done.kept + 1}" in done.note


def test_a_training_that_never_helps_leaves_the_model_as_it_was():
    m = model()
    before = {n: t.clone() for n, t in m.trainable().state_dict().items()}
    good = Schedule(epochs=30, rate=0.05, patience=30)
    Trainer().fit(m.trainable(), cross_entropy(m), data(), good, seed=0)
    learnt = {n: t.clone() for n, t in m.trainable().state_dict().items()}
    assert any(not torch.equal(t, before[n]) for n, t in learnt.items())
    wild = Schedule(epochs=2, rate=50.0)
    done = Trainer().fit(m.trainable(), cross_entropy(m), data(), wild, seed=1)
    assert done.kept is None
    assert min(done.validation) > done.start
    assert all(torch.equal(t, learnt[n]) for n, t in m.trainable().state_dict().items())
    assert "before training" in done.note


def test_only_the_chosen_parameters_move():
    m = model()
    head = m.trainable()["head"]
    frozen = {n: t.clone() for n, t in m.trainable()["encoder x"].state_dict().items()}
    was = head.weight.detach().clone()
    Trainer().fit(
        m.trainable(), cross_entropy(m), data(), Schedule(epochs=1), seed=0, parameters=list(head.parameters())
    )
    assert not torch.equal(head.weight, was)
    assert all(torch.equal(t, frozen[n]) for n, t in m.trainable()["encoder x"].state_dict().items())


def slowly(folder, seconds):
    torch.set_num_threads(1)
    m = model(dropout=0.3)
    loss = cross_entropy(m)

    def slow(batch):
        time.sleep(seconds)
        return loss(batch)

    schedule = Schedule(epochs=8, rate=0.02, batch=64, patience=8)
    Trainer(folder=folder).fit(m.trainable(), slow, data(), schedule, seed=3)
    return m


def test_a_killed_training_ends_with_the_same_bits(tmp_path):
    whole = slowly(tmp_path / "whole", 0.0)
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        process = context.Process(target=slowly, args=(tmp_path / "killed", 0.02))
        process.start()
        deadline = time.monotonic() + 60
        seen = (
            (tmp_path / "killed" / "training.safetensors").stat().st_mtime_ns if (tmp_path / "killed").exists() else 0
        )
        place = tmp_path / "killed" / "training.safetensors"
        while time.monotonic() < deadline and (not place.exists() or place.stat().st_mtime_ns == seen):
            time.sleep(0.02)
        process.kill()
        process.join()
    again = slowly(tmp_path / "killed", 0.0)
    for a, b in zip(whole.trainable().state_dict().values(), again.trainable().state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_was_kept_of_another_training_is_not_gone_on_with(tmp_path):
    def carry(seed):
        m = model()
        done = Trainer(folder=tmp_path).fit(m.trainable(), cross_entropy(m), data(), Schedule(epochs=2), seed=seed)
        return m.trainable()["head"].weight.detach().clone(), done

    (a, _), (b, _), (c, _) = carry(0), carry(1), carry(0)
    assert torch.equal(a, c)
    assert not torch.equal(a, b)


def test_a_loss_that_is_no_number_says_what_may_help():
    m = model()
    with pytest.raises(CannotComplete, match="lower rate"):
        Trainer().fit(m.trainable(), lambda b: cross_entropy(m)(b) * float("nan"), data(), Schedule(epochs=1), seed=0)


def test_impossible_schedules_are_refused():
    for wrong in ({"epochs": 0}, {"rate": 0.0}, {"held_out": 1.0}, {"batch": 0}, {"patience": 0}):
        with pytest.raises(AskedWrongly, match="schedule"):
            Schedule(**wrong)


def test_a_loss_can_change_on_the_way_and_goes_on_where_it_was(tmp_path):
    """Shares of the training done: every step's, from 0 to below 1; a second start sees those that are left."""
    seen = []

    def carry(epochs_before_stop):
        m, at = model(), []

        def on_step(done):
            at.append(done)
            if len(at) == 4 * epochs_before_stop + 1:
                raise KeyboardInterrupt

        schedule = Schedule(epochs=3, batch=100, patience=3)
        try:
            Trainer(folder=tmp_path).fit(m.trainable(), cross_entropy(m), data(), schedule, seed=0, on_step=on_step)
        except KeyboardInterrupt:
            at.pop()
        seen.append(at)

    carry(1)
    carry(3)
    assert seen[0] + seen[1] == [k / 12 for k in range(12)]
    assert len(seen[0]) == 4
