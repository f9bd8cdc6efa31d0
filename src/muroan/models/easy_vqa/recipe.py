"""How the network is trained: one recipe for the shipped model and its shadows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.data.easy_vqa import MEAN_COLOUR
from muroan.models.easy_vqa.examples import Examples
from muroan.models.easy_vqa.network import PADDING, UNKNOWN_INDEX, Network, halve
from muroan.randomness import key, sample_keys, uniform


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on besides the pictures and the seed.

    Pictures are mirrored with probability one half: a mirrored shape is the same shape. For a question the picture
    or the words are missing with probability `missing` each (never both), so that a missing modality is something
    the model has seen. In half of the questions each word is unknown with probability `unknown`.
    """

    epochs: int = 25
    pictures_a_step: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    warm_up: float = 0.15
    missing: float = 0.1
    unknown: float = 0.2

    def steps(self, pictures: int) -> int:
        """Optimiser steps of a training run on that many pictures."""
        return self.epochs * -(-pictures // self.pictures_a_step)


def train(
    examples: Examples,
    chosen: Tensor,
    index: Mapping[str, int],
    recipe: Recipe,
    *,
    classes: int,
    seed: object,
    step_done: Callable[[], object] = lambda: None,
) -> Network:
    """A network trained on the pictures `chosen` (positions in `examples`) with all their questions.

    index: word -> row of the word table; seed: anything printable; step_done is called after every step.
    """
    generator = torch.Generator().manual_seed(key("easy-vqa training", seed) % 2**63)
    network = Network(len(index), classes)
    network.initialise(generator)
    network.mean.copy_(halve(examples.values(chosen).mean(dim=0)))
    tokens = examples.tokens(index)
    neutral = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).expand(1, 3, 64, 64)

    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps(len(chosen)), pct_start=recipe.warm_up
    )
    for _ in range(recipe.epochs):
        order = chosen[torch.randperm(len(chosen), generator=generator)]
        for step in torch.split(order, recipe.pictures_a_step):
            questions, picture = examples.of_pictures(step)
            words, mask, unseen = _withhold(tokens[questions], recipe, generator)
            shown = examples.values(step)
            turned = torch.rand(len(shown), 1, 1, 1, generator=generator) < 0.5
            pictures = torch.cat([torch.where(turned, shown.flip(3), shown), neutral])
            picture = torch.where(unseen, len(step), picture)
            fused = network.fuse(
                network.encode_image(pictures)[picture], network.encode_words(network.words(words), mask)
            )
            loss = functional.cross_entropy(network.decide(fused), examples.targets[questions])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            step_done()
    return network.eval()


def _withhold(tokens: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens with some unknown, mask of the words shown [N, T], questions without a picture [N])."""
    n = len(tokens)
    noisy = torch.rand(n, 1, generator=generator) < 0.5
    lost = noisy & (torch.rand(tokens.shape, generator=generator) < recipe.unknown) & (tokens != PADDING)
    draw = torch.rand(n, generator=generator)
    mask = (tokens != PADDING) & (draw >= recipe.missing)[:, None]
    return torch.where(lost, UNKNOWN_INDEX, tokens), mask, draw > 1 - recipe.missing


def balanced_halves(names: list[str], models: int, seed: object) -> Tensor:
    """Which pictures each shadow model is trained on: bool [models, P], every picture for half of the models.

    Independent coin flips would leave some pictures with no model that saw them, or none that did not.
    """
    draws = torch.from_numpy(uniform(sample_keys(names, "easy-vqa shadows", seed), models))
    return (draws.argsort(dim=1).argsort(dim=1) < models // 2).T.contiguous()


def parameters(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(p.numel() for p in network.parameters())
