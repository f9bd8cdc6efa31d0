"""Misspelling words so that a person still reads them: a letter swapped, dropped, doubled, mistyped or look-alike.

In the manner of character attacks (HotFlip; Pruthi et al., ACL 2019; VIPER, Eger et al., NAACL 2019): first and last
letter stay, since people read by them, except for look-alikes, which look the same anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from muroan.errors import unknown
from muroan.interventions.attacks.candidates import SHORTEST, Source, WordByWord, split
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.perturbations.text import KEYBOARD
from muroan.modality import Text
from muroan.registry import register

HOMOGLYPHS = dict(zip("aceopsxyijABCEHIKMOPTXS", "асеорѕхуіјАВСЕНІКМОРТХЅ", strict=True))
"""Latin letters and the Cyrillic ones that most typefaces draw alike."""


def _swap(word: str) -> list[str]:
    inner = range(1, len(word) - 2)
    return [word[:k] + word[k + 1] + word[k] + word[k + 2 :] for k in inner if word[k] != word[k + 1]]


def _drop(word: str) -> list[str]:
    return [word[:k] + word[k + 1 :] for k in range(1, len(word) - 1)]


def _double(word: str) -> list[str]:
    return [word[: k + 1] + word[k:] for k in range(1, len(word) - 1)]


def _key(word: str) -> list[str]:
    near = ((k, c) for k in range(1, len(word) - 1) for c in KEYBOARD.get(word[k].lower(), ""))
    return [word[:k] + (c.upper() if word[k].isupper() else c) + word[k + 1 :] for k, c in near]


def _look(word: str) -> list[str]:
    return [word[:k] + HOMOGLYPHS[c] + word[k + 1 :] for k, c in enumerate(word) if c in HOMOGLYPHS]


EDITS = {"swap": _swap, "drop": _drop, "double": _double, "key": _key, "look": _look}


@dataclass(frozen=True, kw_only=True)
class Characters(WordByWord):
    """Every edit of one letter of a word of at least four, of the kinds asked for.

    edits: among "swap" (two inner neighbours), "drop", "double", "key" (a neighbouring key) and "look" (a Cyrillic
    letter that looks the same). Where there are more than are tried, kinds take turns, so that none crowds out the
    others.
    """

    edits: tuple[str, ...] = tuple(EDITS)

    def __post_init__(self) -> None:
        for name in self.edits:
            if name not in EDITS:
                raise unknown("edit", name, EDITS)

    def instead(self, token: str, modality: Text) -> list[str]:
        head, core, tail = split(token)
        if len(core) < SHORTEST:
            return []
        kinds = [EDITS[name](core) for name in self.edits]
        turns = [row[k] for k in range(max(map(len, kinds), default=0)) for row in kinds if k < len(row)]
        return [head + w + tail for w in dict.fromkeys(turns) if w != core]


@register
@dataclass(frozen=True, kw_only=True)
class CharacterEdits(WordSubstitution):
    """Misspells the words whose misspelling hurts most: one letter a word, within the budget's number of words."""

    name = "character_edits"
    source = "greedy search over edits of Pruthi et al. 2019, ranked as in HotFlip, Ebrahimi et al. 2018"

    sources: tuple[Source, ...] = (Characters(),)
