"""Progressive self-distillation: InfoNCE at alpha 1, targets of known codes, a teacher that no gradient reaches."""

from __future__ import annotations

import copy
import multiprocessing
import time
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from muroan.checks.bed import planted_pairs
from muroan.checks.trainable import trainable_pairs
from muroan.errors import AskedWrongly
from muroan.losses import info_nce, missed, pair_codes
from muroan.mitigation import state
from muroan.mitigations import progressive_self_distillation as psd
from muroan.mitigations.progressive_self_distillation import MovingMean, ProgressiveSelfDistillation, distilled, falling
from muroan.training import Trainer, evaluating


def codes(seed, n=8, d=5):
    g = torch.Generator().manual_seed(seed)
    return tuple(functional.normalize(torch.randn(n, d, generator=g), dim=1) for _ in range(2))


def test_alpha_one_is_info_nce():
    for seed in range(5):
        first, second = codes(seed)
        found = distilled(first, second, 7.0, 1.0, codes(99))
        assert float(found) == pytest.approx(float(info_nce(first, second, 7.0)), abs=1e-6)


def test_known_targets_either_way_round():
    """Teacher codes by which row 0 of the first side likes both of the second, and row 0 of the second its own."""
    first, second = codes(3, n=2, d=2)
    taught = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    own = 4.0 * taught[0] @ taught[1].T
    found = 4.0 * first @ second.T

    def mean_ce(logits, soft):
        return -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()

    plain = (mean_ce(found, own.softmax(1)) + mean_ce(found.T, own.T.softmax(1))) / 2
    swapped = (mean_ce(found, own.T.softmax(1)) + mean_ce(found.T, own.softmax(1))) / 2
    assert float(distilled(first, second, 4.0, 0.0, taught, swapped=False)) == pytest.approx(float(plain), abs=1e-6)
    assert float(distilled(first, second, 4.0, 0.0, taught, swapped=True)) == pytest.approx(float(swapped), abs=1e-6)
    assert float(plain) != pytest.approx(float(swapped), abs=1e-3)


def test_pairs_that_do_not_find_each_other_are_missed():
    e = torch.eye(4)
    assert missed(e, e).item() == 0
    # Rows 2 and 3 changed places: half are missed, both ways. A code like another's is found one way alone.
    assert missed(e, e[[0, 1, 3, 2]]).item() == 0.5
    assert missed(e, torch.stack([e[0], e[0], e[2], e[3]])).item() == pytest.approx(0.25)


def test_hard_rows_come_first_and_soft_ones_after():
    first, second = codes(1, n=4)
    taught = codes(2, n=4)
    found, own = 5.0 * first @ second.T, 5.0 * taught[0] @ taught[1].T
    wanted = 0.0
    for logits, other in ((found, own.T), (found.T, own)):
        wanted += functional.cross_entropy(logits[:3], torch.arange(3))
        wanted += functional.cross_entropy(logits[3:], other.softmax(dim=1)[3:])
    assert float(distilled(first, second, 5.0, 0.75, taught)) == pytest.approx(float(wanted) / 2, abs=1e-6)


def test_no_gradient_reaches_the_teacher():
    student = [c.clone().requires_grad_() for c in codes(1)]
    teacher = [c.clone().requires_grad_() for c in codes(1)]
    distilled(*student, 5.0, 0.5, tuple(teacher)).backward()
    assert all(s.grad is not None and float(s.grad.abs().sum()) > 0 for s in student)
    assert all(t.grad is None for t in teacher)


def test_a_student_that_is_its_own_teacher_is_at_rest_where_nothing_is_swapped():
    """The gradient of a cross-entropy to the student's own distribution is 0: what is soft teaches nothing new."""
    student = [c.clone().requires_grad_() for c in codes(1)]
    distilled(*student, 5.0, 0.0, tuple(c.detach() for c in student), swapped=False).backward()
    assert all(float(s.grad.abs().max()) < 1e-6 for s in student)
    distilled(*student, 5.0, 0.0, tuple(c.detach() for c in student), swapped=True).backward()
    assert all(float(s.grad.abs().max()) > 1e-3 for s in student)


