"""Odd-one-out fusion: what a mixture must do by its definition (G11); it finds and ignores an attacked input."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from muroan import Budget, TorchModel, checks
from muroan.checks.bed import PlantedModel, planted
from muroan.data.multiple_features import VIEWS as ALL
from muroan.data.multiple_features import multiple_features
from muroan.errors import AskedWrongly
from muroan.mitigation import Mitigated
from muroan.mitigations.odd_one_out import TWO, OddOneOut, OddOneOutFusion, OddOneOutModel, mixed
from muroan.mitigations.single_source import SingleSourceTraining, allowed_of, single_source
from muroan.models.digit_views import network
from muroan.robustness.adversarial.adaptive import defended
from muroan.training import Trainer

VIEWS = ("fourier", "profiles", "pixels")
RADII = tuple((v, 0.5) for v in VIEWS)


@pytest.fixture(scope="module")
def done(base, data) -> Mitigated:
    quick = OddOneOut(radii=RADII, warm_up=4, epochs=4)
    return quick.apply(copy.deepcopy(base), data, Trainer(), seed=1)


def one_hot(i: int, n: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.full((n,), i), len(VIEWS) + 1).float()


def test_golden_11_weights_on_none_give_the_full_expert(base, batch):
    fusion = OddOneOutFusion(dict.fromkeys(VIEWS, 32), 96, 8, 16)
    model = OddOneOutModel(base, fusion)
    codes = {m: model.encode(m, v) for m, v in batch.inputs.items()}
    assert torch.equal(model.mixed(codes, one_hot(3, len(batch))), base.fuse(codes))


@pytest.mark.parametrize("i", range(len(VIEWS)))
def test_golden_11_weights_on_one_input_leave_it_out(base, batch, i):
    model = OddOneOutModel(base, OddOneOutFusion(dict.fromkeys(VIEWS, 32), 96, 8, 16))
    inputs = {m: v.clone().requires_grad_() for m, v in batch.inputs.items()}
    codes = {m: model.encode(m, v) for m, v in inputs.items()}
    logits = model.decide(model.mixed(codes, one_hot(i, len(batch))))
    gradients = torch.autograd.grad(logits.square().sum(), [inputs[m] for m in VIEWS])
    for k, g in enumerate(gradients):
        assert bool((g == 0).all()) == (k == i)


def test_a_mixture_is_the_weighted_mean():
    a, b, full = torch.ones(2, 3), torch.full((2, 3), 2.0), torch.full((2, 3), 10.0)
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    assert torch.allclose(mixed(weights, [a, b], full)[:, 0], torch.tensor([3.5, 10.0]))


def test_each_copy_changes_one_input_within_its_radius_and_raises_the_loss(base, batch):
    allowed = {v: Budget(radius=0.3) for v in VIEWS}
    changed, which = single_source(base, batch, allowed, steps=5)
    n = len(batch)
    for k, view in enumerate(VIEWS):
        mine = slice(k * n, (k + 1) * n)
        assert bool((which[mine] == k).all())
        for other in VIEWS:
            far = (changed.inputs[other][mine] - batch.inputs[other]).abs().amax()
            assert float(far) <= 0.3 + 1e-6 if other == view else float(far) == 0
    loss = torch.nn.functional.cross_entropy
    clean = loss(base.predict(batch.inputs), batch.targets)
    assert all(
        loss(base.predict({m: v[k * n : (k + 1) * n] for m, v in changed.inputs.items()}), batch.targets) > clean
        for k in range(3)
    )


def test_texts_are_attacked_by_words():
    batch = planted().audited.load(range(20)).batch
    assert batch is not None
    allowed = {"image": Budget(radius=0.1), "text": Budget(words=1)}
    changed, which = single_source(PlantedModel(), batch, allowed, steps=2)
    assert which.tolist() == [0] * 20 + [1] * 20
    assert changed.inputs["text"][:20] == batch.inputs["text"]
    assert changed.inputs["text"][20:] != batch.inputs["text"]
    assert torch.equal(changed.inputs["image"][20:], batch.inputs["image"])


def test_inputs_that_a_model_does_not_have_are_left_alone(batch):
    rest = network(VIEWS[:2])
    changed, which = single_source(rest, batch, {VIEWS[1]: Budget(radius=0.5)}, steps=2)
    assert set(changed.inputs) == set(VIEWS[:2])
    assert which.tolist() == [1] * len(batch)


def test_the_detector_beats_guessing_after_a_few_epochs(done, batch):
    model = done.model
    changed, which = single_source(model, batch, {v: Budget(radius=0.5) for v in VIEWS}, steps=10)
    with torch.no_grad():
        odd, none = (
            model.odd({m: model.encode(m, b.inputs[m]) for m in VIEWS}).argmax(dim=1) for b in (changed, batch)
        )
    right = torch.stack([(odd[which == k] == k).float().mean() for k in range(3)] + [(none == 3).float().mean()])
    assert float(right.mean()) > 0.35  # a guess is right in 1 of 4


def test_saved_and_restored_it_gives_the_same_bits(base, done, batch):
    facts = json.loads(json.dumps(done.facts))
    again = OddOneOut(radii=RADII).restore(copy.deepcopy(base), done.tensors, facts)
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))
    assert again.fingerprint() == done.model.fingerprint() != base.fingerprint()


def test_a_seed_is_a_model(base, data):
    quick = OddOneOut(radii=RADII, warm_up=1, epochs=1)
    one, two, other = (quick.apply(copy.deepcopy(base), data, Trainer(), seed=s).model.fingerprint() for s in (3, 3, 4))
    assert one == two != other


def test_the_defended_model_keeps_the_promises_of_a_model():
    model = OddOneOutModel(network(tuple(ALL)), OddOneOutFusion(dict.fromkeys(ALL, 32), 32 * 6, 8, 16))
    for check in checks.of(model):
        check()


def test_two_inputs_are_said_to_be_too_few():
    views = ("fourier", "pixels")
    quick = OddOneOut(warm_up=1, epochs=1)
    done = quick.apply(network(views), multiple_features(views), Trainer())
    assert TWO in done.notes


def test_one_input_is_refused(base, data):
    class Alone:
        modalities = ("fourier",)

    assert "single input" in (OddOneOut().applies(Alone(), data.audited.schema) or "")
    assert OddOneOut().applies(base, data.audited.schema) is None


def test_codes_that_are_no_vectors_are_refused(data):
    deep = TorchModel(
        encoders={v: lambda x: x[:, None, :5] for v in VIEWS},
        fusion=lambda c: torch.cat([c[v].flatten(1) for v in VIEWS], dim=1),
        head=torch.nn.Linear(15, 10),
        classes=tuple("0123456789"),
    )
    with pytest.raises(AskedWrongly, match="vectors"):
        OddOneOut().apply(deep, data, Trainer())


def test_a_kind_without_a_usual_radius_gets_a_share_of_its_spread(base, data):
    assert data.members is not None
    found = allowed_of(data.members, base, (("pixels", 0.4),), 0)
    assert found["pixels"].radius == 0.4
    assert 0.2 < found["fourier"].radius < 0.3


def test_training_on_single_sources_raises_their_robustness(base, data, batch):
    hard = SingleSourceTraining(radii=RADII, epochs=6).apply(copy.deepcopy(base), data, Trainer()).model
    found = defended(base, hard, batch, {v: Budget(radius=0.5) for v in VIEWS})
    assert found.weakest_gain.low > 0
