"""Trains the shipped towers: `python -m muroan.models.emoji_towers.train [--out DIR] [--seed 0] [--steps N]`.

Writes conv.safetensors, patch.safetensors and CARD.md. About a minute on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from muroan.models import shipped
from muroan.models.emoji_towers.card import write
from muroan.models.emoji_towers.model import pairs_of, save
from muroan.models.emoji_towers.network import ARCHITECTURES
from muroan.models.emoji_towers.recipe import Recipe, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, saves, measures what was saved."""
    options = shipped.options(__doc__, __file__, arguments, seed=0, steps=Recipe.steps)
    recipe = replace(Recipe(), steps=options.steps)
    pictures, captions = pairs_of()
    for architecture in ARCHITECTURES:
        net = train(pictures, captions, architecture, seed=options.seed, recipe=recipe)
        save(options.out, net, {"seed": options.seed, "recipe": asdict(recipe), "pairs": len(pictures)})
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(recipe).items())
    write(options.out, ARCHITECTURES, {"seed": options.seed, "recipe": said, "pairs": len(pictures)})


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
