"""Trains the shipped towers: `python -m muroan.models.emoji_towers.train [--out DIR] [--seed 0] [--steps N]`.

Writes conv.safetensors, patch.safetensors and CARD.md. About a minute on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from muroan.models.emoji_towers.card import write
from muroan.models.emoji_towers.model import pairs_of
from muroan.models.emoji_towers.network import ARCHITECTURES
from muroan.models.emoji_towers.recipe import Recipe, train
from muroan.models.emoji_towers.weights import save


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, saves, measures what was saved."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    options = parser.parse_args(arguments)
    recipe = replace(Recipe(), steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    pictures, captions = pairs_of()
    for architecture in ARCHITECTURES:
        net = train(pictures, captions, architecture, seed=options.seed, recipe=recipe)
        save(options.out, net, {"seed": options.seed, "recipe": asdict(recipe), "pairs": len(pictures)})
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(recipe).items())
    write(options.out, ARCHITECTURES, {"seed": options.seed, "recipe": said, "pairs": len(pictures)})


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
