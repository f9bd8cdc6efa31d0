"""A network of three digit views, trained a little: what defences of fused codes are tried on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muroan import Splits
from muroan.batch import Batch
from muroan.data.multiple_features import multiple_features
from muroan.model import TorchModel
from muroan.models.digit_views import train
from muroan.models.digit_views.network import SCHEDULE

VIEWS = ("fourier", "profiles", "pixels")


@pytest.fixture(scope="session")
def data() -> Splits:
    return multiple_features(VIEWS)


@pytest.fixture(scope="session")
def base() -> TorchModel:
    """Not to be changed in place: copy it."""
    return train(VIEWS, seed=0, schedule=replace(SCHEDULE, epochs=10))[0]


@pytest.fixture(scope="session")
def batch(data: Splits) -> Batch:
    found = data.audited.load(range(200)).batch
    assert found is not None
    return found
