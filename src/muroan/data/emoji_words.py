"""What is said about an emoji: captions of its name and keywords, and forms of a word that say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from muroan.data.emoji_files import Emoji

WORDS = 8
"""Words of a caption at most, unless the name alone has more."""


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


def form_of(long: str, short: str) -> bool:
    """Whether `long` is the plural or the -ing form of `short`: hearts of heart, waving of wave, hugging of hug."""
    stem = short.removesuffix("e")
    plurals = {f"{short}s", f"{short}es", f"{short.removesuffix('y')}ies" if short.endswith("y") else ""}
    return long in plurals or long in {f"{short}ing", f"{stem}ing", f"{short}{short[-1:]}ing"}


def lexicon(entries: Iterable[Emoji]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For a word, its plural and -ing form and the other way round, where the data give both to one emoji.

    Two forms that describe one picture say the same of it; "new" and "news" do not.
    """
    found: dict[str, set[str]] = {}
    for emoji in entries:
        said = sorted({w for text in (emoji.label, *emoji.tags) for w in words(text) if len(w) > 2})
        by_start: dict[str, list[str]] = {}
        for w in said:
            by_start.setdefault(w[:2], []).append(w)
        for alike in by_start.values():
            for long in alike:
                for short in alike:
                    if form_of(long, short):
                        found.setdefault(long, set()).add(short)
                        found.setdefault(short, set()).add(long)
    return tuple((word, tuple(sorted(others))) for word, others in sorted(found.items()))
