"""Towers for emoji that share neither architecture nor seed, trained once (20 seconds) and kept as temporary files.

`pairs(n)` are pairs that no tower was trained on (audited, and those of the reference that are no distractors). Their
lexicon says what an attack may put in a word's place: for every word of the members' captions the ten that keep the
company most like its own there (cosine of log co-occurrence), which stands in for a masked language model's ten
likeliest. It is made of the data alone, so it knows no model.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from muroan.batch import Batch
from muroan.data.emoji import captions, emoji
from muroan.modality import Text, Value
from muroan.models.emoji_towers.model import as_encoders, file_of, gallery, load, pairs_of, save
from muroan.models.emoji_towers.network import Architecture
from muroan.models.emoji_towers.recipe import Recipe, train
from muroan.models.two_encoder import Retrieval, Way
from muroan.randomness import choose

STEPS = 800
DISTRACTORS = 25
SEEDS = (1, 2, 3)
OTHER: dict[Architecture, Architecture] = {"conv": "patch", "patch": "conv"}


@cache
def tower(architecture: Architecture, seed: int, way: Way = "both") -> Retrieval:
    """Retrieval among 100 distractors by towers of this architecture and seed, trained on the members."""
    folder = Path(tempfile.gettempdir()) / f"muroan-emoji-towers-{STEPS}-{seed}"
    if not (folder / file_of(architecture)).exists():
        folder.mkdir(parents=True, exist_ok=True)
        net = train(*pairs_of(), architecture, seed=f"reproduction {seed}", recipe=Recipe(steps=STEPS))
        save(folder, net, {"seed": seed})
    encoders = as_encoders(load(architecture, folder))
    encoders.name = f"{architecture} towers, seed {seed}"
    return encoders.retrieval(distractors(), way)


@cache
def distractors() -> dict[str, Value]:
    """The gallery: few enough that small towers find a good part of what they have never seen."""
    return gallery(DISTRACTORS)


def pairs(n: int | None = None) -> Batch:
    """Held-out pairs, `n` of them or all, whose text modality has the lexicon."""
    splits = emoji()
    assert splits.reference is not None
    audited, reference = (d.load(range(len(d))).batch for d in (splits.audited, splits.reference))
    assert audited is not None
    assert reference is not None
    taken = set(choose(reference.ids, DISTRACTORS, "emoji gallery"))
    batch = Batch.concat([audited, reference.take([i for i in range(len(reference)) if i not in taken])])
    if n is not None:
        batch = batch.take(choose(batch.ids, n, "emoji reproduction"))
    kinds = {m: replace(k, lexicon=lexicon()) if isinstance(k, Text) else k for m, k in batch.modalities.items()}
    return replace(batch, modalities=kinds)


@cache
def lexicon(top: int = 10) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each word that members' captions hold at least twice -> the `top` words of most similar company."""
    members = emoji().members
    assert members is not None
    rows = [set(c.split()) for row in captions(members.ids, 8) for c in row]
    count = Counter(w for row in rows for w in row)
    words = sorted(w for w, k in count.items() if k >= 2)
    place = {w: i for i, w in enumerate(words)}
    table: Any = np.zeros((len(words), len(words)), dtype=np.float32)
    for row in rows:
        at = [place[w] for w in row if w in place]
        table[np.ix_(at, at)] += 1
    np.fill_diagonal(table, 0)
    table = np.log1p(table)
    table /= np.linalg.norm(table, axis=1, keepdims=True).clip(1e-9)
    alike = table @ table.T
    np.fill_diagonal(alike, -1)
    best = np.argsort(-alike, axis=1, kind="stable")[:, :top]
    return tuple((w, tuple(words[k] for k in best[i])) for i, w in enumerate(words))
