"""Emoji: 1,911 real pictures with names and keywords in 28 languages, from two npm packages.

Pictures: `emoji-datasource-google` 16.0.0 (package MIT, Google's art Apache-2.0); words: `emojibase-data` 17.0.0 (MIT).
Both are read where they are installed and nothing of them is copied. Entries are matched by code point without the
variation selector FE0F, which one package writes and the other does not.

Near-duplicates (a role as a woman, a man and a person) share a `base` and never stand on two sides of a split.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.batch import Schema
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, Sample, Splits
from muroan.errors import AskedWrongly, CannotComplete
from muroan.modality import Image, Text
from muroan.randomness import choose, key, sample_keys

PACKAGES = {"emojibase-data": "17.0.0", "emoji-datasource-google": "16.0.0"}
PAIRS = 1_911
"""Emoji that both packages have, skin tones not counted."""
SIZE = 32
"""Pictures are scaled from 64×64 to this."""
GROUPS = (
    "smileys-emotion",
    "people-body",
    "component",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
    "symbols",
    "flags",
)
"""The data's own groups; the number in its entries is the place here."""
MEAN_COLOUR = (0.824, 0.773, 0.712)
"""Mean over the members' pictures on white: what an erased pixel looks like."""
WORDS = 8
"""Words of a caption at most, unless the name alone has more."""

Pixels = NDArray[np.uint8]

_PERSONS = {"1F468": "1F9D1", "1F469": "1F9D1"}
_SIGNS = {"2640", "2642"}


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """An entry. code: code points without FE0F ("1F3F4-200D-2620"); tags: keywords; base: shared by near-duplicates."""

    code: str
    label: str
    tags: tuple[str, ...]
    group: str
    base: str


def folder() -> Path:
    """The `node_modules` that holds both packages; `AskedWrongly` with the command that installs them."""
    named = os.environ.get("MUROAN_NODE_MODULES")
    places = [Path(named)] if named else [Path(sys.prefix) / "node_modules", Path("node_modules")]
    for place in places:
        if all((place / package / "package.json").is_file() for package in PACKAGES):
            return place.absolute()
    wanted = " and ".join(f"{name} {version}" for name, version in PACKAGES.items())
    command = "npm install --prefix " + sys.prefix + "".join(f" {n}@{v}" for n, v in PACKAGES.items())
    raise AskedWrongly(
        f"the emoji data are missing: the npm packages {wanted} are not in {' or '.join(str(p) for p in places)}. "
        f"Install them with `{command}`, or set MUROAN_NODE_MODULES to the node_modules folder that has them"
    )


def bare(code: str) -> str:
    """Code points without FE0F, upper case: "2764-fe0f" -> "2764"."""
    return "-".join(p for p in code.upper().split("-") if p != "FE0F")


def base(code: str) -> str:
    """The same for near-duplicates: women's, men's and persons' variants of one emoji."""
    points = [_PERSONS.get(p, p) for p in bare(code).split("-") if p not in _SIGNS]
    return "-".join(points).removesuffix("-200D")


def read(place: Path, pairs: int = PAIRS) -> tuple[Emoji, ...]:
    """The entries that both packages below `place` have, in the order of the words' package.

    `CannotComplete` if the versions are others, or there are not `pairs` of them: another copy is other data.
    """
    for package, version in PACKAGES.items():
        found = _json(place / package / "package.json").get("version")
        if found != version:
            raise AskedWrongly(f"{package} in {place} is version {found}; install {package}@{version}")
    pictured = {bare(entry["unified"]) for entry in _json(place / "emoji-datasource-google" / "emoji.json")}
    entries = tuple(
        Emoji(
            code=bare(e["hexcode"]),
            label=e["label"],
            tags=tuple(e.get("tags", ())),
            group=GROUPS[e["group"]],
            base=base(e["hexcode"]),
        )
        for e in _json(place / "emojibase-data" / "en" / "data.json")
        if bare(e["hexcode"]) in pictured
    )
    if len(entries) != pairs:
        raise CannotComplete(f"{place} has {len(entries)} emoji with words and a picture, not {pairs}: a partial copy")
    return entries


def read_pictures(place: Path, codes: Sequence[str]) -> Pixels:
    """Pictures composited on white, bytes [N, SIZE, SIZE, 3]; `CannotComplete` naming the first that is missing."""
    from PIL import Image as Pictures

    package = place / "emoji-datasource-google"
    files = {bare(e["unified"]): e["image"] for e in _json(package / "emoji.json")}
    out = np.empty((len(codes), SIZE, SIZE, 3), dtype=np.uint8)
    for n, code in enumerate(codes):
        path = package / "img" / "google" / "64" / files[code]
        try:
            with Pictures.open(path) as picture:
                drawn = picture.convert("RGBA")
        except OSError as error:
            raise CannotComplete(f"{path} is missing or not a picture: a partial copy") from error
        white = Pictures.new("RGBA", drawn.size, "white")
        # On white first: colours of transparent pixels must not bleed into what is scaled.
        flat = Pictures.alpha_composite(white, drawn).convert("RGB")
        out[n] = np.asarray(flat.resize((SIZE, SIZE), Pictures.Resampling.BOX))
    return out


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotComplete(f"{path} is missing or not readable: a partial copy") from error


