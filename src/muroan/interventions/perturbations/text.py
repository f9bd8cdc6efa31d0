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
from muroan.interventions.perturbations.base import Change, Perturbation, rows
from muroan.interventions.perturbations.words import Floats, Own, of_each, some
from muroan.modality import Modality, Text

RATES = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Share of words touched at severity 1..5."""
CHARACTERS, MOST_CHARACTERS = 0.3, 10
"""Share of a touched word's characters that change, and their greatest number."""
MARKS = ".,!?;:"


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


# Characters. An edit takes a word and pairs of draws (place, choice), one pair per character to change.

Edit = Callable[[str, Floats], str]


def _pick(options: Sequence[Any], u: float) -> Any:
    return options[int(u * len(options))]


def _places(able: list[int], pairs: Floats) -> list[tuple[int, float]]:
    """Distinct places among `able`, one for each pair of draws as far as they go, with the pair's other draw."""
    left, out = list(able), []
    for place, choice in pairs:
        if not left:
            break
        out.append((left.pop(int(place * len(left))), float(choice)))
    return out


def _substitute_from(table: dict[str, str]) -> Edit:
    def edit(word: str, pairs: Floats) -> str:
        letters = list(word)
        able = [i for i, c in enumerate(letters) if c in table or c.lower() in table]
        for i, choice in _places(able, pairs):
            c = letters[i]
            letters[i] = _pick(table[c], choice) if c in table else _pick(table[c.lower()], choice).upper()
        return "".join(letters)

    return edit


def _random_substitute(word: str, pairs: Floats) -> str:
    letters = list(word)
    for i, choice in _places([i for i, c in enumerate(letters) if c.isalnum()], pairs):
        letters[i] = _pick(string.ascii_lowercase.replace(letters[i].lower(), ""), choice)
    return "".join(letters)


def _random_insert(word: str, pairs: Floats) -> str:
    letters = list(word)
    # From the back, so that earlier places stay what they were.
    for i, choice in sorted(_places(list(range(len(letters))), pairs), reverse=True):
        letters.insert(i, _pick(string.ascii_lowercase, choice))
    return "".join(letters)


def _random_swap(word: str, pairs: Floats) -> str:
    letters = list(word)
    for i, _ in _places([i for i in range(len(word) - 1) if word[i] != word[i + 1]], pairs):
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def _random_delete(word: str, pairs: Floats) -> str:
    able = [i for i, c in enumerate(word) if c.isalnum()]
    gone = {i for i, _ in _places(able, pairs[: len(able) - 1])}
    return "".join(c for i, c in enumerate(word) if i not in gone)


def _has(table: dict[str, str]) -> Callable[[str], bool]:
    return lambda word: any(c in table or c.lower() in table for c in word)


def _letters(least: int) -> Callable[[str], bool]:
    return lambda word: sum(c.isalnum() for c in word) >= least


def _two_unlike(word: str) -> bool:
    return len(set(word)) > 1


def _characters(able: Callable[[str], bool], edit: Edit) -> Change:
    """The change that applies `edit` to some of the words that are `able`."""

    def change(words: list[str], rate: float, own: Own, modality: Modality) -> list[str] | None:
        chosen = some(words, able, own, count(rate, len(words), own.one("rounding")))
        pairs = own.each("characters", MOST_CHARACTERS, 2)
        for i in chosen:
            few = min(MOST_CHARACTERS, max(1, round(CHARACTERS * len(words[i]))))
            words[i] = edit(words[i], pairs[i, :few])
        return words if chosen else None

    return of_each(change)


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


_row = rows("text", "nlpaug by way of MM_Robustness")


def _of_characters(name: str, able: Callable[[str], bool], edit: Edit) -> Perturbation:
    return _row(_characters(able, edit), "character", RATES, name=name)


def _of_words(name: str, change: Any, **more: Any) -> Perturbation:
    return _row(of_each(change), "word", RATES, "EDA by way of MM_Robustness", name=name, gated=True, **more)


TABLE: tuple[Perturbation, ...] = (
    _of_characters("keyboard", _has(KEYBOARD), _substitute_from(KEYBOARD)),
    _of_characters("ocr", _has(LOOK_ALIKES), _substitute_from(LOOK_ALIKES)),
    _of_characters("character_insert", _letters(1), _random_insert),
    _of_characters("character_substitute", _letters(1), _random_substitute),
    _of_characters("character_swap", _two_unlike, _random_swap),
    _of_characters("character_delete", _letters(2), _random_delete),
    _of_words("word_synonym", _synonyms, fits=_needs_lexicon),
    _of_words("word_insert", _word_insertion),
    _of_words("word_swap", _word_swap),
    _of_words("word_delete", _word_deletion),
    _of_words("punctuation", _punctuation),
    *sentences.TABLE,
)
