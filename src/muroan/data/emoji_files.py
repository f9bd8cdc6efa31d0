"""The npm packages that hold emoji: where they are, whether they are whole, what is in them.

Words: `emojibase-data` 17.0.0 (MIT); pictures: `emoji-datasource-google` 16.0.0 (package MIT, Google's art Apache-2.0),
and, for who asks how a model fares with another vendor's, `emoji-datasource-twitter` 16.0.0 (package MIT, Twitter's art
CC-BY 4.0, as its README says). They are read where they are installed and nothing of them is copied. Entries are
matched by code point without the variation selector FE0F, which one package writes and the other does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.errors import AskedWrongly, CannotComplete, unknown

PACKAGES = {"emojibase-data": "17.0.0", "emoji-datasource-google": "16.0.0"}
"""Which emoji there are, is decided by these two."""
VENDORS = {"google": "16.0.0", "twitter": "16.0.0"}
"""Who draws the pictures, and the version of the package `emoji-datasource-<vendor>`."""
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


def packages(vendor: str = "google") -> dict[str, str]:
    """Package -> version of all that a vendor's pictures need."""
    if vendor not in VENDORS:
        raise unknown("vendor", vendor, VENDORS)
    return PACKAGES | {f"emoji-datasource-{vendor}": VENDORS[vendor]}


def folder(vendor: str = "google") -> Path:
    """The `node_modules` that holds these packages; `AskedWrongly` with the command that installs them."""
    needed = packages(vendor)
    named = os.environ.get("MUROAN_NODE_MODULES")
    places = [Path(named)] if named else [Path(sys.prefix) / "node_modules", Path("node_modules")]
    for place in places:
        if all((place / package / "package.json").is_file() for package in needed):
            return place.absolute()
    wanted = " and ".join(f"{name} {version}" for name, version in needed.items())
    command = "npm install --prefix " + sys.prefix + "".join(f" {n}@{v}" for n, v in needed.items())
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


def read(place: Path, pairs: int = PAIRS, locale: str = "en") -> tuple[Emoji, ...]:
    """The entries that both packages below `place` have, with words of a `locale`, in the order of the words' package.

    `CannotComplete` if the versions are others, or there are not `pairs` of them: another copy is other data.
    """
    for package, version in PACKAGES.items():
        _check_version(place, package, version)
    known = [p.parent.name for p in (place / "emojibase-data").glob("*/data.json")]
    if locale not in known:
        raise unknown("locale", locale, known)
    pictured = {bare(entry["unified"]) for entry in _json(place / "emoji-datasource-google" / "emoji.json")}
    entries = tuple(
        Emoji(
            code=bare(e["hexcode"]),
            label=e["label"],
            tags=tuple(e.get("tags", ())),
            group=GROUPS[e["group"]],
            base=base(e["hexcode"]),
        )
        for e in _json(place / "emojibase-data" / locale / "data.json")
        if bare(e["hexcode"]) in pictured
    )
    if len(entries) != pairs:
        raise CannotComplete(f"{place} has {len(entries)} emoji with words and a picture, not {pairs}: a partial copy")
    return entries


def _check_version(place: Path, package: str, version: str) -> None:
    found = _json(place / package / "package.json").get("version")
    if found != version:
        raise AskedWrongly(f"{package} in {place} is version {found}, not {version}; install {package}@{version}")


def read_pictures(place: Path, codes: Sequence[str], vendor: str = "google") -> Pixels:
    """A vendor's pictures composited on white, bytes [N, SIZE, SIZE, 3]; `CannotComplete` naming the first missing."""
    from PIL import Image as Pictures

    package = place / f"emoji-datasource-{vendor}"
    _check_version(place, package.name, VENDORS[vendor])
    files = {bare(e["unified"]): e["image"] for e in _json(package / "emoji.json")}
    out = np.empty((len(codes), SIZE, SIZE, 3), dtype=np.uint8)
    for n, code in enumerate(codes):
        if code not in files:
            raise CannotComplete(f"{package} has no picture of {code}: a partial copy")
        path = package / "img" / vendor / "64" / files[code]
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
