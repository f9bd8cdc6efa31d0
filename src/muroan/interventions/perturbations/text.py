"""Sixteen perturbations of texts: six of characters, five of words, and five of sentences, as MM_Robustness lists them.

At severity s about 5·s % of a text's words are touched, and at least one that can be (its script's rate, and
nlpaug's minimum). The number is rounded up or down at random, once per text, so that a severity more never touches
fewer words; a question of six words has one word touched at severities 1 to 3, and one or two at 4 and 5. In a
word chosen for a change of characters 30 % of them change, at least one and at most ten (nlpaug's defaults).
Sentences are rewritten by what the user names (`sentences`); they have one severity.

A text in which nothing can be touched (one word, for a swap of words; no word in the lexicon, for a synonym) comes
back as it is; evidence says which. Words are what whitespace separates. The keyboard and the look-alikes are those
of the Latin alphabet.

Known trade-offs (accepted):
- synonyms come from the modality's lexicon; without one their row is left out, with the reason, and what is inserted
  is a word of the text itself, where EDA inserts a synonym of one;
- whether a change of words or of style keeps the meaning is checked (`fidelity`) where the user names a judge.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from muroan.interventions.perturbations import sentences
from muroan.interventions.perturbations.base import Perturbation, rows
from muroan.interventions.perturbations.words import Own, of_each, some
from muroan.modality import Modality, Text

RATES = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Share of words touched at severity 1..5."""
CHARACTERS, MOST_CHARACTERS = 0.3, 10
"""Share of a touched word's characters that change, and their greatest number."""
MARKS = ".,!?;:"

_row = rows("text", "nlpaug by way of MM_Robustness")


def _neighbours() -> dict[str, str]:
    """For each letter of a QWERTY keyboard the letters whose keys touch its own."""
    rows = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))
    at = {c: (x + shift, float(y)) for y, (row, shift) in enumerate(rows) for x, c in enumerate(row)}
    return {a: "".join(b for b in at if b != a and math.dist(at[a], at[b]) < 1.3) for a in at}


KEYBOARD = _neighbours()
_ALIKE = "0oO 1lI 2zZ 5sS 6bG 8B 9gq OD0 I1l S5 Z2 B8 G6 DO o0 l1I i1l z2 s5 b6h g9q q9g hb ec ce uv vu mn nm tf ft"
LOOK_ALIKES = {pair[0]: pair[1:] for pair in _ALIKE.split()}
"""For each character those that a reader of scans takes it for."""


def count(rate: float, words: int, rounding: float) -> int:
    """How many of a text's words to touch: `rate` of them, rounded at random, at least one."""
    return max(1, math.floor(rate * words + rounding))


def _pick(options: Sequence[Any], u: float) -> Any:
    return options[int(u * len(options))]


# Characters. Where a word can be edited, and what then stands there: (letters, place, draw) -> letters from there on.

Places = Callable[[str], list[int]]
Edit = Callable[[list[str], int, float], list[str]]
LETTERS = string.ascii_lowercase


def _alphanumeric(word: str) -> list[int]:
    return [i for i, c in enumerate(word) if c.isalnum()]


