"""Progress of anything longer than two seconds: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]
"""Called with how much was done since the last call, and what is being done now."""

QUIET_SECONDS = 10.0
"""Between plain lines where there is no terminal."""


@contextmanager
def progress(title: str, total: int, *, show: bool = True) -> Iterator[Advance]:
    """Shows how far `total` units of work have come, on standard error."""
    if not show or total == 0:
        yield lambda done, what: None
    elif sys.stderr.isatty():
        yield from _bar(title, total)
    else:
        yield from _lines(title, total)


def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[what]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, what="")

        def advance(done: int, what: str) -> None:
            bar.update(task, advance=done, what=what)

        yield advance


def _lines(title: str, total: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    count = 0

    def advance(done: int, what: str) -> None:
        nonlocal last, count
        count += done
        now = time.monotonic()
        if now - last >= QUIET_SECONDS and count:
            last = now
            left = (now - start) / count * (total - count)
            sys.stderr.write(f"{title}: {count}/{total}, about {left:.0f} s left ({what})\n")
            sys.stderr.flush()

    yield advance
