"""The verdicts for a terminal. Every word is a `Text`: nothing is markup, no control character gets out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from muroan.auditing.result import ProbeResult, Result
from muroan.finding import Finding, Verdict
from muroan.report import figures
from muroan.report.text import one_line
from muroan.report.words import (
    MARK,
    WORD,
    decision,
    headline,
    headlines,
    sentence,
    unanswered,
    unit_of,
    where,
    would_decide,
)

ORDER = (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS, Verdict.MEASURED)
STYLE = {
    Verdict.FAIL: "bold red",
    Verdict.UNDECIDED: "yellow",
    Verdict.PASS: "cyan",
    Verdict.MEASURED: "dim",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.NOT_COMPLETED: "bold red",
}
MEASURED = 12
"""Most findings without a limit that are listed; the page has them all."""


def table(result: Result) -> RenderableType:
    """Decision, verdicts worst first, what was not answered, what was quarantined."""
    parts: list[RenderableType] = [
        Text(""),
        Text(headline(result), style="bold"),
        Text(decision(result)),
        Text(""),
    ]
    found = [(p, f) for p in result.probes for f in headlines(p) if f.verdict in ORDER and f.estimate is not None]
    if found:
        parts.append(_verdicts(found))
    hidden = sum(f.verdict is Verdict.MEASURED for _, f in found) - MEASURED
    if hidden > 0:
        parts.append(Text(f"and {hidden} more measured without a limit: see the report", style="dim"))
    parts += [_unanswered(name, verdict, reason) for name, verdict, reason in unanswered(result)]
    if result.quarantine:
        n = len(result.quarantine)
        parts.append(Text(f"{n} quarantine {'rows' if n > 1 else 'row'}: see the report", style="yellow"))
    return Group(*parts)


def _verdicts(found: Sequence[tuple[ProbeResult, Finding]]) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    out.add_column("", no_wrap=True)
    out.add_column("finding", ratio=3, overflow="fold")
    out.add_column("value, interval", no_wrap=True)
    out.add_column("limit, n", no_wrap=True)
    for verdict in ORDER:
        chosen = [(p, f) for p, f in found if f.verdict is verdict]
        for probe, finding in chosen[:MEASURED] if verdict is Verdict.MEASURED else chosen:
            out.add_row(*_row(probe, finding))
    return out


def _row(probe: ProbeResult, finding: Finding) -> list[Text]:
    e = finding.estimate
    assert e is not None
    unit = unit_of(probe, finding)
    style = STYLE[finding.verdict]
    name = Text(sentence(one_line(finding.title, 160)))
    for extra in (where(finding), would_decide(finding)):
        if extra:
            name.append(f"\n{one_line(extra, 160)}", style="dim")
    return [
        Text(f"{MARK[finding.verdict]} {WORD[finding.verdict]}", style=style),
        name,
        Text(f"{figures.value(e, unit)}\n").append(figures.interval(e, unit), style="dim"),
        Text(figures.limit(finding.limit, unit) if finding.limit else "no limit").append(
            f"\nn = {figures.count(e.n)}", style="dim"
        ),
    ]


def _unanswered(name: str, verdict: Verdict, reason: str) -> RenderableType:
    line = Text(f"{MARK[verdict]} {WORD[verdict]}: ", style=STYLE[verdict])
    line.append(one_line(name, 160), style="default")
    line.append(f" ({one_line(reason, 200)})", style="dim")
    return Padding(line, (0, 0, 0, 0))
