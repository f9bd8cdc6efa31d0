"""The shipped network, and its weights on disk."""

from __future__ import annotations

from pathlib import Path

from muroan.model import TorchModel
from muroan.models import shipped
from muroan.models.digit_views.network import network

FILE = "weights.safetensors"


def digit_views_model(folder: Path | None = None) -> TorchModel:
    """Which digit is it? The shipped network on all six views, or what the training script wrote into `folder`."""
    return shipped.loaded(network(name="multiple-features"), "muroan.models.digit_views", FILE, folder)
