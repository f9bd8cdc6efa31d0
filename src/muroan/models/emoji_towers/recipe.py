"""How towers are trained: symmetric InfoNCE over pairs, pictures moved a little, captions drawn anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.losses import info_nce
from muroan.models.emoji_towers.network import Architecture, Towers
from muroan.randomness import key

MAX_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a training run depends on besides pairs, architecture and seed.

    steps: of `batch` pairs each; a pair is seen with one of its captions, drawn anew. Pictures are shifted, scaled,
    turned and mirrored, and their colours changed, within the bounds `shift` (share of the side), `zoom`, `turn`
    (radians), `mirror` (probability) and `colour`.
    """

    steps: int = 300
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    shift: float = 0.1
    zoom: float = 0.15
    turn: float = 0.15
    mirror: float = 0.5
    colour: float = 0.15


def train(
    pictures: Tensor,
    captions: Sequence[Sequence[str]],
    architecture: Architecture = "conv",
    *,
    seed: object = 0,
    recipe: Recipe | None = None,
) -> Towers:
    """Towers trained on N pairs: pictures, bytes or [0, 1] [N, 3, 32, 32]; captions: some of each picture.

    Each time a pair is seen, one of its captions is drawn. Draws come from `seed` alone; the caller's generator is
    left as it was.
    """
    recipe = recipe or Recipe()
    pictures = pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key("emoji towers", architecture, seed) % 2**63)
        net = Towers(architecture)
        tokens = _Tokens(net, captions)
        optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
        )
        order = torch.empty(0, dtype=torch.long)
        size = min(recipe.batch, len(pictures))
        for _ in range(recipe.steps):
            if len(order) < size:
                order = torch.randperm(len(pictures))
            now, order = order[:size], order[size:]
            seen = functional.normalize(net.image(augmented(pictures[now], recipe)), dim=1)
            read = functional.normalize(tokens.codes(now), dim=1)
            loss = info_nce(seen, read, net.log_scale.exp().clamp_max(MAX_SCALE))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        net.log_scale.clamp_(max=math.log(MAX_SCALE))
    return net.eval()


class _Tokens:
    """Captions, hashed once."""

    def __init__(self, net: Towers, captions: Sequence[Sequence[str]]) -> None:
        self.net = net
        flat = [c for row in captions for c in row]
        self.count = torch.tensor([len(row) for row in captions])
        self.first = self.count.cumsum(0) - self.count
        self.rows, self.weights, words = net.text.words.pieces(flat)
        self.mask = words >= 0

    def codes(self, pairs: Tensor) -> Tensor:
        pick = self.first[pairs] + (torch.rand(len(pairs)) * self.count[pairs]).long()
        vectors = self.net.text.words.vectors(self.rows[pick], self.weights[pick])
        return self.net.text.encode_words(vectors, self.mask[pick])


def augmented(pictures: Tensor, recipe: Recipe) -> Tensor:
    """Pictures moved and coloured a little, each by draws of its own; what comes in from outside is white."""
    n = len(pictures)
    turn = (torch.rand(n) * 2 - 1) * recipe.turn
    zoom = 1 + (torch.rand(n) * 2 - 1) * recipe.zoom
    side = torch.where(torch.rand(n) < recipe.mirror, -1.0, 1.0)
    move = (torch.rand(n, 2) * 2 - 1) * 2 * recipe.shift
    first = torch.stack([zoom * side * turn.cos(), -zoom * turn.sin(), move[:, 0]], dim=1)
    second = torch.stack([zoom * side * turn.sin(), zoom * turn.cos(), move[:, 1]], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), list(pictures.shape), align_corners=False)
    moved = 1 - functional.grid_sample(1 - pictures, grid, align_corners=False)
    gain = 1 + (torch.rand(n, 3, 1, 1) * 2 - 1) * recipe.colour
    # Around white, so that paper stays paper.
    return (1 - (1 - moved) * gain).clamp(0, 1)
