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

import numpy as np
from numpy.typing import NDArray

from muroan.interventions.perturbations import sentences
from muroan.interventions.perturbations.base import Draws, Perturbation
from muroan.modality import Modality, Text

RATES = (0.05, 0.10, 0.15, 0.20, 0.25)
"""Share of words touched at severity 1..5."""
CHARACTERS, MOST_CHARACTERS = 0.3, 10
"""Share of a touched word's characters that change, and their greatest number."""
MARKS = ".,!?;:"

Floats = NDArray[np.float64]


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


def _longest(texts: Sequence[str]) -> int:
    return max([1, *(len(t.split()) for t in texts)])


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
            new = _pick(table[c], choice) if c in table else _pick(table[c.lower()], choice).upper()
            letters[i] = new
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


def _characters(able: Callable[[str], bool], edit: Edit) -> Any:
    """The change that applies `edit` to some of the words that are `able`."""

    def change(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
        most = _longest(texts)
        order, rounding = draws.doubles("word", most), draws.doubles("rounding")
        pairs = draws.doubles("characters", most, MOST_CHARACTERS, 2)
        out = []
        for n, text in enumerate(texts):
            words = text.split()
            found = sorted((i for i, w in enumerate(words) if able(w)), key=order[n].__getitem__)
            chosen = found[: count(rate, len(words), rounding[n])]
            for i in chosen:
                few = min(MOST_CHARACTERS, max(1, round(CHARACTERS * len(words[i]))))
                words[i] = edit(words[i], pairs[n, i, :few])
            out.append(" ".join(words) if chosen else text)
        return out

    return change


# Words.


def _word_swap(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Two unlike words change places, as often as the rate says."""
    pairs, rounding = draws.doubles("pair", _longest(texts), 2), draws.doubles("rounding")
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        if len(set(words)) < 2:
            out.append(text)
            continue
        for first, second in pairs[n, : count(rate, len(words), rounding[n])]:
            i = int(first * len(words))
            j = _pick([k for k, w in enumerate(words) if w != words[i]], second)
            words[i], words[j] = words[j], words[i]
        out.append(" ".join(words))
    return out


def _word_deletion(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Words disappear; one always stays."""
    order, rounding = draws.doubles("word", _longest(texts)), draws.doubles("rounding")
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        few = min(count(rate, len(words), rounding[n]), len(words) - 1)
        gone = set(sorted(range(len(words)), key=order[n].__getitem__)[:few]) if few > 0 else set()
        out.append(" ".join(w for i, w in enumerate(words) if i not in gone) if gone else text)
    return out


def _inserted(words: list[str], places: Sequence[tuple[int, str]]) -> str:
    """`words` with others put before the words at the given places (place = length: at the end)."""
    out = list(words)
    for place, word in sorted(places, key=lambda p: p[0], reverse=True):
        out.insert(place, word)
    return " ".join(out)


def _punctuation(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
    """From one to rate · words punctuation marks appear between words, the number drawn evenly."""
    pairs, howmany = draws.doubles("pair", _longest(texts), 2), draws.doubles("how many")
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        some: Any = pairs[n, : 1 + int(howmany[n] * math.ceil(rate * len(words)))] if words else []
        places = [(int(place * (len(words) + 1)), str(_pick(MARKS, which))) for place, which in some]
        out.append(_inserted(words, places) if places else text)
    return out


@lru_cache(maxsize=8)
def _synonyms_of(lexicon: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, tuple[str, ...]]:
    return {word.lower(): others for word, others in lexicon if others}


def _without_marks(word: str) -> tuple[str, str, str]:
    """(marks before, the word, marks after)."""
    bare = word.strip(string.punctuation)
    start = word.find(bare) if bare else 0
    return word[:start], bare, word[start + len(bare) :]


def _word_insertion(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
    """A synonym of some word appears somewhere else; without a known one, a word of the text a second time."""
    known = _synonyms_of(modality.lexicon if isinstance(modality, Text) else ())
    most = _longest(texts)
    pairs, synonym, rounding = draws.doubles("pair", most, 2), draws.doubles("synonym", most), draws.doubles("rounding")
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        others = [o for w in words if (o := known.get(_without_marks(w)[1].lower()))]
        options = others or [(w,) for w in words]
        places = []
        for k in range(count(rate, len(words), rounding[n]) if words else 0):
            place, which = pairs[n, k]
            places.append((int(place * (len(words) + 1)), str(_pick(_pick(options, which), synonym[n, k]))))
        out.append(_inserted(words, places) if places else text)
    return out


def _synonyms(texts: list[str], rate: float, draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Words of the lexicon are replaced by others that it says mean the same."""
    assert isinstance(modality, Text)
    known = _synonyms_of(modality.lexicon)
    most = _longest(texts)
    order, rounding, which = draws.doubles("word", most), draws.doubles("rounding"), draws.doubles("which", most)
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        able = [i for i, w in enumerate(words) if _without_marks(w)[1].lower() in known]
        chosen = sorted(able, key=order[n].__getitem__)[: count(rate, len(words), rounding[n])]
        for i in chosen:
            before, bare, after = _without_marks(words[i])
            new = str(_pick(known[bare.lower()], which[n, i]))
            words[i] = before + (new[:1].upper() + new[1:] if bare[:1].isupper() else new) + after
        out.append(" ".join(words) if chosen else text)
    return out


def _needs_lexicon(modality: Modality) -> str | None:
    if isinstance(modality, Text) and modality.lexicon:
        return None
    return "needs a lexicon of synonyms, which the data set's text does not have"


def _row(name: str, family: str, change: Any, source: str, **more: Any) -> Perturbation:
    return Perturbation(name, "text", family, change, RATES, source, **more)


def _of_words(name: str, change: Any, **more: Any) -> Perturbation:
    return _row(name, "word", change, "EDA by way of MM_Robustness", gated=True, **more)


_NLPAUG = "nlpaug by way of MM_Robustness"

TABLE: tuple[Perturbation, ...] = (
    _row("keyboard", "character", _characters(_has(KEYBOARD), _substitute_from(KEYBOARD)), _NLPAUG),
    _row("ocr", "character", _characters(_has(LOOK_ALIKES), _substitute_from(LOOK_ALIKES)), _NLPAUG),
    _row("character_insert", "character", _characters(_letters(1), _random_insert), _NLPAUG),
    _row("character_substitute", "character", _characters(_letters(1), _random_substitute), _NLPAUG),
    _row("character_swap", "character", _characters(_two_unlike, _random_swap), _NLPAUG),
    _row("character_delete", "character", _characters(_letters(2), _random_delete), _NLPAUG),
    _of_words("word_synonym", _synonyms, fits=_needs_lexicon),
    _of_words("word_insert", _word_insertion),
    _of_words("word_swap", _word_swap),
    _of_words("word_delete", _word_deletion),
    _of_words("punctuation", _punctuation),
    *sentences.TABLE,
)
