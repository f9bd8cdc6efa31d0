"""LeMDA: the golden case (G9), the last layer that learns and the released one that never does, who gets which
gradient, nothing left at evaluation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet, trainable_pairs
from muroan.data.multiple_features import multiple_features
from muroan.errors import AskedWrongly
from muroan.mitigations.lemda import Features, LeMDA, kl_of_latent, two_sided
from muroan.models.digit_views import network
from muroan.training import Trainer

METHOD = LeMDA()


def setting():
    model, data = TrainableNet(), planted().members
    batch = data.load(range(64)).batch
    model.head[2].p = 0.0
    return model, batch, METHOD.augmenter(model, data, seed=0)


def steps(model, batch, augmenter, n=100):
    """`n` Adam steps of both sides, and the last gradients."""
    optimiser = torch.optim.Adam([*model.trainable().parameters(), *augmenter.parameters()], lr=1e-3)
    torch.manual_seed(0)
    augmenter.train()
    for _ in range(n):
        loss = METHOD.loss(model, augmenter, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return METHOD.terms(model, augmenter, batch)


def test_at_the_start_nothing_is_changed_and_the_answers_agree():
    model, batch, augmenter = setting()
    with torch.no_grad():
        z = Features.of(model, batch).z
        assert torch.equal(augmenter.train()(z)[0], z)
        terms = METHOD.terms(model, augmenter, batch)
    assert float(terms.change) == 0
    assert float(terms.consistency) == 0
    plain = functional.cross_entropy(model.predict(batch.inputs), batch.targets)
    assert torch.allclose(terms.task, plain)


def test_after_a_hundred_steps_features_are_changed_and_the_last_layer_learns():
    model, batch, augmenter = setting()
    [first] = torch.autograd.grad(METHOD.loss(model, augmenter.train(), batch), [augmenter.last.weight])
    assert float(first.abs().max()) > 0
    terms = steps(model, batch, augmenter)
    assert float(terms.change.detach()) > 0
    assert float(augmenter.last.weight.grad.abs().max()) > 0


def test_the_released_ending_stays_dead():
    model, batch, augmenter = setting()
    augmenter.last = nn.Sequential(augmenter.last, nn.ReLU(), nn.Dropout(0.1))
    terms = steps(model, batch, augmenter)
    assert float(terms.change.detach()) == 0
    assert float(augmenter.last[0].weight.grad.abs().max()) == 0


def test_only_the_tasks_gradient_is_reversed():
    model, batch, _ = setting()
    features = Features.of(model, batch)
    new = (features.z.detach() + 0.3).requires_grad_()
    task, consistent = two_sided(model, batch, features, new, adversarial=0.5, sure=0.0)
    [task_now] = torch.autograd.grad(task, [new], retain_graph=True)
    [consistent_now] = torch.autograd.grad(consistent, [new])
    logits = features.logits(model, batch, new)
    # Of the doubled batch the new rows are a half.
    [plain] = torch.autograd.grad(functional.cross_entropy(logits, batch.targets) / 2, [new], retain_graph=True)
    assert torch.allclose(task_now, -0.5 * plain, atol=1e-8)
    q, p = features.logits(model, batch, features.z).detach().softmax(1), logits.softmax(1)
    [pulled] = torch.autograd.grad((p * (p / q).log()).sum(1).mean(), [new])
    assert torch.allclose(consistent_now, pulled, atol=1e-7)
    assert float(plain.abs().max()) > 0


def test_the_head_gets_the_gradient_of_both_halves_as_they_are():
    model, batch, _ = setting()
    features = Features.of(model, batch)
    new = features.z.detach() + 0.3
    task, _ = two_sided(model, batch, features, new.requires_grad_(), adversarial=123.0, sure=1.0)
    weight = model.head[0].weight
    [ours] = torch.autograd.grad(task, [weight], retain_graph=True)
    both = torch.cat([model.head(features.z), model.head(new)])
    [theirs] = torch.autograd.grad(functional.cross_entropy(both, torch.cat([batch.targets, batch.targets])), [weight])
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_the_consistency_counts_where_the_clean_answer_is_sure():
    model, batch, _ = setting()
    features = Features.of(model, batch)
    sure = features.logits(model, batch, features.z).detach().softmax(1).amax(1)
    cut = float(sure.median())
    _, some = two_sided(model, batch, features, features.z.detach() + 1.0, adversarial=1.0, sure=cut)
    q = features.logits(model, batch, features.z).log_softmax(1)
    p = features.logits(model, batch, features.z + 1.0).log_softmax(1)
    each = (p.exp() * (p - q)).sum(1)
    assert 0 < int((sure > cut).sum()) < len(batch)
    assert torch.allclose(some, (each * (sure > cut)).mean(), atol=1e-7)


def test_the_latents_divergence_is_that_of_normals():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(kl_of_latent(mean, log_variance), known.mean())


def test_codes_of_any_shape_go_out_as_they_came_in():
    features = Features(torch.arange(20.0).view(2, 10), {"a": (2, 3), "b": (4,)})
    codes = features.codes(features.z)
    assert codes["a"].shape == (2, 2, 3)
    assert torch.equal(torch.cat([c.flatten(1) for c in codes.values()], dim=1), features.z)


def test_it_learns_and_leaves_the_networks_own_parameters_alone():
    data = multiple_features(("fourier", "profiles", "pixels"))
    batch = data.audited.load(range(200)).batch
    base = network(("fourier", "profiles", "pixels"), seed=0)
    done = LeMDA(epochs=5).apply(copy.deepcopy(base), data, Trainer(), seed=1)
    assert float((done.model.predict(batch.inputs).argmax(1) == batch.targets).float().mean()) > 0.85
    assert set(done.tensors) == set(base.trainable().state_dict())
    again = LeMDA().restore(copy.deepcopy(base), done.tensors, done.facts)
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))
    assert "0.00%" not in done.notes[1]


def test_what_compares_codes_has_nothing_to_augment():
    assert "compared" in LeMDA().applies(trainable_pairs(), planted().audited.schema)
    with pytest.raises(AskedWrongly):
        LeMDA(adversarial=-1.0)
