"""Emoji: 1,911 real pictures, each with a name and keywords, as pairs of picture and caption or by their group.

Near-duplicates (a role as a woman, a man and a person) share a `base` and never stand on two sides of a split. npm
packages hold the data (`muroan.data.emoji_files`), in 28 languages, with pictures by Google and, as a natural shift, by
Twitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from muroan.batch import Schema
from muroan.data.emoji_files import GROUPS, SIZE, Emoji, Pixels, folder, read, read_pictures
from muroan.data.emoji_words import caption, lexicon, words
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, Sample, Splits
from muroan.modality import Image, Text
from muroan.randomness import choose, key, sample_keys

MEAN_COLOUR = (0.824, 0.773, 0.712)
"""Mean over the members' pictures on white: what an erased pixel looks like."""
CLASSES = tuple(g for g in GROUPS if g not in ("component", "flags"))
"""Groups that a picture can be told by; components are five colours of skin, and flags have a world of their own."""


@lru_cache(maxsize=32)
def entries(locale: str = "en") -> tuple[Emoji, ...]:
    """All emoji, with names and keywords of a locale ("en", "en-gb", "de", "ja", ...)."""
    return read(folder(), locale=locale)


def pictures(vendor: str = "google") -> Pixels:
    """Pictures of all emoji in that order, bytes [1911, 32, 32, 3] (6 MB), as a vendor draws them."""
    return _pictures(vendor)


@lru_cache(maxsize=2)
def _pictures(vendor: str) -> Pixels:
    return read_pictures(folder(vendor), [e.code for e in entries()], vendor)


def rows_of(ids: Sequence[str]) -> list[int]:
    """Rows of `pictures` and `entries` of emoji by id."""
    rows = {e.code: n for n, e in enumerate(entries())}
    return [rows[i] for i in ids]


@lru_cache(maxsize=1)
def _text() -> Text:
    return Text(lexicon=lexicon(entries()))


def captions(ids: Sequence[str], k: int, locale: str = "en") -> list[list[str]]:
    """`k` captions of each emoji: first its caption in the data, then the name with other draws of its keywords.

    Which keywords depends on the emoji and the caption's number alone. An emoji with few keywords repeats itself.
    """
    known = {e.code: e for e in entries(locale)}
    rows = []
    for code in ids:
        emoji = known[code]
        row = [caption(emoji.label, emoji.tags)]
        for j in range(1, k):
            order = np.argsort(sample_keys(emoji.tags, "emoji caption", code, j))
            limit = len(words(emoji.label)) + 1 + key("emoji caption length", code, j) % 4
            row.append(caption(emoji.label, [emoji.tags[i] for i in order], limit))
        rows.append(row)
    return rows


class EmojiData(Dataset):
    """Emoji by row. classes `FOUND`: pairs of picture and caption, which belong together (all are "found"); classes of
    groups: the picture alone, and which of them its group is. vendor: who draws the pictures."""

    def __init__(
        self, rows: Sequence[int], name: str, *, classes: Sequence[str] = FOUND, vendor: str = "google"
    ) -> None:
        self.name, self._vendor = name, vendor
        self._emoji = [entries()[n] for n in rows]
        self._rows = list(rows)
        self._paired = tuple(classes) == FOUND
        self.ids = [e.code for e in self._emoji]
        picture = Image(size=(SIZE, SIZE), fill=MEAN_COLOUR)
        self.schema = Schema(
            modalities={"image": picture, "text": _text()} if self._paired else {"image": picture},
            classes=tuple(classes),
            groups={"group": GROUPS if self._paired else tuple(classes)},
            cluster="base",
        )

    def sample(self, i: int) -> Sample:
        emoji = self._emoji[i]
        inputs: dict[str, Any] = {"image": pictures(self._vendor)[self._rows[i]]}
        if self._paired:
            inputs["text"] = caption(emoji.label, emoji.tags)
        return Sample(
            inputs=inputs,
            target="found" if self._paired else emoji.group,
            groups={"group": emoji.group},
            cluster=emoji.base,
        )

    def clusters(self) -> list[str]:
        return [e.base for e in self._emoji]


def _parts() -> dict[str, list[int]]:
    """Rows of the emoji of each split; near-duplicates stay together."""
    bases = sorted({e.base for e in entries()})
    half = set(choose(bases, len(bases) // 2, "emoji members"))
    rest = [b for i, b in enumerate(bases) if i not in half]
    quarter = set(choose(rest, len(rest) // 2, "emoji reference"))
    side = {b: "members" for i, b in enumerate(bases) if i in half}
    side |= {b: "reference" if i in quarter else "audited" for i, b in enumerate(rest)}
    return {s: [n for n, e in enumerate(entries()) if side[e.base] == s] for s in ("audited", "reference", "members")}


def _splits(name: str, classes: Sequence[str], vendor: str) -> Splits:
    folder(vendor)  # says what is missing now, not at the first picture
    name = name if vendor == "google" else f"{name}-{vendor}"
    everything, paired = entries(), tuple(classes) == FOUND
    parts = {s: [n for n in rows if paired or everything[n].group in classes] for s, rows in _parts().items()}
    return Splits(
        EmojiData(parts["audited"], name, classes=classes, vendor=vendor),
        EmojiData(parts["reference"], f"{name} (reference)", classes=classes),
        EmojiData(parts["members"], f"{name} (members)", classes=classes),
    )


def emoji(audited: str = "google") -> Splits:
    """Pairs of picture and caption. Members: half of the bases, for training; reference and audited: a quarter.

    audited: whose pictures are audited; members and reference have Google's.
    """
    return _splits("emoji", FOUND, audited)


def emoji_groups(audited: str = "google") -> Splits:
    """Pictures and their group (`CLASSES`), on the same sides of the same split."""
    return _splits("emoji-groups", CLASSES, audited)


def emoji_twitter() -> Splits:
    """`emoji` where the emoji audited, the same ones, are drawn by Twitter: a natural shift of one input."""
    return emoji("twitter")


def emoji_groups_twitter() -> Splits:
    """`emoji_groups` where the emoji audited, the same ones, are drawn by Twitter."""
    return emoji_groups("twitter")
