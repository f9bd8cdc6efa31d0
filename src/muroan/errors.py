"""What can go wrong, said once: every error Muroan raises on purpose names what, where and what to do.

`AskedWrongly` ends a command with exit code 2, `CannotComplete` with 4 (docs/design.md, "The command line").
`BadSample` is never fatal: the audit quarantines the sample with the error's text as the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 20
"""Names that a message lists before it says how many more there are."""


class MuroanError(Exception):
    """Base of all errors that Muroan raises on purpose."""


class AskedWrongly(MuroanError):
    """The request itself cannot be carried out: an unknown name, a bad option, another plan's run."""


class CannotComplete(MuroanError):
    """The request was fine, the audit could not be completed: a full disk, a model that always fails."""


class BadSample(MuroanError):
    """One sample cannot be used; `str(error)` is the reason that its quarantine row shows."""


class NotApplicable(MuroanError):
    """A method needs what this model or data set does not have; the text says what is missing."""


FOREIGN = (Exception, SystemExit)
"""What somebody else's code (a model, a data set, a plugin) may raise: asked for a value, it may also try to end the
program. That is a failure of that code and never the end of an audit."""


def told(error: BaseException) -> str:
    """An error of somebody else's in words: its type and text, without halves of characters, which no file can hold."""
    name, text = type(error).__name__, str(error).encode("utf-8", "replace").decode()
    if isinstance(error, SystemExit):
        return f"{name}: it tried to end the program ({text or 'without a code'})"
    return f"{name}: {text}" if text else name


def shown(value: object, limit: int = 60) -> str:
    """`value` as a message shows it: quoted, control characters escaped, cut off after `limit` characters."""
    text = repr(value if not isinstance(value, str) else value[: limit + 1])
    return text if len(text) <= limit + 2 else f"{text[:limit]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence tail that helps with a misspelt `name`: the nearest known one, or all of them."""
    options = sorted(set(known))
    alike = [o for o in options if o.casefold() == name.casefold()]
    close = alike or difflib.get_close_matches(name[:200], options, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    more = f" and {len(options) - MANY} more" if len(options) > MANY else ""
    return f"Known: {', '.join(options[:MANY])}{more}." if options else "None are known."


def unknown(what: str, name: str, known: Iterable[str]) -> AskedWrongly:
    """The error for a name that is not there, with the nearest one that is."""
    return AskedWrongly(f"unknown {what} {name!r}. {nearest(name, known)}")
