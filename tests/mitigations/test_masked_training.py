"""Trainings with inputs left out: what is masked, what the losses are, and that they mend what they say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from muroan import checks
from muroan.batch import Batch
from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.losses import logits
from muroan.mitigations.masked_training import Masd, MaskedMultitask, MaskedTraining, ModalityDropout, taught
from muroan.mitigations.masking import allowed_masks, drawn, left, stacked
from muroan.modality import Tabular
from muroan.model import Model
from muroan.models.fusion_transformer import FusionTransformer, Pieces
from muroan.registry import organism
from muroan.robustness.distribution_shift.missing_modality.probe import MissingModality
from muroan.selftest.run import mended
from muroan.selftest.trial import ask

ALL = (ModalityDropout, MaskedMultitask, Masd)


def world() -> tuple[Model, Batch]:
    members = planted().members
    assert members is not None
    batch = members.load(range(24)).batch
    assert batch is not None
    return TrainableNet(), batch


def masking() -> FusionTransformer:
    return FusionTransformer(
        {m: Pieces(4, 2, 8) for m in ("a", "b")}, classes=("no", "yes"), fusion_layer=1, layers=2, dim=8, heads=2
    )


def views(n: int = 16, lacking: int = 0) -> InMemory:
    rng = np.random.default_rng(0)
    inputs: dict[str, list[Any]] = {m: list(rng.normal(size=(n, 4)).astype(np.float32)) for m in ("a", "b")}
    inputs["a"][:lacking] = [None] * lacking
    kinds = {m: Tabular(columns=tuple("wxyz")) for m in inputs}
    return InMemory(inputs, targets=rng.integers(0, 2, n), modalities=kinds, classes=("no", "yes"))


@pytest.mark.parametrize("check", [c for kind in ALL for c in checks.of(kind())], ids=str)
def test_contracts(check: Callable[[], None]) -> None:
    check()


def test_masks_are_all_that_may_be_left() -> None:
    assert len(allowed_masks(("a", "b", "c"))) == 6
    assert allowed_masks(("a", "b", "c"), ("b",)).tolist() == [
        [True, True, False],
        [False, True, True],
        [False, True, False],
    ]
    with pytest.raises(AskedWrongly):
        allowed_masks(("a", "b"), ("a", "b"))
    with pytest.raises(AskedWrongly):
        allowed_masks(("a", "b"), ("d",))


def test_what_is_left_is_neutral_and_said_to_be_absent() -> None:
    model, batch = world()
    kept = torch.rand(24, 3) < 0.5
    less = left(model, batch, kept)
    for m, here in zip(model.modalities, kept.T, strict=True):
        neutral = batch.modalities[m].neutral(batch.inputs[m])
        for i in range(24):
            wanted = batch.inputs[m][i] if here[i] else neutral[i]
            got = less.inputs[m][i]
            assert torch.equal(got, wanted) if isinstance(got, Tensor) else got == wanted
        assert torch.equal(less.present[m], here)
    assert not batch.present


def test_every_allowed_subset_is_drawn_and_nobody_is_left_with_nothing() -> None:
    model = masking()
    batch = views(400, lacking=100).load(range(400)).batch
    assert batch is not None
    torch.manual_seed(0)
    kept = drawn(allowed_masks(model.modalities), batch, model)
    has = torch.stack([batch.present["a"], torch.ones(400, dtype=torch.bool)], dim=1)
    assert bool((kept & has).any(dim=1).all())
    whole = kept[100:]
    assert 0.4 < float(whole[:, 0].float().mean()) < 0.6
    assert bool((whole.sum(dim=1) == 1).all())


def test_multitask_is_the_sum_of_its_losses() -> None:
    model = masking()
    batch = views().load(range(16)).batch
    assert batch is not None
    off = torch.zeros(16, dtype=torch.bool)
    expected = functional.cross_entropy(model.predict(batch.inputs), batch.targets)
    for gone in ("a", "b"):
        expected = expected + functional.cross_entropy(model.predict(batch.inputs, {gone: off}), batch.targets)
    found = MaskedMultitask().loss(model, views())(batch)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_multitask_leaves_out_tasks_that_a_sample_has_no_input_for() -> None:
    model = masking()
    data = views(16, lacking=16)
    batch = data.load(range(16)).batch
    assert batch is not None
    full = functional.cross_entropy(model.predict(batch.inputs, dict(batch.present)), batch.targets)
    # Only the task of b is there, and it sees what everything shows.
    found = MaskedMultitask().loss(model, data)(batch)
    assert float(found.detach()) == pytest.approx(2 * float(full.detach()), abs=1e-5)


def test_self_distillation_teaches_without_a_gradient_through_the_teacher() -> None:
    model = masking()
    data = views()
    batch = data.load(range(16)).batch
    assert batch is not None
    method = Masd(weight=2.0)
    torch.manual_seed(3)
    parameters = list(model.trainable().parameters())
    with torch.enable_grad():
        loss = method.loss(model, data)(batch)
        got = torch.autograd.grad(loss, parameters, allow_unused=True)
        torch.manual_seed(3)
        less = left(model, batch, drawn(allowed_masks(model.modalities), batch, model))
        teacher = logits(model, batch).softmax(dim=1).detach()
        both = logits(model, stacked([batch, less])).log_softmax(dim=1)
        divergence = (teacher * (teacher.log() - both[16:])).sum(dim=1).mean()
        wanted_loss = functional.nll_loss(both[:16], batch.targets) + 2 * divergence
        wanted = torch.autograd.grad(wanted_loss, parameters, allow_unused=True)
    assert float(loss.detach()) == pytest.approx(float(wanted_loss.detach()), abs=1e-5)
    for a, b in zip(got, wanted, strict=True):
        assert (a is None) == (b is None)
        assert a is None or b is None or torch.allclose(a, b, atol=1e-6)


def test_the_current_teacher_is_in_evaluation_mode_and_gives_the_mode_back() -> None:
    model, batch = world()  # has dropout
    modules = model.trainable().train()
    assert torch.equal(taught(model, batch), taught(model, batch))
    assert modules.training
    assert not torch.equal(logits(model, batch), logits(model, batch))


def test_a_frozen_teacher_says_what_was_said_before_training() -> None:
    model = masking()
    data = views()
    batch = data.load(range(16)).batch
    assert batch is not None
    frozen, current = (Masd(teacher=t).loss(model, data) for t in ("frozen", "current"))
    torch.manual_seed(0)
    before = frozen(batch)
    torch.manual_seed(0)
    assert torch.allclose(before, current(batch))
    with torch.no_grad():
        for p in model.trainable().parameters():
            p.mul_(1.3)
    torch.manual_seed(0)
    after = frozen(batch)
    torch.manual_seed(0)
    assert not torch.allclose(after, current(batch))


@pytest.mark.parametrize("method", [kind.name for kind in ALL])
@pytest.mark.parametrize("fault", ["sentinel-fill", "missing-tells"])
def test_faults_are_found_before_and_not_after(fault: str, method: str) -> None:
    planted = organism(f"robustness.{fault}-digits")
    model, splits = planted.world(planted.matters, 0)
    probe = MissingModality()
    assert ask([probe], model, splits)[probe.name].of(probe.finds[planted.name])
    after = ask([probe], mended(method, model, splits, 0), splits)[probe.name]
    assert not after.alarms
    assert "missing_tilt" in after.judged


@pytest.mark.parametrize(
    ("make", "why"), [(lambda: ModalityDropout(whole=1.0), "whole"), (lambda: Masd(weight=0.0), "weight")]
)
def test_settings_that_do_nothing_are_refused(make: Callable[[], MaskedTraining], why: str) -> None:
    with pytest.raises(AskedWrongly, match=why):
        make()


def test_where_it_does_not_apply_it_says_why() -> None:
    model, _ = world()
    data = planted()
    assert Masd().why_not(model, data) is None
    assert "always" in str(Masd(always=("image", "text", "table")).why_not(model, data))
