"""Progress: nothing where nobody looks, plain lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io

from muroan.auditing import progress as module
from muroan.auditing.progress import progress


def test_plain_lines_now_and_then_without_a_terminal(monkeypatch, capsys):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with progress("observing", 10) as advance:
        for _ in range(10):
            advance(1, "audited")
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 6
    assert lines[0].startswith("observing: 2/10, about ")
    assert lines[0].endswith("(audited)")


def test_silence_where_it_was_asked_for(capsys):
    with progress("observing", 10, show=False) as advance:
        advance(10, "audited")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(module.sys, "stderr", screen)
    with progress("observing", 4) as advance:
        advance(4, "[bold]audited")
    assert "observing" in screen.getvalue()
