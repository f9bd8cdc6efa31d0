"""What the figures mean, in sentences: the same ones on the page, in the terminal and in JUnit."""

from __future__ import annotations

from muroan.auditing.result import ProbeResult, Result, is_headline
from muroan.estimate import Estimate
from muroan.finding import Finding, Verdict
from muroan.report import figures

WORD = {
    Verdict.FAIL: "broken",
    Verdict.UNDECIDED: "undecided",
    Verdict.PASS: "kept",
    Verdict.MEASURED: "measured",
    Verdict.NOT_APPLICABLE: "not applicable",
    Verdict.NOT_COMPLETED: "not completed",
}
MARK = {
    Verdict.FAIL: "✕",
    Verdict.UNDECIDED: "?",
    Verdict.PASS: "✓",
    Verdict.MEASURED: "·",
    Verdict.NOT_APPLICABLE: "–",
    Verdict.NOT_COMPLETED: "!",
}
"""A sign beside every colour, so that no verdict hangs on a colour alone."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """ "1 limit", "2 limits", "no limits"."""
    noun = one if n == 1 else (many or one + "s")
    return f"{figures.count(n) if n else 'no'} {noun}"


def sentence(text: str) -> str:
    """`text` beginning with a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def headline(result: Result) -> str:
    """The decision in a few words."""
    s = result.summary
    broken, undecided, kept = s.of(Verdict.FAIL), s.of(Verdict.UNDECIDED), s.of(Verdict.PASS)
    if broken:
        return f"{counted(broken, 'limit is', 'limits are')} broken".capitalize()
    if s.exit_code == 4 or s.of(Verdict.NOT_COMPLETED):
        return "The audit could not be completed"
    if undecided and kept:
        return f"No limit is broken, {counted(undecided, 'is', 'are')} undecided"
    if undecided:
        return "Nothing is decided yet"
    return "All limits hold" if kept else "Measured only: no limit was set"


def decision(result: Result) -> str:
    """The decision line: how many limits are broken, kept and undecided, and what has none."""
    s = result.summary
    parts = [
        f"{counted(s.of(Verdict.FAIL), 'limit')} broken",
        f"{s.of(Verdict.PASS)} kept",
        f"{s.of(Verdict.UNDECIDED)} undecided",
    ]
    line = ", ".join(parts).capitalize() + f"; {s.of(Verdict.MEASURED)} measured without a limit"
    open_ends = [f"{s.of(v)} {WORD[v]}" for v in (Verdict.NOT_APPLICABLE, Verdict.NOT_COMPLETED) if s.of(v)]
    return f"{line}; {', '.join(open_ends)}." if open_ends else f"{line}."


def taken_back(findings: list[Finding]) -> int:
    """Verdicts that the interval alone would have given, and the false-discovery control took back."""
    return sum(
        f.verdict is Verdict.UNDECIDED
        and f.limit is not None
        and f.estimate is not None
        and (f.limit.keeps(f.estimate) or f.limit.breaks(f.estimate))
        for f in findings
    )


def false_discoveries(result: Result) -> str:
    """How many verdicts at once are kept honest, in one sentence."""
    judged = sum(f.limit is not None and f.estimate is not None for f in result.findings)
    back = taken_back(result.findings)
    rate = figures.amount(result.false_discoveries, "share")
    return (
        f"With {counted(judged, 'limit')} judged at once some verdicts would be wrong by chance alone, so each "
        "one also had to survive a control of the false discovery rate (Benjamini and Hochberg): of the verdicts "
        f"given here, at most {rate} are expected to be wrong. "
        f"{counted(back, 'verdict was', 'verdicts were').capitalize()} taken back to undecided for it."
    )


def would_decide(finding: Finding) -> str:
    """What it would take to decide an undecided finding."""
    if finding.verdict is not Verdict.UNDECIDED or finding.estimate is None:
        return ""
    if taken_back([finding]):
        return (
            "The interval alone would decide it; among all limits judged here it may be chance. "
            "More samples, or fewer limits, would decide."
        )
    more = finding.more_samples
    if more is None:
        return "It cannot be told how many more samples would decide."
    if more > 1000 * max(finding.estimate.n, 1):
        return "The value lies so close to the limit that no practical number of samples would decide."
    needed = figures.count(max(more, 1))
    return f"About {needed} more samples like these would decide, if the value stays where it is."


def unit_of(probe: ProbeResult, finding: Finding) -> str:
    """The unit of a finding's metric; a metric that was not declared is a plain number."""
    metric = probe.metric(finding.metric)
    return metric.unit if metric else "number"


def unit_of_control(unit: str, name: str, control: Estimate) -> str:
    """The unit of a figure beside a finding's: a difference has points, but an accuracy beside it is a share.

    What is lost is a difference too; so is all that can be below 0.
    """
    level = any(word in name.lower() for word in ("accuracy", "confidence", "answer")) and "lost" not in name.lower()
    return "share" if unit == "points" and level and control.low >= 0 else unit


def where(finding: Finding) -> str:
    """Modality, group and condition of a finding, as far as it has them."""
    named = [("modality", finding.modality), ("group", finding.group), ("condition", finding.condition)]
    return "; ".join(f"{name} {value}" for name, value in named if value)


def explained(probe: ProbeResult, finding: Finding) -> str:
    """One line with value, interval, n and limit, for outputs that show text alone."""
    if finding.estimate is None:
        return finding.reason or "no figure"
    unit = unit_of(probe, finding)
    line = f"{figures.both(finding.estimate, unit)}, {figures.samples(finding.estimate)}"
    if finding.limit is not None:
        line += f"; limit {figures.limit(finding.limit, unit)}"
    more = would_decide(finding)
    return f"{line}. {more}" if more else line


def headlines(probe: ProbeResult) -> list[Finding]:
    """Findings that stand for themselves."""
    return [f for f in probe.findings if is_headline(f)]


def details(probe: ProbeResult) -> list[Finding]:
    """Findings that detail another one."""
    return [f for f in probe.findings if not is_headline(f)]


def unanswered(result: Result) -> list[tuple[str, Verdict, str]]:
    """(question, verdict, reason) of everything that has no figure because it could not be asked or finished."""
    out: list[tuple[str, Verdict, str]] = []
    for probe in result.probes:
        if probe.status != "completed" and not probe.findings:
            out.append((probe.question, Verdict(probe.status), probe.reason))
        out += [
            (f.title, f.verdict, f.reason)
            for f in headlines(probe)
            if f.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_COMPLETED)
        ]
    return out
