"""A small world whose truth is known: data of three modalities, and a model that reads them as they were made.

Each sample has a picture whose left half is bright or dark (a), a sentence that holds the word "warm" or "cold" (b),
and a row of a table (c, weak). The label is whether a and b agree: neither alone says anything, so the model has to
combine them. Everything is seeded and vectorised, and nothing is trained: it takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from muroan.data.memory import InMemory
from muroan.data.pairs import FOUND
from muroan.dataset import OWN_SPLITS, Splits
from muroan.modality import Image, Tabular, Text, Value
from muroan.model import Capability, Code, Embedded, Model

SIDE = 16
WORDS = ("the", "day", "was", "very", "long", "and", "quiet")
VOCABULARY = ("", *WORDS, "warm", "cold")
MODALITIES = {
    "image": Image(size=(SIDE, SIDE)),
    "text": Text(lexicon=(("warm", ("hot",)), ("cold", ("chilly",)), ("day", ("night",)))),
    "table": Tabular(columns=("c", "noise"), fill=(0.0, 0.0)),
}


def tokenised(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(place in `VOCABULARY` [N, T], 0 for others and padding; number of the word [N, T], −1 at padding)."""
    rows = [[VOCABULARY.index(w) if w in VOCABULARY else 0 for w in t.split()] for t in texts]
    longest = max([1, *map(len, rows)])
    index = torch.tensor([r + [0] * (longest - len(r)) for r in rows], dtype=torch.long).view(-1, longest)
    lengths = torch.tensor([len(r) for r in rows], dtype=torch.long)[:, None]
    numbers = torch.arange(longest)
    return index, torch.where(numbers < lengths, numbers, -1)


