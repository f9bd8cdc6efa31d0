"""Text that nobody vouches for, made harmless and visible: the one place where control characters end.

Labels, sample texts, model outputs and error messages reach terminals, pages, XML and logs. Escaping for each
of those is the business of whoever writes it; this takes away what no escaping covers: terminal control,
characters that turn the direction of what follows, characters that nobody sees, and halves of characters.
"""

from __future__ import annotations

import re

# C0 and C1 controls but tab and newline; marks of direction; zero-width and other invisible characters; line
# separators; "tag" characters, which can hide a whole sentence; surrogates and non-characters. The joiners
# U+200C and U+200D stay: several scripts and many emoji are wrong without them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"
)
ELLIPSIS = "…"


def _show(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF):
        return "\ufffd"
    return f"⟨U+{code:04X}⟩"


def visible(text: str, limit: int | None = None) -> str:
    """`text` with every unsafe character replaced by one that shows it; newlines and tabs stay.

    limit: cut off after so many characters, with an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + ELLIPSIS
    return _UNSAFE.sub(_show, text)


def one_line(text: str, limit: int | None = None) -> str:
    """`visible`, with every run of white space made one space."""
    return visible(" ".join(text.split()) if text.isprintable() else _flat(text), limit)


def _flat(text: str) -> str:
    # str.split() would eat U+001C..U+001F and U+2028 in silence; only real white space goes here.
    return re.sub(r"[ \t\r\n]+", " ", text).strip(" ")
