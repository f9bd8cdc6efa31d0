"""The text side of attacks on encoders: replace words so that a score of the text's code rises.

The score is the caller's: how far the code leaves the clean one (Co-Attack), how little it agrees with a picture (SGA),
what the decision loses. Every allowed replacement of one word is tried, a superset of what ranking words by importance
first would try; all of all texts in one batch, distinct texts encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.content import distinct_texts
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.candidates import Scene, Source, proposed, replaced
from muroan.interventions.attacks.grouped import highest
from muroan.interventions.attacks.slopes import Slopes
from muroan.interventions.attacks.stage import Stage
from muroan.meter import Codes
from muroan.modality import Text, where

Score = Callable[[Codes, Tensor, Tensor], Tensor]
"""(codes of distinct texts, which of them [C], the text that each stands for [C]) -> what the attacker gains, [C]."""


@dataclass
class Spoken:
    """Texts after the search: codes of them, row by row; words, tried [T]: replaced, and texts looked at."""

    texts: list[str]
    codes: Codes
    words: Tensor
    tried: Tensor

    def unless(self, stays: Tensor, before: Spoken) -> Spoken:
        """The texts of a search before where they stay [T]; both were looked at."""
        n = torch.arange(len(stays))
        codes = Codes.concat([before.codes, self.codes]).take(torch.where(stays, n, len(n) + n))
        texts, words = where(stays, before.texts, self.texts), torch.where(stays, before.words, self.words)
        return Spoken(texts, codes, words, before.tried + self.tried)


def guided(
    stage: Stage,
    m: str,
    texts: Sequence[str],
    clean: Codes,
    words: int,
    score: Score,
    sources: Sequence[Source],
    tries: int,
) -> Spoken:
    """Greedily up to `words` replacements in each of T texts, each the one that raises `score` most.

    clean: codes of the texts as they are, row by row. tries: replacements of each word that are tried, in the order of
    their sources. A replacement that leaves the text as it is is none, and no word is left out.
    """
    modality = stage.batch.modalities[m]
    assert isinstance(modality, Text)
    none = torch.zeros(len(texts), dtype=torch.long)
    spoken = Spoken(list(texts), clean, none, none.clone())
    if not texts:
        return spoken
    every = torch.arange(len(texts))
    now = score(clean, every, every).detach().double()
    done: list[frozenset[int]] = [frozenset()] * len(texts)
    for _ in range(words):
        open_ = [set(range(len(t.split()))) - gone for t, gone in zip(spoken.texts, done, strict=True)]
        tried = _tried(Scene(stage.model, m, modality, spoken.texts, open_, _no_slopes, tries), sources)
        if not tried:
            break
        sample = torch.tensor([i for i, _, _ in tried])
        spoken.tried.index_add_(0, sample, torch.ones_like(sample))
        new, which = distinct_texts([t for _, _, t in tried])
        coded = stage.model.encode(m, new)
        gain = score(coded, which, sample).detach().double()
        best = highest(sample, gain, now)
        if not len(best):
            break
        rows = every.clone()
        for c in best.tolist():
            i, k, text = tried[c]
            spoken.texts[i], done[i], rows[i] = text, done[i] | {k}, len(texts) + which[c]
        spoken.codes = Codes.concat([spoken.codes, coded]).take(rows)
        spoken.words[sample[best]] += 1
        now[sample[best]] = gain[best]
    return spoken


def _tried(scene: Scene, sources: Sequence[Source]) -> list[tuple[int, int, str]]:
    """(text, word, the text with that word replaced), at most `tries` a word."""
    tried = []
    for i, found in enumerate(proposed(scene, sources)):
        words, count = scene.texts[i].split(), dict.fromkeys(scene.open[i], 0)
        for c in found:
            if c.by and c.by != words[c.word] and count.get(c.word, scene.tries) < scene.tries:
                count[c.word] += 1
                tried.append((i, c.word, replaced(scene.texts[i], c)))
    return tried


def _no_slopes() -> Slopes:
    raise AskedWrongly("replacements ranked by a decision's gradient cannot be guided by codes: name other sources")
