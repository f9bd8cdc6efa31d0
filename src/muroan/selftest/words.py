"""A self test in words and rows, the same for the terminal and the page."""

from __future__ import annotations

from collections import Counter

from muroan.estimate import Estimate
from muroan.report.figures import trimmed
from muroan.selftest.conclude import Found, Mended, Pair, Quiet, SelfTest

MARK = {
    "finds": "✓", "keeps": "✓", "removes": "✓", "undecided": "?", "misses": "✗", "breaks": "✗", "leaves": "✗",
    "not tried": "–",
}  # fmt: skip


def count(share: Estimate | None) -> str:
    """Alarms of worlds: "14/16"."""
    return "–" if share is None else f"{round(share.value * share.n)}/{share.n}"


def interval(share: Estimate | None) -> str:
    """ "[.64, .97]" """
    return "" if share is None else f"[{two(share.low)}, {two(share.high)}]"


def two(x: float) -> str:
    """A share with two decimals and no leading zero; three where two would say 0."""
    shown = f"{x:.3f}" if 0 < x < 0.01 else f"{x:.2f}"
    return shown.removeprefix("0") if shown.startswith("0.") else shown


def dose(x: float) -> str:
    return trimmed(float(f"{x:.2g}"))


def found(what: Found | None) -> str:
    """The dose at 80 % power with its interval, or that it is above all that were tried."""
    if what is None:
        return "–"
    top = f"above {dose(what.beyond)}" if what.high is None else dose(what.high)
    if what.dose is None:
        return f"above {dose(what.beyond)} [{dose(what.low)}, …]"
    return f"{dose(what.dose)} [{dose(what.low)}, {top}]"


def headline(result: SelfTest) -> str:
    """What was found, in one sentence."""
    n = len(result.pairs)
    of: Counter[str] = Counter(p.verdict for p in result.pairs)
    loud = [q.probe for q in result.quiet if q.verdict == "breaks"]
    pairs = f"{n} pairs of a planted fault and a probe meant to find it" if n != 1 else "1 planted fault and its probe"
    parts = [f"{pairs}: {of['finds']} found with 80 % power at the dose that matters"]
    others = {"undecided": "undecided with these seeds", "misses": "missed", "not tried": "not tried"}
    parts += [f"{of[verdict]} {said}" for verdict, said in others.items() if of[verdict]]
    heard = [p.power for p in result.pairs if p.power]
    if heard:
        hits, worlds = round(sum(e.value * e.n for e in heard)), sum(e.n for e in heard)
        parts.append(f"in {hits:,} of {worlds:,} worlds with that dose the probe alarms")
    parts.append(f"false alarms above 5 %: {', '.join(loud) if loud else 'none'}")
    return "; ".join(parts)


def power_row(pair: Pair) -> list[str]:
    """Mark, probe, fault, dose at 80 % power, power at the dose that matters, false alarms."""
    return [
        MARK[pair.verdict],
        pair.probe,
        pair.fault,
        found(pair.found),
        f"{dose(pair.matters)}: {count(pair.power)} {interval(pair.power)}" if pair.power else pair.reason or "–",
        f"{count(pair.twins)} {interval(pair.twins)}".strip(),
    ]


def quiet_row(quiet: Quiet) -> list[str]:
    """Mark, probe, false alarms, by which metrics."""
    by = ", ".join(f"{m} {k}" for m, k in quiet.by_metric.items())
    return [MARK[quiet.verdict], quiet.probe, f"{count(quiet.alarms)} {interval(quiet.alarms)}".strip(), by]


def mended_row(mended: Mended) -> list[str]:
    """Mark, mitigation, fault, probe, alarms before and after, the share of faults removed."""
    return [
        MARK[mended.verdict],
        mended.mitigation,
        mended.fault,
        mended.probe,
        f"{dose(mended.matters)}: {count(mended.before)}" if mended.before else mended.reason or "–",
        count(mended.after),
        f"{count(mended.removed)} {interval(mended.removed)}".strip(),
    ]
