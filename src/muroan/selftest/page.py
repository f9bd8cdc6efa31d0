"""The page of a self test, in Markdown, with the matrix and the power curves as pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from muroan.auditing.store import write_whole
from muroan.organism import Organism
from muroan.selftest.conclude import Cell, SelfTest
from muroan.selftest.figure import curves, matrix
from muroan.selftest.plan import beds_of
from muroan.selftest.words import count, dose, headline, mended_row, power_row, quiet_row
from muroan.version import __version__

INTRODUCTION = """\
Each fault below is planted in a model or in data, in several doses; at dose 0 stands its clean twin, which differs in
nothing else. A probe *finds* the fault in a world if one of the metrics named for it breaks its default limit, judged
as in an audit (whole interval beyond the limit, false discoveries controlled within the probe). *Power* is the share
of seeds, each a fresh world, on which it does. Intervals are Wilson's at 95 %; the interval of a dose comes from
redrawing the power curve. A limit is no argument about these figures: they belong to it and to the size of the data."""


def write(path: Path, result: SelfTest, organisms: Sequence[Organism], command: str) -> list[Path]:
    """Writes the page and its pictures; returns what was written."""
    pictures = {
        path.with_name(f"{path.stem}-matrix.svg"): matrix(result),
        path.with_name(f"{path.stem}-power.svg"): curves(result),
    }
    for file, svg in pictures.items():
        write_whole(file, svg.encode())
    write_whole(path, page(result, organisms, command, [f.name for f in pictures]).encode())
    return [path, *pictures]


def command(
    probes: Sequence[str] | None,
    faults: Sequence[str] | None,
    *,
    quick: bool = False,
    seeds: int | None = None,
    minutes: float | None = None,
    page: Path | None = None,
) -> str:
    """The command line that gives this page."""
    parts = ["muroan selftest", *[f"--probe {p}" for p in probes or ()], *[f"--fault {f}" for f in faults or ()]]
    parts += ["--quick"] if quick else []
    parts += [f"--seeds {seeds}"] if seeds is not None else []
    parts += [f"--minutes {minutes:g}"] if minutes is not None else []
    return " ".join([*parts, *([f"--page {page}"] if page else [])])


def page(result: SelfTest, organisms: Sequence[Organism], command: str, pictures: Sequence[str] = ()) -> str:
    """The page as Markdown."""
    blocks = [
        "<!-- Written by `muroan selftest`. -->\n# The auditor audited",
        INTRODUCTION,
        f"    {command}",
        f"{result.trials:,} questions put to worlds, {result.seconds / 60:,.0f} minutes of work for one core, "
        f"with Muroan {__version__} and torch {version('torch')}.",
        f"{headline(result)}.",
        "## Which faults are found, from which dose",
        _table(
            ["", "probe", "fault", "dose at 80 % power", "power at the dose that matters", "alarms on clean twins"],
            [power_row(p) for p in result.pairs],
        ),
        "✓ power is at least 0.8 with its whole interval, ✗ below it, ? undecided with these seeds.",
        *[f"![Power over the dose, one small chart for each probe and fault]({file})" for file in pictures[1:]],
        "## False alarms",
        "On twins in which nothing at all is wrong by construction; any limit of the probe counts. Promised: at most "
        "5 % of worlds.",
        _table(["", "probe", "alarms", "by metric"], [quiet_row(q) for q in result.quiet]),
        *_defences(result),
        "## Which probes fire on which fault",
        "Alarms by any limit at the dose that matters, as a share of seeds. A fault that several probes show is one "
        "fault: bold are those meant to find it. In brackets what the probe says of the clean twin of that bed, where "
        "that is not nothing: on real data a twin has faults of its own.",
        *[f"![Probes and faults as a matrix]({file})" for file in pictures[:1]],
        _matrix(result),
    ]
    if result.orphans:
        names = ", ".join(f"`{o}`" for o in result.orphans)
        blocks.append(
            "No probe is meant to find these yet; what fires on them shows their consequences: " + names + "."
        )
    if result.failed:
        blocks += ["## What broke", "\n".join(f"- {f}" for f in result.failed)]
    faults = [
        [f"`{o.name}`", o.fault, o.dose, ", ".join(map(dose, o.doses)), dose(o.matters), o.bed.name] for o in organisms
    ]
    blocks += [
        "## The faults",
        "They are planted in:",
        "\n".join(f"- **{b.name}**: {b.says}." for b in beds_of(organisms)),
        _table(["fault", "what is wrong", "dose", "doses tried", "matters from", "planted in"], faults),
    ]
    return "\n\n".join(blocks) + "\n"


def _defences(result: SelfTest) -> list[str]:
    if not result.mended:
        return []
    head = ["", "mitigation", "fault", "probe", "alarms before, at the dose that matters", "after", "removed"]
    return [
        "## What mitigations remove",
        "The same worlds after a mitigation with its default settings. *Removed*: of the worlds in which the probe "
        "found the fault, those in which it does not any more.",
        _table(head, [mended_row(m) for m in result.mended]),
        "✓ removed in at least half of them with the whole interval, ✗ in fewer, ? undecided with these seeds.",
    ]


def _matrix(result: SelfTest) -> str:
    probes = [q.probe for q in result.quiet]
    cells = {(c.fault, c.probe): c for c in result.cells}

    def shown(cell: Cell) -> str:
        twins = f" ({count(cell.twins)})" if cell.alarms and cell.twins and cell.twins.value > 0 else ""
        return f"**{count(cell.alarms)}{twins}**" if cell.meant else f"{count(cell.alarms)}{twins}"

    faults = dict.fromkeys(c.fault for c in result.cells)
    rows = [[f"`{fault}`", *[shown(cells[fault, probe]) for probe in probes]] for fault in faults]
    return _table(["fault", *[p.split(".")[-1].replace("_", " ") for p in probes]], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(c.replace("|", "\\|").split()) for c in row] for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(r)} |" for r in cells)])
