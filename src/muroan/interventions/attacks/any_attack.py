"""AnyAttack: one pass through a decoder turns a target's code into noise that makes any picture look like the target.

The decoder is trained without labels: of N pictures, each one's code becomes noise that is added to other pictures, and
the code of what comes out, averaged over a few of them, has to find its own picture among the N (InfoNCE, with a
temperature that falls while it trains). Source: Zhang et al., CVPR 2025, written from its
description. Our own: the decoder's size, and the fine-tuning, which goes on with InfoNCE both ways at the last
temperature, the published alternative being a cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.results import compared, nothing
from muroan.interventions.attacks.targeted import spread, values_of
from muroan.losses import info_nce
from muroan.meter import Metered
from muroan.modality import Image
from muroan.model import Capability
from muroan.randomness import seeded

RADIUS = 16 / 255
"""The source's."""


class Decoder(nn.Module):
    """Codes [N, D] of length 1 -> noise [N, C, H, W] between −1 and 1, in units of the radius."""

    def __init__(self, width: int, channels: int, size: tuple[int, int], features: int = 64) -> None:
        super().__init__()
        self.size = size
        self.side = max(2, math.ceil(max(size) / 8))
        self.features = features
        self.first = nn.Linear(width, features * self.side**2)
        layers: list[nn.Module] = []
        now = features
        for _ in range(3):
            layers += [nn.GELU(), nn.Upsample(scale_factor=2), nn.Conv2d(now, now // 2, 3, padding=1)]
            now //= 2
        self.rest = nn.Sequential(*layers, nn.GELU(), nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, codes: Tensor) -> Tensor:
        grown = self.rest(self.first(codes).view(-1, self.features, self.side, self.side))
        return torch.tanh(grown[..., : self.size[0], : self.size[1]])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a decoder is trained: `steps` of `rows` pictures and `tuning` more, with rate `rate`; each noise is added to
    `mixed` other pictures; the temperature falls from `hot` to `cold` over the steps."""

    radius: float = RADIUS
    steps: int = 400
    tuning: int = 100
    rows: int = 64
    mixed: int = 2
    hot: float = 1.0
    cold: float = 0.07
    rate: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.steps, self.rows - 1, self.mixed) < 1 or self.tuning < 0 or not self.radius > 0 < self.cold:
            raise AskedWrongly(f"a decoder needs a radius, steps, two rows and a temperature: {self}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AnyAttack(Attack):
    """A fitted decoder: target -> noise in one pass, the same for every picture. It never looks at what is attacked.

    target: a picture, or sample id -> picture, taken from the user. encoder: the surrogate whose codes the decoder
    reads. The noise is scaled to the budget's radius. Not registered: without being fitted (`fit`) it is nothing.
    """

    name = "any_attack"
    source = "Zhang et al., CVPR 2025"

    modality: str
    decoder: Decoder
    encoder: Metered
    target: Any = field(default=None)

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        budget = budgets.get(self.modality)
        if budget is None or budget.radius == 0:
            return nothing(model, batch)
        if self.target is None:
            raise AskedWrongly(f"{self.name} needs a target: a value of {self.modality}, or sample id -> value")
        targets = values_of(self.target, batch, self.modality)
        x: Tensor = batch.inputs[self.modality]
        noise = spread(self.noise(targets), len(batch))
        return compared(model, batch, batch.with_inputs(**{self.modality: (x + budget.radius * noise).clamp(0, 1)}))

    @torch.no_grad()
    def noise(self, targets: Tensor) -> Tensor:
        """Noise [N, C, H, W] between −1 and 1 that says "look like this"."""
        noise: Tensor = self.decoder(self.encoder.encode(self.modality, targets).data)
        return noise


def fit(model: Metered, batch: Batch, modality: str, recipe: Recipe | None = None, *, seed: int = 0) -> AnyAttack:
    """A decoder trained on the pictures of this batch against a surrogate whose codes are aligned.

    Costs (steps + tuning) · rows · mixed forward and backward passes of the surrogate, and the codes of the batch.
    """
    recipe = recipe or Recipe()
    model.require(Capability.ALIGNED, Capability.GRADIENTS)
    kind = batch.modalities[modality]
    if not isinstance(kind, Image):
        raise AskedWrongly(f"any_attack makes pictures look like others; {modality!r} is {kind.kind}")
    x: Tensor = batch.inputs[modality]
    if len(x) < recipe.rows:
        raise AskedWrongly(f"{len(x)} pictures to train a decoder on, fewer than the {recipe.rows} of a step")
    codes = model.encode(modality, x).data
    with seeded("any attack", seed), torch.enable_grad():
        decoder = Decoder(codes.shape[1], kind.channels, kind.size)
        optimiser = torch.optim.Adam(decoder.parameters(), lr=recipe.rate)
        total = recipe.steps + recipe.tuning
        for step in range(total):
            rows = torch.randperm(len(x))[: recipe.rows]
            noise = recipe.radius * decoder(codes[rows])
            seen = []
            for _ in range(recipe.mixed):
                others = x[torch.randint(len(x), (len(rows),))]
                seen.append(model.encode_differentiable(modality, (others + noise).clamp(0, 1)))
            found = functional.normalize(torch.stack(seen).mean(dim=0), dim=1)
            cooled = min(1.0, step / max(1, recipe.steps - 1))
            temperature = recipe.hot * (recipe.cold / recipe.hot) ** cooled
            if step < recipe.steps:
                loss = functional.cross_entropy(found @ codes[rows].T / temperature, torch.arange(len(rows)))
            else:
                loss = info_nce(found, codes[rows], 1 / recipe.cold)
            gradients = model.backward(loss, list(decoder.parameters()), len(rows) * recipe.mixed)
            for p, g in zip(decoder.parameters(), gradients, strict=True):
                p.grad = g
            optimiser.step()
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * (1 + math.cos(math.pi * (step + 1) / total)) / 2
    return AnyAttack(modality=modality, decoder=decoder.eval().requires_grad_(False), encoder=model)
