"""Perturbations of texts: the published rates, repeatability, independence of the batch, and what they do."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.data.easy_vqa import LEXICON
from muroan.errors import NotApplicable
from muroan.interventions.perturbations import LEFT_OUT, SEVERITIES, TABLE, Draws, of_kind
from muroan.interventions.perturbations import text as texts
from muroan.modality import Text
from muroan.randomness import sample_keys

TEXT = {p.name: p for p in of_kind("text") if p.wants is None}
KNOWING = Text(lexicon=LEXICON)
QUESTIONS = [
    "what shape is in the image?",
    "is there not a red circle in the image?",
    "what color is the shape?",
    "does the image contain a gray triangle?",
    "yes",
]


def draws(n: int, *purpose: object) -> Draws:
    return Draws(sample_keys([str(i) for i in range(n)], *purpose))


def test_names_are_distinct_within_a_kind() -> None:
    assert max(Counter((p.kind, p.name) for p in TABLE).values()) == 1


def test_what_wants_something_is_left_out_and_says_what() -> None:
    assert {p.name for p in TABLE if p.wants is not None} == set(LEFT_OUT)
    assert "folder of pictures" in LEFT_OUT["frost"]
    assert "python:package.module:name" in LEFT_OUT["stylize"]
    wanting = next(p for p in TABLE if p.wants is not None)
    with pytest.raises(NotApplicable, match="is not given"):
        wanting(["a"], 1, draws(1), Text())


def test_constants_of_texts_are_the_published_ones() -> None:
    assert all(p.levels == (0.05, 0.1, 0.15, 0.2, 0.25) for p in TEXT.values())
    assert len(TEXT) == 11


# Texts.


def changed(name: str, values: list[str], severity: int, seed: object = 0) -> list[str]:
    return TEXT[name](values, severity, Draws(sample_keys(values, seed)), KNOWING)


@pytest.mark.parametrize("name", TEXT)
def test_a_text_gets_the_same_change_alone_and_in_any_batch(name: str) -> None:
    longer = [*QUESTIONS, " ".join(QUESTIONS * 3)]
    for severity in SEVERITIES:
        together = changed(name, longer, severity)
        assert together == changed(name, longer, severity)
        assert [changed(name, [t], severity)[0] for t in longer] == together
    assert changed(name, longer, 0) is longer
    many = [changed(name, [longer[1]], 3, seed)[0] for seed in range(20)]
    assert len(set(many)) > 1


@pytest.mark.parametrize("name", TEXT)
def test_every_question_of_several_words_is_touched_at_every_severity(name: str) -> None:
    values = QUESTIONS[:4]
    for severity in SEVERITIES:
        assert all(a != b for a, b in zip(values, changed(name, values, severity), strict=True))


@pytest.mark.parametrize("name", [n for n, p in TEXT.items() if p.family == "character"])
def test_a_higher_severity_touches_the_same_words_and_more(name: str) -> None:
    text = " ".join(QUESTIONS[:4] * 4)
    words = text.split()
    touched: set[int] = set()
    for severity in SEVERITIES:
        now = {
            i for i, (a, b) in enumerate(zip(words, changed(name, [text], severity)[0].split(), strict=True)) if a != b
        }
        assert touched <= now
        assert len(now) == pytest.approx(0.05 * severity * len(words), abs=1)
        touched = now


def test_how_many_words_of_a_short_text() -> None:
    u = (np.arange(1000) + 0.5) / 1000
    for severity, mean in zip(SEVERITIES, (1.0, 1.0, 1.0, 1.2, 1.5), strict=True):
        assert np.mean([texts.count(0.05 * severity, 6, r) for r in u]) == pytest.approx(mean, abs=0.002)


def test_keys_of_the_keyboard_touch() -> None:
    assert set(texts.KEYBOARD["g"]) == set("ftyhbv")
    assert set(texts.KEYBOARD["q"]) == set("wa")
    assert all(a in texts.KEYBOARD[b] for a, near in texts.KEYBOARD.items() for b in near)


def test_word_changes_do_what_they_say() -> None:
    values = [*QUESTIONS[:4], " ".join(QUESTIONS[:4])]
    for severity in SEVERITIES:
        for a, b in zip(values, changed("word_swap", values, severity), strict=True):
            assert sorted(a.split()) == sorted(b.split())
        for a, b in zip(values, changed("word_delete", values, severity), strict=True):
            assert 0 < len(b.split()) < len(a.split())
            assert not Counter(b.split()) - Counter(a.split())
        for a, b in zip(values, changed("word_insert", values, severity), strict=True):
            added = Counter(b.split()) - Counter(a.split())
            assert Counter(a.split()) == Counter(b.split()) - added
            assert added.total() == len(b.split()) - len(a.split()) > 0
            # As EDA: synonyms of the text's words; of a text without one, its words a second time.
            alike = {o for w in a.split() for o in dict(LEXICON).get(w.strip("?"), ())}
            assert set(added) <= (alike or set(a.split()))
        unknown = TEXT["word_insert"](values, severity, Draws(sample_keys(values, 0)), Text())
        assert all(set(b.split()) == set(a.split()) for a, b in zip(values, unknown, strict=True))
        for a, b in zip(values, changed("punctuation", values, severity), strict=True):
            extra = Counter(b.split()) - Counter(a.split())
            assert set(extra) <= set(texts.MARKS)
            assert 1 <= extra.total() <= np.ceil(0.05 * severity * len(a.split()))
        known = {w: set(o) for w, o in LEXICON}
        for a, b in zip(values, changed("word_synonym", values, severity), strict=True):
            for old, new in zip(a.split(), b.split(), strict=True):
                assert old == new or new.strip("?") in known[old.strip("?")]


def test_synonyms_need_a_lexicon() -> None:
    with pytest.raises(NotApplicable, match="lexicon"):
        TEXT["word_synonym"](["a"], 1, draws(1), Text())
    assert TEXT["word_synonym"].fits(KNOWING) is None


@pytest.mark.parametrize("name", TEXT)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.text(max_size=30), min_size=1, max_size=4), severity=st.sampled_from(SEVERITIES))
def test_any_text_at_all(name: str, values: list[str], severity: int) -> None:
    found = TEXT[name](values, severity, draws(len(values)), KNOWING)
    assert len(found) == len(values)
    for before, after in zip(values, found, strict=True):
        assert isinstance(after, str)
        assert bool(after.strip()) == bool(before.strip()) or not before.split()
