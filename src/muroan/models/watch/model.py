"""The shipped networks, and their weights on disk."""

from __future__ import annotations

from pathlib import Path

from muroan.model import TorchModel
from muroan.models import shipped
from muroan.models.watch.network import network

FILE, RIGHT_ARM = "weights.safetensors", "right_arm.safetensors"


def watch_model(folder: Path | None = None) -> TorchModel:
    """Which exercise is it? Trained on both arms of seven people; the shipped weights, or those in `folder`."""
    return shipped.loaded(network(name="watch"), "muroan.models.watch", FILE, folder)


def watch_right_arm_model(folder: Path | None = None) -> TorchModel:
    """The same, trained on their right arms alone: what it does on left ones is a natural shift."""
    return shipped.loaded(network(name="watch-right-arm"), "muroan.models.watch", RIGHT_ARM, folder)
