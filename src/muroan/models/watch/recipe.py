"""How the network is trained: cross-entropy on the members, with a little noise on every step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.watch import watch
from muroan.dataset import Dataset
from muroan.model import TorchModel
from muroan.models.watch.network import WIDTH, network
from muroan.training import Schedule, Trained, Trainer

SCHEDULE = Schedule(epochs=24, batch=64, rate=2e-3, decay=2e-2, patience=8)
NOISE = 0.3
"""Standard deviation of what is added to the standardised channels in training."""


def train(
    members: Dataset | None = None,
    *,
    seed: int = 0,
    width: int = WIDTH,
    noise: float = NOISE,
    schedule: Schedule = SCHEDULE,
) -> tuple[TorchModel, Trained]:
    """A model trained on these members (those of `watch` if None), and how that went; a few seconds on one core.

    When to stop is told by recordings among the members; the subjects held out are never seen.
    """
    members = watch().members if members is None else members
    assert members is not None
    model = network(width=width, seed=seed)

    def loss(batch: Batch) -> Tensor:
        noised = {m: x + noise * torch.randn_like(x) for m, x in batch.inputs.items()}
        return functional.cross_entropy(model.predict(noised), batch.targets)

    done = Trainer(name="watch").fit(model.trainable(), loss, members, schedule, seed=seed)
    return model, done
