"""The network for digits in six views: what it is worth with and without each view, and that training repeats."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch

from muroan import checks
from muroan.batch import Batch
from muroan.data.multiple_features import VIEWS, multiple_features
from muroan.errors import AskedWrongly, CannotComplete, MuroanError
from muroan.model import Capability, TorchModel
from muroan.models.digit_views import digit_views_model, network
from muroan.models.digit_views.network import FILE, SCHEDULE
from muroan.models.shipped import save
from muroan.references import open_data, open_model


@pytest.fixture(scope="module")
def model() -> TorchModel:
    return digit_views_model()


@pytest.fixture(scope="module")
def audited() -> Batch:
    data = multiple_features().audited
    batch = data.first(len(data))
    return batch


def accuracy(model: TorchModel, batch: Batch) -> float:
    return float((model.predict(batch.inputs).argmax(dim=1) == batch.targets).float().mean())


@pytest.mark.parametrize("check", checks.of(digit_views_model()), ids=str)
def test_contract(check: checks.Check) -> None:
    check()


def test_it_reads_digits_it_never_saw(model: TorchModel, audited: Batch) -> None:
    assert accuracy(model, audited) > 0.96


@pytest.mark.parametrize("view", VIEWS)
def test_any_five_views_are_enough_and_none_alone(model: TorchModel, audited: Batch, view: str) -> None:
    assert accuracy(model, audited.without(view)) > 0.93
    assert accuracy(model, audited.without(*(v for v in VIEWS if v != view))) < 0.9


def test_references_of_model_and_data_belong_together() -> None:
    found, data = open_model("multiple-features"), open_data("multiple-features")
    data.check()
    assert set(found.modalities) == set(data.audited.schema.modalities)
    assert found.classes == data.audited.schema.classes
    assert {Capability.FUSE, Capability.SCORES, Capability.GRADIENTS, Capability.TRAIN} <= found.capabilities


def test_the_file_is_small() -> None:
    assert files("muroan.models.digit_views").joinpath(FILE).stat().st_size < 200_000  # type: ignore[attr-defined]


def test_saved_and_loaded_it_answers_the_same(model: TorchModel, audited: Batch, tmp_path) -> None:
    save(tmp_path / FILE, model.trainable(), {"seed": 0})
    again = digit_views_model(tmp_path)
    assert torch.equal(again.predict(audited.inputs), model.predict(audited.inputs))
    with pytest.raises(CannotComplete, match="train it"):
        digit_views_model(tmp_path / "nowhere")


def test_weights_come_from_the_seed_alone() -> None:
    views = ("fourier", "pixels")
    torch.manual_seed(1)
    one = network(views, seed=3)
    torch.manual_seed(2)
    assert one.fingerprint() == network(views, seed=3).fingerprint() != network(views, seed=4).fingerprint()


def test_training_learns_and_is_repeated_to_the_bit() -> None:
    from dataclasses import replace

    from muroan.models.digit_views import train

    short, views = replace(SCHEDULE, epochs=3), ("fourier", "profiles", "pixels")
    (one, went), (two, _) = (train(views, seed=1, schedule=short) for _ in range(2))
    assert one.fingerprint() == two.fingerprint() != network(views, seed=1).fingerprint()
    assert went.validation[-1] < went.validation[0]


def test_wrong_views_are_refused() -> None:
    with pytest.raises(MuroanError, match="fourier"):
        network(("fourrier", "pixels"))
    for views in (("pixels",), ("pixels", "pixels")):
        with pytest.raises(AskedWrongly, match="several views"):
            network(views)