def test_alpha_stays_and_then_falls():
    assert [falling(d, 0.2, 0.5, "linear") for d in (0.0, 0.5, 0.75, 1.0)] == pytest.approx([1, 1, 0.6, 0.2])
    assert [falling(d, 0.2, 0.0, "cosine") for d in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.6, 0.2])
    steps = [falling(k / 100, 0.2, 0.2, "cosine") for k in range(101)]
    assert all(b <= a for a, b in pairwise(steps))


def test_modes_are_put_back_module_by_module():
    m = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    m.train()
    m[1].eval()
    with evaluating(m):
        assert not any(k.training for k in m.modules())
    assert (m.training, m[0].training, m[1].training) == (True, True, False)


def test_the_moving_mean_follows_and_stands_in():
    m = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        m.weight.fill_(0.0)
    mean = MovingMean(m, decay=0.75)
    with torch.no_grad():
        m.weight.fill_(1.0)
    mean.follow()
    mean.follow()
    with mean.instead():
        assert m.weight.item() == pytest.approx(1 - 0.75**2)
    assert m.weight.item() == 1.0
    assert not list(mean.parameters())


def short(**more):
    return ProgressiveSelfDistillation(epochs=4, batch=16, hold=0.0, **more)


def trained(method, folder=None, seconds=0.0):
    torch.set_num_threads(1)
    m = trainable_pairs()
    if seconds:
        real = psd.pair_codes
        psd.pair_codes = lambda *given: (time.sleep(seconds), real(*given))[1]
    method.apply(m, planted_pairs(), Trainer(folder=folder), seed=3)
    return state(m.trainable())


def test_settings_change_what_is_learnt_and_last_one_is_info_nce():
    told = [
        trained(short(**s)) for s in ({}, {"swapped": False}, {"teacher": "mean"}, {"falls": "linear"}, {"last": 1.0})
    ]
    for k, a in enumerate(told):
        for b in told[k + 1 :]:
            assert any(not torch.equal(a[n], b[n]) for n in a)
    plain = ProgressiveSelfDistillation(last=1.0)
    m, batch = trainable_pairs(), planted_pairs().members.load(range(16)).batch
    assert plain.loss(m, batch, 0.9).item() == info_nce(*pair_codes(m, batch), m.scale).item()


def test_the_gradient_is_the_same_with_the_mean_standing_in_meanwhile():
    """Weights change places between the forward and the backward pass, and are back for the latter."""
    m, batch = trainable_pairs(), planted_pairs().members.load(range(16)).batch
    method, modules = short(teacher="mean"), m.trainable()

    def slopes(mean):
        return torch.autograd.grad(method.loss(m, batch, 0.5, mean), list(modules.parameters()), allow_unused=True)

    for a, b in zip(slopes(None), slopes(MovingMean(modules, 0.5)), strict=True):
        assert (a is None and b is None) or torch.allclose(a, b)


def test_a_killed_training_ends_with_the_same_bits(tmp_path):
    method = short(teacher="mean")
    whole = trained(method)
    process = multiprocessing.get_context("spawn").Process(target=trained, args=(method, tmp_path, 0.05))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("training*.safetensors")):
        time.sleep(0.02)
    process.kill()
    process.join()
    again = trained(method, tmp_path)
    assert all(torch.equal(whole[n], again[n]) for n in whole)


def test_pairs_alone_are_trained():
    from muroan.checks.bed import planted
    from muroan.checks.trainable import trainable_for

    method = ProgressiveSelfDistillation()
    assert method.why_not(trainable_pairs(), planted_pairs()) is None
    assert "two modalities" in method.why_not(trainable_for(method.needs), planted())
    assert "aligned" in method.why_not(copy.deepcopy(trainable_for(())), planted())
    for wrong in ({"last": 1.5}, {"hold": 1.0}, {"falls": "steps"}, {"teacher": "none"}):
        with pytest.raises(AskedWrongly, match="progressive"):
            ProgressiveSelfDistillation(**wrong)
