"""The text side of attacks on encoders: replace words so that a score of the text's code rises.

The score is the caller's: how far the code leaves the clean one (Co-Attack), how little it agrees with a picture (SGA),
what the decision loses. Every allowed replacement of one word is tried, a superset of what ranking words by importance
first would try; all of all texts in one batch, distinct texts encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.candidates import Candidate, Lexicon, Proposed, Scene, Slip, Slopes, Source
from muroan.interventions.attacks.word_substitution import replaced
from muroan.meter import Codes, Metered
from muroan.modality import Text

Score = Callable[[Codes, Tensor, Tensor], Tensor]
"""(codes of distinct texts, which of them [C], the text that each stands for [C]) -> what the attacker gains, [C]."""


@dataclass
class Spoken:
    """Texts after the search: codes of them, row by row; words, tried [T]: replaced, and texts looked at."""

    texts: list[str]
    codes: Codes
    words: Tensor
    tried: Tensor


def guided(
    model: Metered,
    m: str,
    modality: Text,
    texts: Sequence[str],
    clean: Codes,
    words: int,
    score: Score,
    sources: Sequence[Source] = (Lexicon(), Slip()),
    tries: int = 10,
) -> Spoken:
    """Greedily up to `words` replacements in each of T texts, each the one that raises `score` most.

    clean: codes of the texts as they are, row by row. tries: replacements of each word that are tried, in the order of
    their sources. A replacement that leaves the text as it is is none, and no word is left out.
    """
    if any(s.needs_slopes for s in sources):
        raise AskedWrongly("replacements ranked by a decision's gradient cannot be guided by codes: name other sources")
    none = torch.zeros(len(texts), dtype=torch.long)
    spoken = Spoken(list(texts), clean, none, none.clone())
    if not words or not texts:
        return spoken
    every = torch.arange(len(texts))
    now = score(clean, every, every).detach().double()
    done: list[frozenset[int]] = [frozenset()] * len(texts)
    for _ in range(words):
        may = [set(range(len(t.split()))) - gone for t, gone in zip(spoken.texts, done, strict=True)]
        scene = Scene(
            model=model, name=m, modality=modality, texts=spoken.texts, open=may, slopes=_no_slopes, tries=tries
        )
        tried = [
            (i, k, t)
            for i, found in enumerate(_merged(scene, sources))
            for k, t in _options(spoken.texts[i], found, done[i], tries)
        ]
        if not tried:
            break
        distinct = list(dict.fromkeys(t for _, _, t in tried))
        place = {t: n for n, t in enumerate(distinct)}
        sample = torch.tensor([i for i, _, _ in tried])
        spoken.tried.index_add_(0, sample, torch.ones_like(sample))
        which = torch.tensor([place[t] for _, _, t in tried])
        coded = model.encode(m, distinct)
        gain = score(coded, which, sample).detach().double()
        top = torch.full_like(now, -torch.inf).scatter_reduce(0, sample, gain, reduce="amax")
        better = top > now
        if not bool(better.any()):
            break
        chosen: dict[int, int] = {}
        for c in ((gain == top[sample]) & better[sample]).nonzero().flatten().tolist():
            chosen.setdefault(int(sample[c]), c)
        rows = every.clone()
        for i, c in chosen.items():
            spoken.texts[i], done[i] = tried[c][2], done[i] | {tried[c][1]}
            rows[i] = len(texts) + int(which[c])
        spoken.codes = Codes.concat([spoken.codes, coded]).take(rows)
        spoken.words = spoken.words + better
        now = torch.where(better, top, now)
    return spoken


def _merged(scene: Scene, sources: Sequence[Source]) -> Proposed:
    """What all sources propose for each text."""
    proposed = [source.propose(scene) for source in sources]
    return [[c for some in row for c in some] for row in zip(*proposed, strict=True)]


def _options(text: str, found: Sequence[Candidate], done: frozenset[int], tries: int) -> list[tuple[int, str]]:
    """(word, text with that word replaced), at most `tries` a word."""
    count: dict[int, int] = {}
    out = []
    words = text.split()
    for c in dict.fromkeys(found):
        if c.by and c.by != words[c.word] and c.word not in done and count.get(c.word, 0) < tries:
            count[c.word] = count.get(c.word, 0) + 1
            out.append((c.word, replaced(text, c)))
    return out


def _no_slopes() -> Slopes:
    raise AssertionError("sources that need slopes were refused")


def worded(model: Metered, batch: Batch, budgets: Mapping[str, Budget]) -> dict[str, int]:
    """The text modalities in which words may be replaced -> how many."""
    return {
        m: budgets[m].words
        for m in model.modalities
        if m in budgets and budgets[m].words and isinstance(batch.modalities[m], Text)
    }
