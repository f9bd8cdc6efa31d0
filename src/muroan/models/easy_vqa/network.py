"""The network of the shipped model: two small encoders, a product of their codes, a linear head.

The product is what makes it multimodal: were the codes added, every picture would move the answers to all
questions in the same way. No layer looks across rows or behaves differently in training, so a row's scores do
not depend on what it is batched with.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING, UNKNOWN_INDEX = 0, 1
"""Rows of the word table for padding and for words outside the vocabulary, which starts after them."""

CODE = 48
"""Numbers in the code of a picture, of a question, and of both fused."""


def word_of(token: str) -> str:
    """A whitespace word as the vocabulary has it: lower case, without punctuation around it ("" for "?")."""
    return token.lower().strip(string.punctuation)


def build_vocabulary(questions: Sequence[str]) -> tuple[str, ...]:
    """The distinct words of questions, in alphabetical order."""
    return tuple(sorted({word_of(t) for q in set(questions) for t in q.split()} - {""}))


def word_index(vocabulary: Sequence[str]) -> dict[str, int]:
    """Word -> its row of the word table."""
    return {word: row for row, word in enumerate(vocabulary, start=UNKNOWN_INDEX + 1)}


def tokenise(questions: Sequence[str], index: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """(tokens [N, T], words [N, T]): table rows and the whitespace word each is of, −1 at padding.

    A word is one token; a word that is nothing but punctuation is none, so that "image ?" is "image?". T is at
    least 1, so that a batch of empty questions has a shape.
    """
    cleaned = [[(w, word_of(t)) for w, t in enumerate(q.split())] for q in questions]
    rows = [[(w, index.get(word, UNKNOWN_INDEX)) for w, word in row if word] for row in cleaned]
    longest = max([1, *map(len, rows)])
    padded = [row + [(-1, PADDING)] * (longest - len(row)) for row in rows]
    both = torch.tensor(padded, dtype=torch.long).view(len(rows), longest, 2)
    return both[..., 1], both[..., 0]


def halve(pictures: Tensor) -> Tensor:
    """Pictures [..., H, W] averaged over squares of 2×2.

    Sums of slices take a third of the time of `avg_pool2d` on a CPU, which would be half of all encoding; in place,
    because every further large temporary costs as much as the sum itself.
    """
    upper, lower = pictures[..., ::2, :], pictures[..., 1::2, :]
    total = upper[..., ::2] + lower[..., ::2]
    return total.add_(upper[..., 1::2] + lower[..., 1::2]).mul_(0.25)


class Network(nn.Module):
    """vocabulary: number of known words; classes: number of answers."""

    mean: Tensor

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        # Pictures are mostly near-white: with the mean picture left in, the picture's code hardly varies and the
        # network learns to answer from the question alone.
        self.register_buffer("mean", torch.zeros(3, 32, 32))
        # Layers draw weights when they are made; the caller's generator must not notice.
        with torch.random.fork_rng(devices=[]):
            self.convolutions = nn.ModuleList(
                [
                    nn.Conv2d(3, 16, 5, stride=2, padding=2),
                    nn.Conv2d(16, 32, 3, stride=2, padding=1),
                    nn.Conv2d(32, 32, 3, stride=2, padding=1),
                ]
            )
            self.image = nn.Linear(32 * 4 * 4, CODE)
            self.words = nn.Embedding(vocabulary + 2, 24, padding_idx=PADDING)
            self.hidden = nn.Linear(24, 64)
            self.question = nn.Linear(64, CODE)
            self.head = nn.Linear(CODE, classes)

    def initialise(self, generator: torch.Generator) -> None:
        """Draws all weights anew from `generator` alone."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            elif name == "words.weight":
                nn.init.normal_(parameter, std=0.5, generator=generator)
            else:
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=generator)
        with torch.no_grad():
            self.words.weight[PADDING] = 0.0
            self.question.bias.fill_(1.0)  # the product starts near the picture's code, not near zero

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, 64, 64] in [0, 1] -> codes [N, CODE]."""
        x = (halve(pictures) - self.mean) * 2
        for convolution in self.convolutions:
            x = functional.relu(convolution(x))
        code: Tensor = self.image(x.flatten(1))
        return code

    def encode_words(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Word vectors [N, T, 24], mask [N, T] true at words -> codes [N, CODE].

        Words are added up, so their order does not matter; no words give the code of a zero sum. The hidden
        layer is needed: "not" turns the answer round for every colour and shape, which no sum can express.
        """
        total = (vectors * mask[..., None].to(vectors.dtype)).sum(dim=1)
        code: Tensor = self.question(functional.relu(self.hidden(total)))
        return code

    def fuse(self, image: Tensor, question: Tensor) -> Tensor:
        """Codes [N, CODE] of both -> their product [N, CODE]."""
        return image * question

    def decide(self, fused: Tensor) -> Tensor:
        """Fused codes -> logits [N, classes]."""
        logits: Tensor = self.head(fused)
        return logits
