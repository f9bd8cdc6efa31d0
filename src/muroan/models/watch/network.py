"""One small convolutional encoder a sensor, their codes side by side, and a head.

It is trained by cross-entropy on the members, with a little noise on every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from muroan.data.watch import EXERCISES, SENSORS, watch
from muroan.dataset import Dataset
from muroan.model import TorchModel
from muroan.models import shipped
from muroan.randomness import seeded
from muroan.training import Schedule, Trained

FILE, RIGHT_ARM = "weights.safetensors", "right_arm.safetensors"
WIDTH, HIDDEN = 24, 48
"""Channels of the first layer of an encoder, and units of the head."""
SCHEDULE = Schedule(epochs=24, batch=64, rate=2e-3, decay=2e-2, patience=8)
NOISE = 0.3
"""Standard deviation of what is added to the standardised channels in training."""


class Sensor(nn.Module):
    """Series [N, T, channels] -> codes [N, code]: two strided convolutions, mean and largest value over time, beside
    the channels' own mean and spread (how the arm is held, and how much it moves)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.code = 4 * width + 2 * channels
        self.first = nn.Conv1d(channels, width, 7, stride=2, padding=3)
        self.second = nn.Conv1d(width, 2 * width, 5, stride=2, padding=2)

    def forward(self, series: Tensor) -> Tensor:
        x = self.second(self.first(series.transpose(1, 2)).relu()).relu()
        spread = (series.var(dim=1, correction=0) + 1e-6).sqrt()  # of a constant series, too, with a gradient
        return torch.cat([x.mean(dim=2), x.amax(dim=2), series.mean(dim=1), spread], dim=1)


def network(*, width: int = WIDTH, seed: object = 0, name: str = "watch") -> TorchModel:
    """An untrained model of both sensors; its weights come from `seed` alone."""
    with seeded("watch", width, seed):
        encoders = {s: Sensor(len(channels), width) for s, channels in SENSORS.items()}
        head = nn.Sequential(
            nn.Linear(sum(e.code for e in encoders.values()), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(EXERCISES))
        )

    def side_by_side(codes: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([codes[s] for s in SENSORS], dim=1)

    return TorchModel(encoders=encoders, fusion=side_by_side, head=head, classes=EXERCISES, name=name)


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
    return model, shipped.fit(model, members, schedule, noise=noise, name="watch", seed=seed)


def watch_model(folder: Path | None = None) -> TorchModel:
    """Which exercise is it? Trained on both arms of seven people; the shipped weights, or those in `folder`."""
    return _trained("watch", FILE, folder)


def watch_right_arm_model(folder: Path | None = None) -> TorchModel:
    """The same, trained on their right arms alone: what it does on left ones is a natural shift."""
    return _trained("watch-right-arm", RIGHT_ARM, folder)


def _trained(name: str, file: str, folder: Path | None) -> TorchModel:
    model = network(name=name)
    shipped.load(model.trainable(), "muroan.models.watch", file, folder)
    return model
