"""VILLA: the golden case (G10), dropout alike in all passes, padding untouched, the worst of a ball falls."""

import pytest
import torch
from torch import nn

from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet
from muroan.errors import AskedWrongly
from muroan.mitigations.villa import VILLA, both_ways, free, norm, pass_of
from muroan.training import Trainer


def setting(dropped=0.5):
    model = TrainableNet()
    model.head[2].p = dropped
    batch = planted().audited.load(range(32)).batch
    return model, batch, list(model.trainable().parameters())


def gradients(loss, parameters):
    return [torch.zeros_like(p) if g is None else g for p, g in
            zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True)]  # fmt: skip


def steps_of(model, batch, parameters, **settings):
    torch.manual_seed(5)
    asked = {"inner": 3, "step": 0.1, "radius": 0.0, "weight": 1.5} | settings
    return free(*pass_of(model, batch, "text"), batch.targets, parameters, **asked)


def test_one_step_is_plain_training_dropout_and_all():
    model, batch, parameters = setting()
    model.trainable().train()
    loss = steps_of(model, batch, parameters, inner=1)
    torch.manual_seed(5)
    passed, start, _ = pass_of(model, batch, "text")
    plain = nn.functional.cross_entropy(passed(torch.zeros_like(start)), batch.targets)
    assert torch.equal(both_ways(*[passed(torch.zeros_like(start)).log_softmax(1) for _ in range(2)]), torch.zeros(()))
    assert torch.allclose(loss, plain)
    for ours, theirs in zip(gradients(loss, parameters), gradients(plain, parameters), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)


def test_three_steps_are_three_backward_passes_and_leave_the_sum_of_their_gradients():
    model, batch, parameters = setting(dropped=0.0)
    seen = []
    handle = model.head[-1].register_full_backward_hook(lambda *_: seen.append(1))
    total = steps_of(model, batch, parameters)
    before_the_callers = len(seen)
    found = gradients(total, parameters)
    handle.remove()
    # Through the clean pass and the perturbed one each time: the head is in both.
    assert before_the_callers == 2 * 2
    assert len(seen) == 3 * 2
    # A loop of `backward` calls, as the source has it.
    passed, start, mask = pass_of(model, batch, "text")
    length, delta, clean, loop = norm((start * mask).detach()), torch.zeros_like(start), None, 0.0
    clean = passed(delta).log_softmax(1)
    for _ in range(3):
        delta = delta.detach().requires_grad_()
        now = passed(delta).log_softmax(1)
        loss = (nn.functional.nll_loss(now, batch.targets) + 1.5 * both_ways(clean, now)) / 3
        [up] = torch.autograd.grad(loss, [delta], retain_graph=True)
        delta, loop = delta + 0.1 * length * up * mask / norm(up * mask).clamp_min(1e-30), loop + loss
    assert torch.allclose(total, loop)
    for ours, theirs in zip(found, gradients(loop, parameters), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_one_optimiser_step_for_all_inner_steps(monkeypatch):
    steps = []
    plain = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: (steps.append(1), plain(self, *a))[1])
    model, _, _ = setting()
    members = planted().members
    VILLA(epochs=1, batch=len(members)).apply(model, planted(), Trainer())
    assert len(steps) == 1


def test_padding_does_not_move_and_lengths_are_of_one_sample():
    model, batch, _ = setting(dropped=0.0)
    texts = ["one", "one two three four"] * 16
    batch = batch.with_inputs(text=texts)
    passed, start, mask = pass_of(model, batch, "text")
    assert torch.equal(mask.sum(dim=(1, 2)), torch.tensor([1.0, 4.0] * 16))
    noise = torch.ones_like(start) * (1 - mask)
    assert torch.equal(passed(noise), passed(torch.zeros_like(start)))
    assert norm(start).shape == (32, 1, 1)


def test_the_worst_of_a_ball_falls():
    model, batch, _ = setting(dropped=0.0)
    twin, _, _ = setting(dropped=0.0)
    done = VILLA(epochs=4, step=0.5, rate=0.01).apply(model, planted(), Trainer())
    VILLA(epochs=4, inner=1, rate=0.01).apply(twin, planted(), Trainer())
    assert "not a defence" in done.notes[1]
    assert worst_loss(done.model, batch) < worst_loss(twin, batch)


def worst_loss(model, batch, radius=1.0):
    passed, start, mask = pass_of(model, batch, "text")
    start = start.detach()
    far = radius * norm(start * mask)
    delta = torch.zeros_like(start)
    for _ in range(10):
        delta = delta.detach().requires_grad_()
        [up] = torch.autograd.grad(nn.functional.cross_entropy(passed(delta), batch.targets), [delta])
        delta = delta + far / 4 * up * mask / norm(up).clamp_min(1e-30)
        delta = delta * (far / norm(delta).clamp_min(1e-30)).clamp_max(1)
    return float(nn.functional.cross_entropy(passed(delta.detach()), batch.targets).detach())


def test_what_makes_no_sense_is_refused():
    model, _, _ = setting()
    assert "no modality 'sound'" in VILLA(perturbed=("sound",)).applies(model, planted().audited.schema)
    with pytest.raises(AskedWrongly):
        VILLA(inner=0)
