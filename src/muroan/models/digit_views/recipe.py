"""How the network is trained: cross-entropy on the members, with a little noise on every column."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.multiple_features import VIEWS, multiple_features
from muroan.model import TorchModel
from muroan.models.digit_views.network import network
from muroan.training import Schedule, Trained, Trainer

SCHEDULE = Schedule(epochs=40, batch=64, rate=2e-3, decay=1e-2, patience=8)
NOISE = 0.1
"""Standard deviation of what is added to the standardised columns in training."""


def train(
    views: Sequence[str] = tuple(VIEWS), *, seed: int = 0, schedule: Schedule = SCHEDULE
) -> tuple[TorchModel, Trained]:
    """A model trained on the members of `multiple_features`, and how that went; a second or two on one core.

    Nothing of the audited or the reference split is seen: when to stop is told by a part of the members.
    """
    members = multiple_features(views).members
    assert members is not None
    model = network(views, seed=seed)

    def loss(batch: Batch) -> Tensor:
        noised = {m: x + NOISE * torch.randn_like(x) for m, x in batch.inputs.items()}
        return functional.cross_entropy(model.predict(noised), batch.targets)

    done = Trainer(name="digit-views").fit(model.trainable(), loss, members, schedule, seed=seed)
    return model, done
