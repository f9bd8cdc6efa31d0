"""LeMDA: features augmented by a network that learns, against the task, what change of them keeps their label.

Source: Liu et al., ICLR 2023, arXiv 2212.14453. z are all inputs' codes side by side, before fusion; z' = z + a small
variational autoencoder of z. The loss on a batch of both, labels tiled, with weights for the rest:

    CE([z; z'], y) + change · MSE(z', z) + spread · KL(latent ‖ N(0, 1)) + consistency · mean(1[max q > sure] KL(p ‖ q))

p and q are the answers to z' and z. The gradient of the cross-entropy reaches the augmenter reversed and weighted, so
that it makes what is hard; the other gradients reach it as they are, so that it keeps near what is known.

The released default ends its decoder in ReLU and dropout on a linear layer that starts at zero, where ReLU passes no
gradient: it never trains. Here the decoder ends in a plain linear layer. Units, latent size and weights are the
released ones; one optimiser at one rate stands for the released two, and the dropout in the augmenter is chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import decided, reversed_gradient, task_loss
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.randomness import choose, seeded
from muroan.registry import register

SEEN = 512
"""Training samples that the size of the learnt change is measured on."""


@dataclass(frozen=True)
class Features:
    """A batch's codes side by side, z [N, D]; shapes: of each input's code without its first axis, in order."""

    z: Tensor
    shapes: Mapping[str, tuple[int, ...]]

    @staticmethod
    def of(model: Model, batch: Batch) -> Features:
        """Raises `AskedWrongly` where a code is not one tensor."""
        codes = {m: model.encode(m, batch.inputs[m]) for m in model.modalities}
        for m, code in codes.items():
            if not isinstance(code, Tensor):
                raise AskedWrongly(f"lemda augments codes that are one tensor each; those of {m!r} are several")
        flat = torch.cat([c.flatten(1) for c in codes.values()], dim=1)
        return Features(flat, {m: tuple(c.shape[1:]) for m, c in codes.items()})

    def codes(self, z: Tensor) -> dict[str, Tensor]:
        """Rows [R, D] as each input's codes."""
        widths = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.split(z, widths, dim=1)
        return {m: p.view(-1, *shape) for p, (m, shape) in zip(parts, self.shapes.items(), strict=True)}

    def logits(self, model: Model, batch: Batch, z: Tensor) -> Tensor:
        """The model's answers to rows of features [k · N, D], which are k times the batch's samples in order."""
        times = len(z) // len(batch)
        return decided(model, self.codes(z), {m: p.repeat(times) for m, p in batch.present.items()})


def unit(inside: int, outside: int, dropout: float) -> nn.Sequential:
    """Norm, linear, activation, dropout."""
    return nn.Sequential(nn.LayerNorm(inside), nn.Linear(inside, outside), nn.ReLU(), nn.Dropout(dropout))


class Augmenter(nn.Module):
    """A variational autoencoder whose output is added to its input; at the start it is zero.

    width: of the features; latent: numbers in the latent; layers: of encoder and decoder each, their sizes evenly
    spaced between the two.
    """

    def __init__(self, width: int, latent: int, layers: int, dropout: float) -> None:
        super().__init__()
        sizes = [int(s) for s in np.linspace(width, latent, layers + 1).round()]
        self.encoder = nn.Sequential(*[unit(a, b, dropout) for a, b in pairwise(sizes)])
        self.mean, self.spread = nn.Linear(latent, latent), nn.Linear(latent, latent)
        back = sizes[::-1]
        self.decoder = nn.Sequential(*[unit(a, b, dropout) for a, b in pairwise(back[:-1])])
        # Plain: behind a ReLU that starts at 0 these weights would have no gradient, ever.
        self.last: nn.Module = nn.Linear(back[-2], width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, D] -> (augmented [N, D], mean and log-variance of the latent [N, L] each)."""
        hidden = self.encoder(z)
        mean, log_variance = self.mean(hidden), self.spread(hidden)
        drawn = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return z + self.last(self.decoder(drawn)), mean, log_variance


@dataclass(frozen=True)
class Terms:
    """Parts of the loss, unweighted: cross-entropy, mean square change, KL of the latent, consistency."""

    task: Tensor
    change: Tensor
    spread: Tensor
    consistency: Tensor


def two_sided(
    model: Model, batch: Batch, features: Features, new: Tensor, *, adversarial: float, sure: float
) -> tuple[Tensor, Tensor]:
    """(cross-entropy of features and new ones, consistency of the answers); the labels are tiled.

    Only the cross-entropy's gradient is reversed on its way to `new`: the consistency sees it unhooked.
    """
    n = len(batch)
    hard = reversed_gradient(new, adversarial)
    logits = features.logits(model, batch, torch.cat([features.z, hard, new]))
    task = functional.cross_entropy(logits[: 2 * n], batch.targets.repeat(2))
    q, p = logits[:n].detach().log_softmax(dim=1), logits[2 * n :].log_softmax(dim=1)
    known = q.exp().amax(dim=1) > sure
    consistency = (known * (p.exp() * (p - q)).sum(dim=1)).mean()
    return task, consistency


def kl_of_latent(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL to the standard normal, the mean over samples and latent numbers."""
    return -(1 + log_variance - mean.square() - log_variance.exp()).mean() / 2


