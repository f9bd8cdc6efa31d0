"""One small encoder a view, their codes side by side, and a head: fusion by concatenation, on any number of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from muroan.data.multiple_features import DIGITS, VIEWS
from muroan.errors import AskedWrongly, unknown
from muroan.model import TorchModel
from muroan.models import shipped
from muroan.randomness import seeded

FILE = "weights.safetensors"
CODE = 32
"""Length of a view's code."""
HIDDEN = 64
"""Units of the head."""


def network(views: Sequence[str] = tuple(VIEWS), *, seed: object = 0, name: str = "digit views") -> TorchModel:
    """An untrained model of these views of `muroan.data.multiple_features`; its weights come from `seed` alone."""
    for view in views:
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
    if len(views) < 2 or len(set(views)) < len(views):
        raise AskedWrongly(f"several views are fused, each once; got {', '.join(views) or 'none'}")
    with seeded("digit views", seed):
        encoders = {v: nn.Sequential(nn.Linear(VIEWS[v][1], CODE), nn.ReLU()) for v in views}
        head = nn.Sequential(nn.Linear(CODE * len(views), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(DIGITS)))
    order = tuple(views)

    def side_by_side(codes: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([codes[v] for v in order], dim=1)

    return TorchModel(encoders=encoders, fusion=side_by_side, head=head, classes=DIGITS, name=name)


def digit_views_model(folder: Path | None = None) -> TorchModel:
    """Which digit is it? The shipped network on all six views, or what the training script wrote into `folder`."""
    model = network(name="multiple-features")
    shipped.load(model.trainable(), "muroan.models.digit_views", FILE, folder)
    return model
