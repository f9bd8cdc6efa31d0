"""Misspelling words so that a person still reads them: a letter swapped, dropped, doubled, mistyped or look-alike.

In the manner of character attacks (HotFlip; Pruthi et al., ACL 2019; VIPER, Eger et al., NAACL 2019): first and last
letter stay, since people read by them, except for look-alikes, which look the same anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from muroan.errors import unknown
from muroan.interventions.attacks.candidates import SHORTEST, Source, WordByWord, split
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.perturbations.text import KEYBOARD
from muroan.modality import Text
from muroan.registry import register

HOMOGLYPHS = dict(zip("aceopsxyijABCEHIKMOPTXS", "асеорѕхуіјАВСЕНІКМОРТХЅ", strict=True))
"""Latin letters and the Cyrillic ones that most typefaces draw alike."""


def _near(word: str) -> list[tuple[int, str]]:
    """(place of an inner letter, a letter whose key touches its own)."""
    near = ((k, c) for k in range(1, len(word) - 1) for c in KEYBOARD.get(word[k].lower(), ""))
    return [(k, c.upper() if word[k].isupper() else c) for k, c in near]


EDITS: Mapping[str, Callable[[str], list[str]]] = {
    "swap": lambda w: [w[:k] + w[k + 1] + w[k] + w[k + 2 :] for k in range(1, len(w) - 2) if w[k] != w[k + 1]],
    "drop": lambda w: [w[:k] + w[k + 1 :] for k in range(1, len(w) - 1)],
    "double": lambda w: [w[: k + 1] + w[k:] for k in range(1, len(w) - 1)],
    "key": lambda w: [w[:k] + c + w[k + 1 :] for k, c in _near(w)],
    "look": lambda w: [w[:k] + HOMOGLYPHS[c] + w[k + 1 :] for k, c in enumerate(w) if c in HOMOGLYPHS],
}
"""word -> every edit of one letter of it."""


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