@lru_cache(maxsize=2)
def entries(place: Path | None = None) -> tuple[Emoji, ...]:
    """All emoji."""
    return read(place or folder())


@lru_cache(maxsize=2)
def pictures(place: Path | None = None) -> Pixels:
    """Pictures of all emoji in that order, bytes [1911, 32, 32, 3] (6 MB)."""
    where = place or folder()
    return read_pictures(where, [e.code for e in entries(where)])


@lru_cache(maxsize=2)
def _places(place: Path | None = None) -> dict[str, int]:
    return {e.code: n for n, e in enumerate(entries(place))}


def numbers_of(ids: Sequence[str]) -> list[int]:
    """Rows of `pictures` and `entries` of emoji by id."""
    return [_places()[i] for i in ids]


def words(text: str) -> list[str]:
    """Lower-case words of a name or keyword, without punctuation: "flag: Côte d’Ivoire" -> flag côte d’ivoire."""
    return re.findall(r"[^\W_]+(?:['’.-][^\W_]+)*|[#*]", text.lower())


def caption(label: str, tags: Sequence[str], limit: int = WORDS) -> str:
    """The name, then keywords that add a word to it, up to `limit` words: "onion flavoring"."""
    said = words(label)
    for tag in tags:
        new = [w for w in words(tag) if w not in said]
        if new and len(said) + len(new) <= limit:
            said += new
    return " ".join(said)


def captions(ids: Sequence[str], k: int) -> list[list[str]]:
    """`k` captions of each emoji: first the one that the data have, then the name with other draws of its keywords.

    Which keywords depends on the emoji and the caption's number alone. An emoji with few keywords repeats itself.
    """
    known = entries()
    out = []
    for code, number in zip(ids, numbers_of(ids), strict=True):
        emoji = known[number]
        row = [caption(emoji.label, emoji.tags)]
        for j in range(1, k):
            order = np.argsort(sample_keys(emoji.tags, "emoji caption", code, j))
            limit = len(words(emoji.label)) + 1 + key("emoji caption length", code, j) % 4
            row.append(caption(emoji.label, [emoji.tags[i] for i in order], limit))
        out.append(row)
    return out


class EmojiData(Dataset):
    """Emoji by number. task "pairs": picture and caption, which belong together (all "found"); "groups": the picture,
    and which of `classes` its group is."""

    def __init__(self, numbers: Sequence[int], name: str, *, classes: Sequence[str] = FOUND) -> None:
        self.name = name
        self.numbers = list(numbers)
        self.paired = tuple(classes) == FOUND
        everything = entries()
        self.ids = [everything[n].code for n in self.numbers]
        kinds: dict[str, Image | Text] = {"image": Image(size=(SIZE, SIZE), fill=MEAN_COLOUR)}
        if self.paired:
            kinds["text"] = Text()
        self.schema = Schema(
            modalities=kinds,
            classes=tuple(classes),
            groups={"group": GROUPS if self.paired else tuple(classes)},
            cluster="base",
        )

    def sample(self, i: int) -> Sample:
        emoji = entries()[self.numbers[i]]
        inputs: dict[str, Any] = {"image": pictures()[self.numbers[i]]}
        if self.paired:
            inputs["text"] = caption(emoji.label, emoji.tags)
        return Sample(
            inputs=inputs,
            target="found" if self.paired else emoji.group,
            groups={"group": emoji.group},
            cluster=emoji.base,
        )

    def clusters(self) -> list[str]:
        return [entries()[n].base for n in self.numbers]


def _parts() -> dict[str, list[int]]:
    """Numbers of the emoji of each split; near-duplicates stay together."""
    bases = sorted({e.base for e in entries()})
    half = set(choose(bases, len(bases) // 2, "emoji members"))
    rest = [b for i, b in enumerate(bases) if i not in half]
    quarter = set(choose(rest, len(rest) // 2, "emoji reference"))
    side = {b: "members" for i, b in enumerate(bases) if i in half}
    side |= {b: "reference" if i in quarter else "audited" for i, b in enumerate(rest)}
    found: dict[str, list[int]] = {"audited": [], "reference": [], "members": []}
    for n, e in enumerate(entries()):
        found[side[e.base]].append(n)
    return found


def emoji() -> Splits:
    """Pairs of picture and caption. Members: half of the bases, for training; reference and audited: a quarter."""
    parts = _parts()
    return Splits(
        EmojiData(parts["audited"], "emoji"),
        EmojiData(parts["reference"], "emoji (reference)"),
        EmojiData(parts["members"], "emoji (members)"),
    )


CLASSES = tuple(g for g in GROUPS if g not in ("component", "flags"))
"""Groups that a picture can be told by; components are five colours of skin, and flags have a world of their own."""


def emoji_groups() -> Splits:
    """Pictures and their group (`CLASSES`), on the same sides of the same split."""
    everything = entries()
    parts = {s: [n for n in ns if everything[n].group in CLASSES] for s, ns in _parts().items()}
    return Splits(
        EmojiData(parts["audited"], "emoji-groups", classes=CLASSES),
        EmojiData(parts["reference"], "emoji-groups (reference)", classes=CLASSES),
        EmojiData(parts["members"], "emoji-groups (members)", classes=CLASSES),
    )
