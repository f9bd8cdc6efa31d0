"""The networks of the watch: what they are worth on new people, on the other arm, and that training repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from muroan import checks
from muroan.data.watch import watch
from muroan.dataset import Dataset
from muroan.errors import CannotComplete
from muroan.model import Model
from muroan.models.shipped import save
from muroan.models.watch import network, train, watch_model, watch_right_arm_model
from muroan.models.watch.network import FILE
from muroan.references import open_data, open_model
from muroan.training import Schedule


def right(model: Model, data: Dataset | None) -> float:
    assert data is not None
    batch = data.first(len(data))
    with torch.no_grad():
        return float((model.predict(batch.inputs).argmax(dim=1) == batch.targets).float().mean())


@pytest.mark.parametrize("check", [*checks.of(watch_model()), *checks.of(watch_right_arm_model())], ids=str)
def test_contract(check: checks.Check) -> None:
    check()


def test_what_has_known_both_arms_reads_new_people_as_well_as_new_recordings() -> None:
    model, data = open_model("watch"), open_data("watch")
    assert right(model, data.audited) > 0.7
    assert abs(right(model, data.audited) - right(model, data.reference)) < 0.1
    arms = open_data("watch-other-arm")
    assert abs(right(model, arms.audited) - right(model, arms.reference)) < 0.1


def test_what_has_known_one_arm_fails_on_the_other() -> None:
    model, arms = open_model("watch-right-arm"), open_data("watch-other-arm")
    assert right(model, arms.reference) > 0.75
    assert right(model, arms.audited) < 0.3


def test_training_repeats_and_is_saved_as_it_was(tmp_path: Path) -> None:
    members = watch().members
    assert members is not None
    some = members
    short = Schedule(epochs=4)
    model, _ = train(some, schedule=short)
    again, _ = train(some, schedule=short)
    assert model.fingerprint() == again.fingerprint() != network().fingerprint()
    assert train(some, seed=1, schedule=short)[0].fingerprint() != model.fingerprint()
    save(tmp_path / FILE, model.trainable(), {"seed": 0})
    batch = members.first(40)
    with torch.no_grad():
        assert torch.allclose(watch_model(tmp_path).predict(batch.inputs), model.predict(batch.inputs), atol=0.02)
    with pytest.raises(CannotComplete, match=r"muroan\.models\.watch\.train"):
        watch_right_arm_model(tmp_path)


def test_a_series_that_never_changes_has_a_gradient() -> None:
    model = network()
    still = torch.zeros(2, 100, 3, requires_grad=True)
    model.predict({"accelerometer": still, "gyroscope": still}).sum().backward()
    assert still.grad is not None
    assert bool(torch.isfinite(still.grad).all())