@register
@dataclass(frozen=True, kw_only=True)
class LeMDA(Retraining):
    """Trains a fusion network on its features and on learnt variants of them; the augmenter is dropped afterwards.

    adversarial, change, spread, consistency: weights; sure: the answer to untouched features counts for the
    consistency above this probability. Encoders learn from untouched features alone, as in the source.
    """

    name = "lemda"
    does = "Trains on features changed by a network that learns which change is hard, for few labels."
    place = "robustness/distribution_shift"
    source = "Liu et al., ICLR 2023, arXiv 2212.14453; the decoder ends in a plain linear layer"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.TRAIN})
    stops_early = False

    adversarial: float = 1e-4
    change: float = 0.1
    spread: float = 0.1
    consistency: float = 0.01
    sure: float = 0.5
    latent: int = 8
    layers: int = 4
    dropout: float = 0.1
    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.adversarial, self.change, self.spread, self.consistency) < 0:
            raise AskedWrongly(f"lemda's weights are at least 0: {self}")
        if self.latent < 1 or self.layers < 1 or not 0 <= self.dropout < 1 or not 0 <= self.sure <= 1:
            raise AskedWrongly(f"lemda's augmenter has a latent and a layer at least and a dropout below 1: {self}")

    def applies(self, model: Model, schema: Schema) -> str | None:
        if Capability.ALIGNED in model.capabilities:
            return "its codes are compared, not fused: there is no network behind them that would learn"
        return None

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        augmenter = self.augmenter(model, data, seed)
        return Objective(
            partial(self.loss, model, augmenter),
            partial(task_loss, model),
            beside={"augmenter": augmenter},
            notes=lambda: [learnt_change(model, augmenter, data, seed)],
        )

    def augmenter(self, model: Model, data: Dataset, seed: int) -> Augmenter:
        """An untrained one that fits the model's features."""
        with torch.no_grad(), seeded(self.name, seed):
            width = Features.of(model, data.first(1)).z.shape[1]
            return Augmenter(width, self.latent, self.layers, self.dropout)

    def terms(self, model: Model, augmenter: Augmenter, batch: Batch) -> Terms:
        """The loss's parts on one batch."""
        features = Features.of(model, batch)
        known = features.z.detach()
        new, mean, log_variance = augmenter(known)
        task, consistent = two_sided(model, batch, features, new, adversarial=self.adversarial, sure=self.sure)
        return Terms(task, functional.mse_loss(new, known), kl_of_latent(mean, log_variance), consistent)

    def loss(self, model: Model, augmenter: Augmenter, batch: Batch) -> Tensor:
        """The weighted sum."""
        t = self.terms(model, augmenter, batch)
        return t.task + self.change * t.change + self.spread * t.spread + self.consistency * t.consistency


@torch.no_grad()
def learnt_change(model: Model, augmenter: Augmenter, data: Dataset, seed: int) -> str:
    """A note on the size of the change over that of the features (root mean squares). 0: the augmenter does nothing."""
    batch = data.load(choose(data.ids, SEEN, "lemda", seed)).batch
    share = 0.0
    if batch is not None:
        with seeded("lemda change", seed):
            z = Features.of(model, batch).z
            moved = augmenter(z)[0] - z
        share = float(moved.square().mean().sqrt() / z.square().mean().sqrt().clamp_min(1e-30))
    return f"at the weights kept, augmented features lie {share:.2%} of their length from their origin"
