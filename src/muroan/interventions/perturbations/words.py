"""Changing some words of each text of a batch, by draws of the text's own. Words are what whitespace separates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muroan.interventions.perturbations.base import Change, Draws
from muroan.modality import Modality

Floats = NDArray[np.float64]


class Own(NamedTuple):
    """What is drawn for one text: number `n` of a batch whose longest has `most` words, which no draw depends on."""

    draws: Draws
    most: int
    n: int

    def one(self, purpose: str) -> float:
        """One draw."""
        return float(self.draws.doubles(purpose)[self.n])

    def each(self, purpose: str, *shape: int) -> Floats:
        """Draws [words, *shape] for each word."""
        drawn: Floats = self.draws.doubles(purpose, self.most, *shape)[self.n]
        return drawn


OfOne = Callable[[list[str], float, Own, Modality], Sequence[str] | None]
"""(words of a text, its own to write into, level, draws, modality) -> new words, or None where it stays as it is."""


def of_each(change: OfOne) -> Change:
    """The change of one text made one of many; a text that is changed has single spaces between its words."""

    def changed(texts: list[str], level: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
        split = [t.split() for t in texts]
        most = max([1, *map(len, split)])
        new = [change(words, level, Own(draws, most, n), modality) for n, words in enumerate(split)]
        return [text if words is None else " ".join(words) for text, words in zip(texts, new, strict=True)]

    return changed


def some(words: Sequence[str], able: Callable[[str], bool], own: Own, many: int) -> list[int]:
    """The places of `many` of the words that are able, of those drawn first; of a larger number the same and more."""
    return sorted((k for k, w in enumerate(words) if able(w)), key=own.each("word").__getitem__)[: max(0, many)]
