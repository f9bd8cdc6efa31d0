"""One small encoder a view, their codes side by side, and a head: fusion by concatenation, on any number of views.

It is trained by cross-entropy on the members, with a little noise on every column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from muroan.data.multiple_features import DIGITS, VIEWS, multiple_features
from muroan.errors import AskedWrongly, unknown
from muroan.model import TorchModel
from muroan.models import shipped
from muroan.randomness import seeded
from muroan.training import Schedule, Trained

FILE = "weights.safetensors"
CODE = 32
"""Length of a view's code."""
HIDDEN = 64
"""Units of the head."""
SCHEDULE = Schedule(epochs=40, batch=64, rate=2e-3, decay=1e-2, patience=8)
NOISE = 0.1
"""Standard deviation of what is added to the standardised columns in training."""


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


def train(
    views: Sequence[str] = tuple(VIEWS), *, seed: int = 0, schedule: Schedule = SCHEDULE
) -> tuple[TorchModel, Trained]:
    """A model trained on the members of `multiple_features`, and how that went; a second or two on one core.

    Nothing of the audited or the reference split is seen: when to stop is told by a part of the members.
    """
    members = multiple_features(views).members
    assert members is not None
    model = network(views, seed=seed)
    return model, shipped.fit(model, members, schedule, noise=NOISE, name="digit-views", seed=seed)


def digit_views_model(folder: Path | None = None) -> TorchModel:
    """Which digit is it? The shipped network on all six views, or what the training script wrote into `folder`."""
    model = network(name="multiple-features")
    shipped.load(model.trainable(), "muroan.models.digit_views", FILE, folder)
    return model
