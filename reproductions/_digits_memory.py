"""Networks that memorise scanned digits: many at once, each trained on a known half of the pictures.

The bed of the membership rows. The specification's own bed, emoji pictures with their names, is not among this
project's dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan import BlackBox, Tabular
from muroan.controllability.privacy.membership.likelihood_ratio import logit_confidence
from muroan.data.memory import InMemory

HIDDEN = 128
STEPS = 300


@dataclass(frozen=True)
class Memorised:
    """logits [M, N, 10] of M networks on all N pictures [N, 64]; inside [M, N]: which each was trained on."""

    pictures: Tensor
    targets: Tensor
    weights: list[Tensor]
    logits: Tensor
    inside: NDArray[np.bool_]

    def model(self, k: int) -> BlackBox:
        """The k-th network as an audit takes it."""
        own = [w[k] for w in self.weights]
        return BlackBox(
            lambda inputs: forward(inputs["picture"], own).numpy(),
            modalities=("picture",),
            classes=tuple(str(d) for d in range(10)),
            output="logits",
            name=f"digits {k}",
        )

    def data(self, index: NDArray[np.int64], name: str) -> InMemory:
        """Some of the pictures as a data set."""
        return InMemory(
            {"picture": self.pictures[torch.from_numpy(index)]},
            targets=self.targets[torch.from_numpy(index)].tolist(),
            modalities={"picture": Tabular(columns=tuple(f"pixel {i}" for i in range(64)))},
            classes=tuple(str(d) for d in range(10)),
            ids=[f"picture {i}" for i in index],
            name=f"digits ({name})",
        )

    def phi(self, models: list[int]) -> NDArray[np.float64]:
        """Logit-scaled confidence in the true digit, [N, models]."""
        return np.stack([logit_confidence(self.logits[k], self.targets).numpy() for k in models], axis=1)


def balanced_halves(models: int, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Every picture in exactly half of the models: bool [models, n]."""
    return rng.random((models, n)).argsort(axis=0).argsort(axis=0) < models // 2


def forward(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Logits of one network, or [M, N, 10] of M whose weights are stacked."""
    hidden = torch.relu(x @ weights[0] + weights[1])
    return hidden @ weights[2] + weights[3]


def scans() -> tuple[Tensor, Tensor]:
    """1,797 pictures [N, 64] in [0, 1] and their digits [N]."""
    from sklearn.datasets import load_digits

    raw, digits = load_digits(return_X_y=True)
    return torch.from_numpy((raw / 16).astype(np.float32)), torch.from_numpy(digits)


def memorise(inside: NDArray[np.bool_], seed: int) -> Memorised:
    """One network with a hidden layer per row of `inside`, all trained together to fit their pictures exactly."""
    x, y = scans()
    m = len(inside)
    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(m, 64, HIDDEN, generator=generator) / 64**0.5,
        torch.zeros(m, 1, HIDDEN),
        torch.randn(m, HIDDEN, 10, generator=generator) / HIDDEN**0.5,
        torch.zeros(m, 1, 10),
    ]
    for w in weights:
        w.requires_grad_()

    seen = torch.from_numpy(inside)
    optimiser = torch.optim.Adam(weights, lr=1e-2)
    for _ in range(STEPS):
        losses = torch.nn.functional.cross_entropy(
            forward(x, weights).transpose(1, 2), y.expand(m, -1), reduction="none"
        )
        loss = torch.where(seen, losses, 0.0).sum(dim=1) / seen.sum(dim=1)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    weights = [w.detach() for w in weights]
    return Memorised(x, y, weights, forward(x, weights), inside)