class PlantedModel(Model):
    """Reads the world as it was made: logit of "agree" = sharp · (image · text) + weak · table.

    sharp: how sure it is. noise: how much of its score is a fixed function of the picture's pixels that has nothing to
    do with the label, so that it errs now and then. seed: another model of the same kind.
    """

    name = "planted"
    modalities = tuple(MODALITIES)
    classes = ("differ", "agree")
    vocabulary = VOCABULARY[1:]
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.EMBEDDINGS})

    def __init__(self, *, sharp: float = 4.0, noise: float = 1.0, seed: int = 0) -> None:
        self.sharp, self.noise, self.seed = sharp, noise, seed
        generator = torch.Generator().manual_seed(seed)
        self._pixels = torch.randn(3 * SIDE * SIDE, generator=generator) / SIDE
        vectors = torch.zeros(len(VOCABULARY), 4)
        vectors[VOCABULARY.index("warm"), 0], vectors[VOCABULARY.index("cold"), 0] = 1.0, -1.0
        vectors[1:, 1:] = 0.05 * torch.randn(len(VOCABULARY) - 1, 3, generator=generator)
        self._words = vectors

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "text":
            return self.encode_embedded(modality, self.embed(modality, values))
        if modality == "table":
            return values[:, :1].tanh()
        half = values[..., : SIDE // 2].mean(dim=(1, 2, 3))
        ripple = (values - 0.5).flatten(1) @ self._pixels
        return torch.stack([4.0 * (half - 0.5), ripple], dim=1)

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        index, words = tokenised(values)
        return Embedded(self._words[index], words >= 0, words)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        return (embedded.vectors * embedded.mask[..., None]).sum(dim=1).tanh()

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        image, text, table = codes["image"], codes["text"], codes["table"]
        return torch.cat([image[:, :1] * text[:, :1], image[:, 1:], table], dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        score = self.sharp * fused[:, 0] + self.noise * fused[:, 1] + 0.5 * fused[:, 2]
        return torch.stack([-score, score], dim=1)

    def fingerprint(self) -> str:
        return f"planted:{self.sharp}:{self.noise}:{self.seed}"


class PlantedAligned(PlantedModel):
    """Reads the same world as two encoders into one space do: "agree" where picture and text lie close together.

    A picture's code is the unit vector along (half bright or dark, ripple, 0), a text's along (warm or cold, the words
    beside, 1 for being a text): a picture that ripples, or a text without its cue, leaves its partner.
    """

    name = "planted, aligned"
    modalities = ("image", "text")
    capabilities = PlantedModel.capabilities | {Capability.ALIGNED}

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "text":
            return self.encode_embedded(modality, self.embed(modality, values))
        found = super().encode(modality, values)
        return nn.functional.normalize(nn.functional.pad(found * torch.tensor([1.0, self.noise]), (0, 1)), dim=1)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        words = super().encode_embedded(modality, embedded)
        one = torch.full_like(words[:, :1], 0.3)
        return nn.functional.normalize(torch.cat([words[:, :2], one], dim=1), dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.cat([codes["image"], codes["text"]], dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        image, text = fused.chunk(2, dim=1)
        score = self.sharp * ((image * text).sum(dim=1) - 0.4)
        return torch.stack([-score, score], dim=1)

    def fingerprint(self) -> str:
        return f"aligned {super().fingerprint()}"


def surrogate() -> PlantedModel:
    """Another planted model: the same kind, another seed."""
    return PlantedModel(seed=1)


def model_for(needs: Collection[Capability]) -> PlantedModel:
    """The planted model for a method with these needs."""
    return PlantedAligned() if Capability.ALIGNED in needs else PlantedModel()


def _world(name: str, n: int, seed: int) -> InMemory:
    rng = np.random.default_rng([seed, *name.encode()])
    pictures = n // 2
    a = rng.integers(0, 2, pictures)
    image = rng.uniform(0.3, 0.7, (pictures, 3, SIDE, SIDE)).astype(np.float32)
    image[..., : SIDE // 2] += np.where(a, 0.25, -0.25)[:, None, None, None].astype(np.float32)
    key = np.arange(n) % pictures
    b = rng.integers(0, 2, n)
    texts = []
    for cue in b:
        words = list(rng.choice(WORDS, size=rng.integers(3, 7)))
        words.insert(int(rng.integers(0, len(words) + 1)), "warm" if cue else "cold")
        texts.append(" ".join(words))
    y = (a[key] == b).astype(int)
    table = np.stack([rng.normal(0.3 * (2 * y - 1), 1.0), rng.normal(0, 1, n)], axis=1).astype(np.float32)
    order = np.argsort(key, kind="stable")
    return InMemory(
        {
            "image": torch.from_numpy(image.clip(0, 1))[torch.from_numpy(key[order])],
            "text": [texts[i] for i in order],
            "table": table[order],
        },
        targets=y[order],
        modalities=MODALITIES,
        classes=PlantedModel.classes,
        groups={"site": [("north", "south")[i % 2] for i in order]},
        clusters=[f"{name}-{key[i]}" for i in order],
        keys={"image": key[order].tolist()},
        ids=[f"{name}-{i}" for i in order],
        name=f"planted ({name})",
    )


@cache
def planted_pairs(n: int = 160, seed: int = 0) -> Splits:
    """The same world as pairs: pictures beside texts that agree with them, each to be found."""

    def pairs(world: InMemory) -> InMemory:
        batch = world.first(len(world))
        kept = batch.take([i for i, y in enumerate(batch.targets.tolist()) if y == 1])
        assert kept.clusters is not None
        return InMemory(
            {m: kept.inputs[m] for m in ("image", "text")},
            targets=[FOUND.index("found")] * len(kept),
            modalities={m: MODALITIES[m] for m in ("image", "text")},
            classes=FOUND,
            clusters=list(kept.clusters),
            ids=list(kept.ids),
            name=f"{world.name}, pairs",
        )

    return Splits(*(pairs(_world(name, n, seed)) for name in ("audited", "reference", "members")))


@cache
def planted(n: int = 160, seed: int = 0, *, named: tuple[str, ...] = ()) -> Splits:
    """The splits of the world, n samples each, two a picture, all of one distribution; named: beside the usual ones."""
    own = {name: _world(name, n, seed) for name in (*OWN_SPLITS, *named)}
    return Splits(own.pop("audited")).having(own)
