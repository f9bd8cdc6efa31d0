"""A small model that can be trained, and its data, for tests that harden models: by reference, in other processes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from muroan import Image, Splits, Tabular, TorchModel
from muroan.data.memory import InMemory

MODALITIES = {"image": Image(size=(4, 4)), "table": Tabular(columns=("a", "b"))}
CLASSES = ("dark", "bright")
N = 400


def _part(name: str, seed: int) -> InMemory:
    """A picture is bright or dark: a little in every pixel, and surely in the first one, but by less than 8/255."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, N)
    image = rng.uniform(0.4, 0.6, (N, 3, 4, 4)) + 0.06 * (2 * y - 1)[:, None, None, None]
    image[:, :, 0, 0] = 0.5 + 0.02 * (2 * y - 1)[:, None]
    table = rng.normal(0, 1, (N, 2)) + 0.3 * (2 * y - 1)[:, None]
    return InMemory(
        {"image": torch.tensor(image, dtype=torch.float32), "table": torch.tensor(table, dtype=torch.float32)},
        targets=y,
        modalities=MODALITIES,
        classes=CLASSES,
        ids=[f"{name} {i}" for i in range(N)],
        name=f"squares ({name})",
    )


def data() -> Splits:
    return Splits(_part("audited", 1), _part("reference", 2), _part("members", 3))


def fragile() -> TorchModel:
    """Looks at the first pixel above all: right on nearly everything, and turned by the smallest change of it."""
    torch.manual_seed(0)
    image, table, head = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), nn.Linear(2, 2), nn.Linear(6, 2)
    with torch.no_grad():
        for part in (image[1], table, head):
            part.weight.mul_(0.01)
            part.bias.zero_()
        image[1].weight[0, [0, 16, 32]] = 2.0
        image[1].bias[0] = -3.0
        head.weight[:, 0] = torch.tensor([-3.0, 3.0])
    return TorchModel(
        encoders={"image": image, "table": table},
        fusion=lambda c: torch.cat([c["image"], c["table"]], dim=1),
        head=head,
        classes=CLASSES,
        name="fragile",
    )
