"""Two pairs of encoders that share nothing: convolutions with words and trigrams, patches with words in order.

No layer looks across rows or behaves differently in training, so a row's code does not depend on its batch. Text
encoders are functions of one vector a word, so that gradients reach words.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.errors import unknown
from muroan.model import Embedded
from muroan.randomness import key

Architecture = Literal["conv", "patch"]
ARCHITECTURES: tuple[Architecture, ...] = ("conv", "patch")
CODE = 64
"""Numbers in a code."""
LOG_SCALE = 2.3
"""Where the learnt log-temperature starts (a scale of 10)."""


@lru_cache(maxsize=1 << 15)
def pieces(word: str, rows: int, trigrams: bool) -> tuple[tuple[int, float], ...]:
    """(row, weight) of what a whitespace word is made of: itself with weight 1, its character trigrams with .5.

    Lower case and without punctuation around it; a word of nothing but punctuation is itself.
    """
    bare = word.lower().strip(string.punctuation) or word
    found = [(key("word", bare) % rows, 1.0)]
    if trigrams:
        edged = f"<{bare}>"
        found += [(key("trigram", edged[i : i + 3]) % rows, 0.5) for i in range(len(edged) - 2)]
    return tuple(found)


class Words(nn.Module):
    """Texts as one vector a word: the weighted sum of the rows of its hashed pieces.

    No two words share a vector unless all of their pieces fall on the same rows; no word is unknown.
    """

    def __init__(self, rows: int, width: int, *, trigrams: bool) -> None:
        super().__init__()
        self.rows, self.trigrams = rows, trigrams
        self.table = nn.Embedding(rows, width)
        # Rows that training never touches are words nobody knows: they should say little.
        nn.init.normal_(self.table.weight, std=0.1)

    def pieces(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """rows [N, T, P], weights [N, T, P] (0: padding), words [N, T] (−1: padding); T and P are at least 1."""
        split = [[pieces(w, self.rows, self.trigrams) for w in t.split()] for t in texts]
        longest = max([1, *map(len, split)])
        most = max([1, *(len(p) for row in split for p in row)])
        rows = torch.zeros(len(split), longest, most, dtype=torch.long)
        weights = torch.zeros(len(split), longest, most)
        words = torch.full((len(split), longest), -1)
        at = [(n, t, p, *piece) for n, r in enumerate(split) for t, ps in enumerate(r) for p, piece in enumerate(ps)]
        if at:
            n, t, p, row, weight = zip(*at, strict=True)
            rows[n, t, p], weights[n, t, p] = torch.tensor(row), torch.tensor(weight)
            words[n, t] = torch.tensor(t)
        return rows, weights, words

    def vectors(self, rows: Tensor, weights: Tensor) -> Tensor:
        """[N, T, P] twice -> word vectors [N, T, width]."""
        flat = functional.embedding_bag(
            rows.flatten(0, 1), self.table.weight, mode="sum", per_sample_weights=weights.flatten(0, 1)
        )
        return flat.view(*rows.shape[:2], -1)

    def forward(self, texts: Sequence[str]) -> Embedded:
        rows, weights, words = (t.to(self.table.weight.device) for t in self.pieces(texts))
        return Embedded(vectors=self.vectors(rows, weights), mask=words >= 0, words=words)


class TextTower(nn.Module):
    """Texts -> codes [N, CODE]; `embed` and `encode_embedded` are its two halves."""

    words: Words

    def embed(self, texts: Sequence[str]) -> Embedded:
        embedded: Embedded = self.words(texts)
        return embedded

    def encode_embedded(self, embedded: Embedded) -> Tensor:
        return self.encode_words(embedded.vectors, embedded.mask)

    def encode_words(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Word vectors [N, T, width], mask [N, T] -> codes."""
        raise NotImplementedError

    def forward(self, texts: Sequence[str]) -> Tensor:
        return self.encode_embedded(self.embed(list(texts)))


class BagText(TextTower):
    """Words and trigrams in one bag, then a hidden layer: word order is not seen."""

    def __init__(self, rows: int = 1_024, width: int = 128) -> None:
        super().__init__()
        self.words = Words(rows, width, trigrams=True)
        self.bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, CODE)

    def encode_words(self, vectors: Tensor, mask: Tensor) -> Tensor:
        there = mask[..., None].to(vectors.dtype)
        total = (vectors * there).sum(dim=1) / there.sum(dim=1).clamp_min(1).sqrt()
        code: Tensor = self.out(functional.relu(total + self.bias))
        return code


class OrderedText(TextTower):
    """Whole words only, read by one layer of attention that knows their order."""

    def __init__(self, rows: int = 1_536, width: int = 64, longest: int = 16) -> None:
        super().__init__()
        self.words = Words(rows, width, trigrams=False)
        self.places = nn.Parameter(torch.zeros(longest, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.hidden = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, CODE)

    def encode_words(self, vectors: Tensor, mask: Tensor) -> Tensor:
        # Beyond the last known place words stand at that place.
        place = torch.arange(vectors.shape[1], device=vectors.device).clamp_max(len(self.places) - 1)
        x = vectors + self.places[place]
        query, by, value = self.attend(self.norm(x)).chunk(3, dim=-1)
        weight = query @ by.transpose(1, 2) / math.sqrt(x.shape[-1])
        # Of a text without words the weights would be 0 / 0.
        weight = weight.masked_fill(~mask[:, None, :], torch.finfo(x.dtype).min).softmax(dim=-1)
        x = x + weight @ value
        there = mask[..., None].to(x.dtype)
        pooled = (x * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)
        code: Tensor = self.out(functional.gelu(self.hidden(pooled)))
        return code


class ConvImage(nn.Module):
    """Pictures [N, 3, 32, 32] in [0, 1] -> codes, through three strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96 * 4 * 4, CODE),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        code: Tensor = self.layers(pictures * 2 - 1)
        return code


class Mixer(nn.Module):
    """One block of an MLP-mixer (Tolstikhin et al. 2021): a layer across patches, one across channels."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(patches, patches), nn.GELU(), nn.Linear(patches, patches))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.first(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.within(self.second(x))
        return out


class PatchImage(nn.Module):
    """The same through 16 patches of 8×8 and an MLP-mixer: no convolution slides over the picture."""

    def __init__(self, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.patches = nn.Linear(3 * 8 * 8, width)
        self.blocks = nn.Sequential(*[Mixer(16, width) for _ in range(blocks)], nn.LayerNorm(width), nn.Flatten())
        self.out = nn.Linear(16 * width, CODE)

    def forward(self, pictures: Tensor) -> Tensor:
        cut = functional.unfold(pictures * 2 - 1, 8, stride=8).transpose(1, 2)
        code: Tensor = self.out(self.blocks(self.patches(cut)))
        return code


class Towers(nn.Module):
    """Both encoders of one architecture and their temperature."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise unknown("architecture", architecture, ARCHITECTURES)
        self.architecture: Architecture = architecture
        self.image: nn.Module = ConvImage() if architecture == "conv" else PatchImage()
        self.text: TextTower = BagText() if architecture == "conv" else OrderedText()
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE))
