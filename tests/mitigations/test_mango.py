"""MANGO: lengths are fixed, the generator climbs what the model descends, masking keeps something, a generator finds
what Gaussian noise does not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet
from muroan.errors import AskedWrongly
from muroan.losses import task_loss
from muroan.mitigations.mango import MANGO, changed_answers, gaussian, masked, of_length
from muroan.mitigations.villa import norm
from muroan.model import Capability
from muroan.training import Trainer

METHOD = MANGO(share=0.0)


def setting():
    model = TrainableNet()
    model.head[2].p = 0.0
    batch = planted().members.load(range(80)).batch
    return model, batch


def test_every_change_has_the_length_that_was_asked_for():
    start, mask = torch.randn(5, 4, 3), torch.ones(5, 4, 1)
    mask[:, 2:] = 0
    for scale in (1e-3, 1.0, 1e4):  # however far a generator goes
        delta = of_length(scale * torch.randn(5, 4, 3), start, mask, 0.3)
        assert torch.allclose(norm(delta), 0.3 * norm(start * mask))
        assert float(delta[:, 2:].abs().max()) == 0
    assert bool(torch.isfinite(of_length(torch.zeros_like(start), start, mask, 0.3)).all())


def test_a_length_of_zero_changes_nothing():
    model, batch = setting()
    for m in model.modalities:
        assert torch.allclose(changed_answers(model, batch, m, gaussian, 0.0), model.predict(batch.inputs), atol=1e-6)


def test_the_generators_gradient_is_the_models_turned_round():
    model, batch = setting()
    generators = METHOD.generators(model, planted().members, seed=0)
    assert set(generators) == {"image", "text", "table"}
    own = [p for g in generators.values() for p in g.parameters()]
    torch.manual_seed(1)
    turned = torch.autograd.grad(METHOD.loss(model, generators, batch), own)
    torch.manual_seed(1)
    clean = model.predict(batch.inputs).log_softmax(1)
    hard = []
    for m, g in generators.items():
        now = changed_answers(model, batch, m, g, METHOD.radius).log_softmax(1)
        apart = (clean.exp() * (clean - now)).sum(1).mean()
        hard.append(functional.nll_loss(now, batch.targets) + apart)
    plain = torch.autograd.grad(torch.stack(hard).mean(), own)
    for a, b in zip(turned, plain, strict=True):
        assert torch.allclose(a, -b, atol=1e-7)
    assert max(float(g.abs().max()) for g in plain) > 0


def test_the_models_gradient_is_that_of_the_loss():
    model, batch = setting()
    weight = model.head[0].weight
    torch.manual_seed(1)
    fixed = {"text": lambda start: torch.ones_like(start)}
    [ours] = torch.autograd.grad(METHOD.loss(model, fixed, batch), [weight])
    clean = model.predict(batch.inputs)
    now = changed_answers(model, batch, "text", fixed["text"], METHOD.radius).log_softmax(1)
    known = clean.log_softmax(1)
    total = functional.cross_entropy(clean, batch.targets) + functional.nll_loss(now, batch.targets)
    [theirs] = torch.autograd.grad(total + (known.exp() * (known - now)).sum(1).mean(), [weight])
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_masking_erases_parts_and_leaves_something():
    _, batch = setting()
    torch.manual_seed(0)
    texts = masked(batch, "text", 0.5).inputs["text"]
    left, all_ = sum(len(t.split()) for t in texts), sum(len(t.split()) for t in batch.inputs["text"])
    assert min(len(t.split()) for t in texts) >= 1
    assert 0.4 < left / all_ < 0.65
    picture = masked(batch, "image", 0.25).inputs["image"]
    gone = (picture != batch.inputs["image"]).any(dim=1)  # [N, 16, 16] in regions of 4 by 4
    regions = gone.unfold(1, 4, 4).unfold(2, 4, 4).flatten(3).float().mean(dim=3)
    assert set(regions.unique().tolist()) <= {0.0, 1.0}
    assert 0.15 < float(regions.mean()) < 0.35
    assert masked(batch, "text", 0.0).inputs["text"] == batch.inputs["text"]


def test_a_trained_generator_hurts_more_than_gaussian_noise_of_its_length():
    model, batch = setting()
    task = torch.optim.Adam(model.trainable().parameters(), lr=0.01)
    for _ in range(60):
        task.zero_grad()
        task_loss(model, batch).backward()
        task.step()
    generator = METHOD.generators(model, planted().members, seed=0)["text"]
    optimiser = torch.optim.Adam(generator.parameters(), lr=0.01)
    torch.manual_seed(0)
    for _ in range(60):
        loss = -functional.cross_entropy(changed_answers(model, batch, "text", generator, 0.5), batch.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    other = planted().audited.load(range(160)).batch
    with torch.no_grad():
        hard, random = (
            functional.cross_entropy(changed_answers(model, other, "text", d, 0.5), other.targets)
            for d in (generator, gaussian)
        )
    assert float(hard) > 1.2 * float(random)


def test_the_generators_are_dropped():
    model, _ = setting()
    names = set(model.trainable().state_dict())
    done = MANGO(epochs=2).apply(copy.deepcopy(model), planted(), Trainer())
    assert set(done.tensors) == names
    assert "image, text, table" in done.notes[1]


def test_what_cannot_be_changed_is_not():
    model, schema = TrainableNet(), planted().audited.schema
    assert "no modality 'sound'" in MANGO(perturbed=("sound",)).applies(model, schema)
    model.capabilities = model.capabilities - {Capability.EMBEDDINGS}
    assert "does not show" in MANGO(perturbed=("text",)).applies(model, schema)
    assert MANGO().among(model, schema) == ("image", "table")
    assert isinstance(MANGO().generators(model, planted().members, 0)["table"], nn.Module)
    with pytest.raises(AskedWrongly):
        MANGO(radius=-1.0)
