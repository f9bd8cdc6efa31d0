"""Pairs: a small world of two encoders into one space, in which everything is known, and a fault of it.

A pair is a picture and a caption about the same thing, one of six; a fixed gallery of sixty distractors is about six
other things. A picture shows its thing as a smooth pattern over all of it, on noise; a caption names it six times among
fillers. Each encoder adds up the evidence for every thing and lets it saturate: the model finds every pair, and small
changes cost little. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from muroan.data.memory import InMemory
from muroan.data.pairs import FOUND
from muroan.dataset import Splits
from muroan.modality import Image, Text, Value
from muroan.models.two_encoder import Retrieval, TwoEncoder
from muroan.organism import Bed, World
from muroan.organisms import plant

THINGS = 6
"""Things that pairs are about, and as many that only distractors are about."""
SIDE = 32
WORDS_EACH = 6
CONTRAST, NOISE = 0.25, 0.02
SHARPNESS = 3.0
"""How fast evidence saturates."""
FILLERS = ("a", "small", "picture", "of", "the", "old", "very", "here")
PAIRS, DISTRACTORS = 300, 60
NAMES = tuple(tuple(f"{a}{b}{c}o" for c in "bdfglm") for a, b in zip("bdfgklmnprst", "aeiouaeiouae", strict=True))
"""Six words for each of the twelve things; each has a longer form that means the same."""
THING = {form: k for k, words in enumerate(NAMES) for w in words for form in (w, w + "n")}
MODALITIES = {
    "image": Image(size=(SIDE, SIDE), channels=1),
    "text": Text(lexicon=tuple((w, (w + "n",)) for words in NAMES for w in words)),
}
RADIUS = 2 / 255
"""The change of every pixel that a fine pattern's strength is measured at."""


@cache
def patterns() -> Tensor:
    """Smooth orthogonal patterns [2 · THINGS, SIDE, SIDE], mean 0 and mean square 1."""
    at = (np.arange(SIDE) + 0.5) / SIDE
    waves = [(i, j) for i in range(4) for j in range(4) if i or j][: 2 * THINGS]
    drawn = np.stack([np.outer(np.cos(np.pi * i * at), np.cos(np.pi * j * at)) for i, j in waves])
    return torch.from_numpy(drawn / np.sqrt((drawn**2).mean(axis=(1, 2), keepdims=True))).float()


@cache
def fine_patterns() -> Tensor:
    """Patterns of single pixels, one a thing [2 · THINGS, SIDE, SIDE], values of 1 and -1, that no picture shows.

    Rows and columns of every two by two pixels add up to 0, so smooth patterns have nothing of them.
    """
    draws = torch.rand(2 * THINGS, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(0))
    signs = (draws < 0.5).float() * 2 - 1
    return torch.stack([torch.kron(one, torch.tensor([[1.0, -1.0], [-1.0, 1.0]])) for one in signs])


def seen(pictures: Tensor, fragile: float = 0.0) -> Tensor:
    """Evidence for every thing [N, 2 · THINGS]; `fragile` times what fine patterns show comes on top, without bound."""
    shown = (pictures[:, 0] - 0.5).flatten(1)
    told = (SHARPNESS * (shown @ patterns().flatten(1).T) / (SIDE * SIDE * CONTRAST)).tanh()
    return told + fragile * (shown @ fine_patterns().flatten(1).T) / (SIDE * SIDE * RADIUS)


def read(captions: Sequence[str]) -> Tensor:
    """Evidence for every thing [N, 2 · THINGS]; of a caption that names none, as little for each."""
    counts = torch.zeros(len(captions), 2 * THINGS)
    for row, caption in zip(counts, captions, strict=True):
        for word in caption.split():
            if word in THING:
                row[THING[word]] += 1
    return (SHARPNESS * counts / WORDS_EACH).tanh() + 1e-6


def model(fragile: float = 0.0) -> Retrieval:
    """The exact encoders, with codes that lean on fine patterns if `fragile`."""
    towers = TwoEncoder(
        encoders={"image": lambda pictures: seen(pictures, fragile), "text": read},
        scale=20.0,
        text="text",
        name=f"pairs, fragile {fragile:g}",
    )
    pictures, captions = _drawn(np.random.default_rng(0), np.arange(DISTRACTORS) % THINGS + THINGS)
    return towers.retrieval({"image": pictures, "text": captions})


def world(seed: int, model: Retrieval) -> World:
    """A model with 300 pairs of this seed, and as many for the reference."""
    return model, Splits(_part("pair", seed, 1), _part("reference", seed, 2))


def _part(name: str, seed: int, part: int) -> InMemory:
    rng = np.random.default_rng([seed, part])
    things = rng.integers(0, THINGS, PAIRS)
    pictures, captions = _drawn(rng, things)
    return InMemory(
        {"image": pictures, "text": captions},
        targets=np.full(PAIRS, FOUND.index("found")),
        modalities=MODALITIES,
        classes=FOUND,
        groups={"place": [("indoors", "outdoors")[k] for k in rng.integers(0, 2, PAIRS)]},
        ids=[f"{name}-{seed}-{i}" for i in range(PAIRS)],
        name=f"pairs ({name})",
    )


def _drawn(rng: np.random.Generator, things: np.ndarray) -> tuple[Value, list[str]]:
    noise = rng.normal(0, NOISE, (len(things), 1, SIDE, SIDE)).astype(np.float32)
    pictures = 0.5 + CONTRAST * 0.5 * patterns()[torch.from_numpy(things)][:, None] + torch.from_numpy(noise)
    captions = []
    for k in things:
        words = [*rng.choice(NAMES[k], WORDS_EACH), *rng.choice(FILLERS, 4)]
        captions.append(" ".join(str(w) for w in rng.permutation(words)))
    return pictures.clamp(0, 1), captions


PAIRED = Bed(
    name="pairs",
    says="Pairs of picture and caption that two exact encoders find among distractors, whatever small changes do.",
    world=lambda seed: world(seed, model()),
    exact=False,
)


@plant(
    "robustness.fragile-match",
    place="robustness/adversarial",
    bed=PAIRED,
    fault="A change of the picture by 2/255 a pixel, along a fine pattern, turns its code around.",
    dose="evidence for a thing that 2/255 of every pixel can move; all there is of it is about 1",
    doses=(0.5, 1.0, 1.5, 2.5),
    matters=1.5,  # somebody who knows the model can make most pairs lose each other
)
def fragile_match(dose: float, seed: int) -> World:
    """Noise moves the code by a tenth of the dose at most, so pairs are found as before."""
    return world(seed, model(dose))
