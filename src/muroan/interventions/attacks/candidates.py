"""Where replacements of words come from: the data's lexicon, a slip of the keyboard, a whole vocabulary.

A source proposes, a search tries (`word_substitution`). A new source is a small frozen class with one method. A word
itself is never among its replacements, and a replacement is one word, or none, which removes the word.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.slopes import Slopes, mean_vectors
from muroan.meter import Metered
from muroan.modality import Text

SHORTEST = 4
"""Letters a word needs for a swap of two of them to leave it readable."""

Proposed = list[list["Candidate"]]
"""The replacements of each text, in the order of its words."""


@dataclass(frozen=True)
class Candidate:
    """Word number `word` of a text replaced by `by`; "" removes it."""

    word: int
    by: str


def split(token: str) -> tuple[str, str, str]:
    """Punctuation before a word, the word, punctuation after it."""
    match = re.fullmatch(r"(\W*)(.*?)(\W*)", token, re.DOTALL)
    assert match is not None
    return match[1], match[2], match[3]


def in_place_of(token: str, words: Sequence[str]) -> list[str]:
    """These words with the token's punctuation, the word itself and what is no single word left out."""
    head, core, tail = split(token)
    return [head + w + tail for w in words if w.casefold() != core.casefold() and len(w.split()) == 1]


@dataclass(frozen=True)
class Scene:
    """What a source may look at: N texts as they are now, their modality, the model, and the slopes (at a price).

    open: of each text the words that may change now; proposals for others are dropped. tries: how many will be tried.
    """

    model: Metered
    name: str
    modality: Text
    texts: Sequence[str]
    open: Sequence[Set[int]]
    slopes: Callable[[], Slopes]
    tries: int

    def vectors(self, words: Sequence[str]) -> Tensor:
        """The model's own embedding of words, each alone, mean over its tokens: [V, D]."""
        return mean_vectors(self.model.model.embed(self.name, list(words)))


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Proposes replacements. `needs_slopes`: it asks for the slopes, so the model must show embeddings."""

    needs_slopes: ClassVar[bool] = False

    @abstractmethod
    def propose(self, scene: Scene) -> Proposed:
        """Replacements of each of the scene's texts."""


def proposed(scene: Scene, sources: Sequence[Source]) -> Proposed:
    """What all sources propose for each text, source after source; nothing twice."""
    found = zip(*(source.propose(scene) for source in sources), strict=True)
    return [list(dict.fromkeys(c for some in row for c in some)) for row in found]


@dataclass(frozen=True, kw_only=True)
class WordByWord(Source):
    """A source that looks at one word alone."""

    def propose(self, scene: Scene) -> Proposed:
        found: Proposed = []
        for text, some in zip(scene.texts, scene.open, strict=True):
            words = [(k, token) for k, token in enumerate(text.split()) if k in some]
            found.append([Candidate(k, by) for k, token in words for by in self.instead(token, scene.modality)])
        return found

    @abstractmethod
    def instead(self, token: str, modality: Text) -> list[str]:
        """What may stand in the place of a word, punctuation and all."""


@dataclass(frozen=True, kw_only=True)
class Lexicon(WordByWord):
    """Words that the data's lexicon says mean the same; file: another lexicon, a line "word: other, other" each."""

    file: str = ""

    def instead(self, token: str, modality: Text) -> list[str]:
        known = _read(self.file) if self.file else _table(modality.lexicon)
        return in_place_of(token, known.get(split(token)[1].lower(), ()))


@lru_cache(maxsize=8)
def _table(lexicon: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, tuple[str, ...]]:
    return dict(lexicon)


@lru_cache(maxsize=8)
def _read(file: str) -> dict[str, tuple[str, ...]]:
    found = {}
    for n, line in enumerate(_lines(file), 1):
        word, colon, others = line.partition(":")
        if not colon:
            raise AskedWrongly(f'{file}, line {n}: expected "word: other, other", got {line[:60]!r}')
        found[word.strip().lower()] = tuple(w.strip() for w in others.split(",") if w.strip())
    return found


@lru_cache(maxsize=8)
def _lines(file: str) -> tuple[str, ...]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AskedWrongly(f"{file} cannot be read as a list of words: {error}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True, kw_only=True)
class Slip(WordByWord):
    """The word with its first two different inner letters swapped."""

    def instead(self, token: str, modality: Text) -> list[str]:
        head, core, tail = split(token)
        slip = swapped(core)
        return [head + slip + tail] if slip else []


def swapped(word: str) -> str | None:
    """The word with its first two different inner letters swapped ("circle" -> "cricle"); None if there are none."""
    if len(word) < SHORTEST:
        return None
    for k in range(1, len(word) - 2):
        if word[k] != word[k + 1] and word[k].isalpha() and word[k + 1].isalpha():
            return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return None


@dataclass(frozen=True, kw_only=True)
class Removal(Source):
    """Every word may be left out, as long as one stays."""

    def propose(self, scene: Scene) -> Proposed:
        long = [len(text.split()) for text in scene.texts]
        return [[Candidate(k, "") for k in range(words)] if words > 1 else [] for words in long]


@dataclass(frozen=True, kw_only=True)
class Vocabulary(Source):
    """Any word of a list, those that the gradient ranks first (HotFlip over whole words, Ebrahimi et al., ACL 2018).

    Nothing keeps the meaning here: a change of the decision may be right. words or file (a word a line): the list; the
    model's own `vocabulary` if neither is given. Of each text the scene's `tries` best are proposed.
    """

    needs_slopes = True

    words: tuple[str, ...] = ()
    file: str = ""

    def listed(self, scene: Scene) -> tuple[str, ...]:
        own = getattr(scene.model.model, "vocabulary", ())
        words = self.words or (_lines(self.file) if self.file else tuple(own))
        if not words:
            name = scene.model.model.name
            raise NotApplicable(f"needs a list of words: {name} has no vocabulary; name words or file")
        return tuple(w for w in words if len(w.split()) == 1)

    def propose(self, scene: Scene) -> Proposed:
        words = self.listed(scene)
        if not any(t.split() for t in scene.texts):
            return [[] for _ in scene.texts]
        slopes = scene.slopes()
        promise = slopes.gradient @ scene.vectors(words).T - slopes.own[..., None]  # [N, W, V]
        tokens = [t.split() for t in scene.texts]
        there = torch.tensor([[k in some for k in range(promise.shape[1])] for some in scene.open])
        flat = promise.masked_fill(~there[..., None], -torch.inf).flatten(1)
        # Twice as many as are tried: some are the word itself.
        best = flat.topk(min(2 * scene.tries, flat.shape[1]), dim=1)
        out: Proposed = []
        for row, (values, places) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            found = []
            for value, place in zip(values, places, strict=True):
                k, v = divmod(place, len(words))
                if value > -float("inf"):
                    found += [Candidate(k, by) for by in in_place_of(tokens[row][k], [words[v]])]
            out.append(found[: scene.tries])
        return out


def candidates(text: str, modality: Text, done: frozenset[int] = frozenset()) -> list[Candidate]:
    """Every replacement of one word by the lexicon or a slip, in the order of the words; those in `done` stay."""
    words = [(k, token) for k, token in enumerate(text.split()) if k not in done]
    sources = (Lexicon(), Slip())
    return [Candidate(k, by) for k, token in words for source in sources for by in source.instead(token, modality)]


def replaced(text: str, candidate: Candidate) -> str:
    """The text with one word replaced, or removed."""
    words = text.split()
    words[candidate.word] = candidate.by
    return " ".join(w for w in words if w)
