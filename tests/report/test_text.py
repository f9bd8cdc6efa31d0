"""What nobody vouches for is shown, whatever it holds, and never acts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muroan.report.text import one_line, visible
from tests.report.example import HOSTILE

HARMLESS = {"\n", "\t", "\u200c", "\u200d"}


def acts(c: str) -> bool:
    """Control, format and surrogate characters: what a reader does not see and a terminal may obey."""
    return (
        unicodedata.category(c) in ("Cc", "Cs") or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )


@given(st.text(st.characters(codec=None)))
def test_nothing_that_acts_is_left(text: str) -> None:
    assert not [c for c in visible(text) if acts(c) and c not in HARMLESS]
    assert not [c for c in one_line(text) if acts(c) and c not in ("\u200c", "\u200d")]


@given(st.text(st.characters(codec=None)))
def test_what_comes_out_can_be_written(text: str) -> None:
    visible(text).encode("utf-8")


@given(st.text(st.characters(codec=None)))
def test_showing_twice_changes_nothing(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("text", ["plain", "שלום עולם", "日本語", "a 👩‍👧 family", "naïve − café", "line\nline\ttab"])
def test_honest_text_stays(text: str) -> None:
    assert visible(text) == text


def test_what_was_there_can_be_read() -> None:
    assert visible("\x1b[31m") == "⟨U+001B⟩[31m"
    assert visible("a\u202egnp") == "a⟨U+202E⟩gnp"


def test_one_line_is_one_line() -> None:
    assert one_line(" a\n\n b\tc\x1c") == "a b c⟨U+001C⟩"


def test_limit_counts_what_was_there() -> None:
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert all(len(visible(text, 20)) <= 20 * 10 for text in HOSTILE)