def _of_characters(name: str, places: Places, edit: Edit, kept: int = 0) -> Perturbation:
    """Edits at distinct places of some of the words that have more than `kept` of these."""

    def change(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
        many = count(rate, len(words), own.one("rounding"))
        chosen = some(words, lambda word: len(places(word)) > kept, own, many)
        pairs = own.each("characters", MOST_CHARACTERS, 2)
        for n in chosen:
            letters, left = list(words[n]), places(words[n])
            few = min(MOST_CHARACTERS, max(1, round(CHARACTERS * len(letters))), len(left) - kept)
            for place, u in pairs[n, :few]:
                i = left.pop(int(place * len(left)))
                new = edit(letters, i, u)
                letters[i : i + len(new)] = new
            words[n] = "".join(letters)
        return words if chosen else None

    return _row(of_each(change), "character", RATES, name=name)


def _from(name: str, table: dict[str, str]) -> Perturbation:
    """Characters become one of those that the table has for them, of capitals the capital."""

    def edit(letters: list[str], i: int, u: float) -> list[str]:
        c = letters[i]
        return [_pick(table[c], u) if c in table else _pick(table[c.lower()], u).upper()]

    return _of_characters(name, lambda word: [i for i, c in enumerate(word) if c in table or c.lower() in table], edit)


CHARACTER_EDITS: tuple[Perturbation, ...] = (
    _from("keyboard", KEYBOARD),
    _from("ocr", LOOK_ALIKES),
    _of_characters(
        "character_insert",
        lambda word: list(range(len(word))) if _alphanumeric(word) else [],
        lambda letters, i, u: [_pick(LETTERS, u) + letters[i]],
    ),
    _of_characters(
        "character_substitute", _alphanumeric, lambda letters, i, u: [_pick(LETTERS.replace(letters[i].lower(), ""), u)]
    ),
    _of_characters(
        "character_swap",
        lambda word: [i for i in range(len(word) - 1) if word[i] != word[i + 1]],
        lambda letters, i, u: [letters[i + 1], letters[i]],
    ),
    _of_characters("character_delete", _alphanumeric, lambda letters, i, u: [""], kept=1),
)


# Words.


def _word_swap(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
    """Two unlike words change places, as often as the rate says."""
    if len(set(words)) < 2:
        return None
    for first, second in own.each("pair", 2)[: count(rate, len(words), own.one("rounding"))]:
        i = int(first * len(words))
        j = _pick([k for k, w in enumerate(words) if w != words[i]], second)
        words[i], words[j] = words[j], words[i]
    return words


def _word_deletion(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
    """Words disappear; one always stays."""
    gone = set(some(words, bool, own, min(count(rate, len(words), own.one("rounding")), len(words) - 1)))
    return [w for i, w in enumerate(words) if i not in gone] if gone else None


def _inserted(words: list[str], places: Sequence[tuple[int, str]]) -> list[str] | None:
    """`words` with others put before the words at the given places (place = length: at the end)."""
    for place, word in sorted(places, key=lambda p: p[0], reverse=True):
        words.insert(place, word)
    return words if places else None


def _punctuation(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
    """From one to rate · words punctuation marks appear between words, the number drawn evenly."""
    many = 1 + int(own.one("how many") * math.ceil(rate * len(words))) if words else 0
    pairs = own.each("pair", 2)[:many]
    return _inserted(words, [(int(place * (len(words) + 1)), _pick(MARKS, which)) for place, which in pairs])


@lru_cache(maxsize=8)
def _synonyms_of(lexicon: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, tuple[str, ...]]:
    return {word.lower(): others for word, others in lexicon if others}


def _without_marks(word: str) -> tuple[str, str, str]:
    """(marks before, the word, marks after)."""
    bare = word.strip(string.punctuation)
    start = word.find(bare) if bare else 0
    return word[:start], bare, word[start + len(bare) :]


def _word_insertion(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
    """A synonym of some word appears somewhere else; without a known one, a word of the text a second time."""
    known = _synonyms_of(modality.lexicon if isinstance(modality, Text) else ())
    others = [o for w in words if (o := known.get(_without_marks(w)[1].lower()))]
    options = others or [(w,) for w in words]
    many = count(rate, len(words), own.one("rounding")) if words else 0
    drawn = zip(own.each("pair", 2)[:many], own.each("synonym")[:many], strict=True)
    places = [(int(place * (len(words) + 1)), _pick(_pick(options, which), u)) for (place, which), u in drawn]
    return _inserted(words, places)


def _synonyms(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
    """Words of the lexicon are replaced by others that it says mean the same."""
    assert isinstance(modality, Text)
    known = _synonyms_of(modality.lexicon)
    many = count(rate, len(words), own.one("rounding"))
    chosen = some(words, lambda word: _without_marks(word)[1].lower() in known, own, many)
    for i in chosen:
        before, bare, after = _without_marks(words[i])
        new = _pick(known[bare.lower()], own.each("which")[i])
        words[i] = before + (new[:1].upper() + new[1:] if bare[:1].isupper() else new) + after
    return words if chosen else None


def _needs_lexicon(modality: Modality) -> str | None:
    if isinstance(modality, Text) and modality.lexicon:
        return None
    return "needs a lexicon of synonyms, which the data set's text does not have"


def _of_words(name: str, change: Any, **more: Any) -> Perturbation:
    return _row(of_each(change), "word", RATES, "EDA by way of MM_Robustness", name=name, gated=True, **more)


TABLE: tuple[Perturbation, ...] = (
    *CHARACTER_EDITS,
    _of_words("word_synonym", _synonyms, fits=_needs_lexicon),
    _of_words("word_insert", _word_insertion),
    _of_words("word_swap", _word_swap),
    _of_words("word_delete", _word_deletion),
    _of_words("punctuation", _punctuation),
    *sentences.TABLE,
)
