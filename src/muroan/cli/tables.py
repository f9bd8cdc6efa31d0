"""What commands print: lists, costs, comparisons, stories. Text from data is shown, never interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from muroan.intervention import Intervention
from muroan.mitigation import Mitigation
from muroan.organism import Organism
from muroan.report.text import one_line

if TYPE_CHECKING:
    from muroan.auditing.diff import Change, Comparison
    from muroan.auditing.explain import Story
    from muroan.auditing.trial import TrialCost
    from muroan.data.benchmarks import Benchmark
    from muroan.hardening import Outcome
    from muroan.interventions.perturbations import Perturbation
    from muroan.selftest import SelfTest

VERDICT_STYLES = {"better": "green", "worse": "bold red", "undecided": "dim"}


def _cell(value: object, limit: int = 200) -> Text:
    """Somebody's words as a cell: on one line, control characters visible, no markup."""
    return Text(one_line(str(value), limit))


def listing(what: str) -> dict[str, list[dict[str, Any]]]:
    """Everything of a kind ("all" for every kind), from the code itself."""
    from muroan import references, registry
    from muroan.data.benchmarks import BENCHMARKS
    from muroan.errors import unknown
    from muroan.interventions.perturbations import TABLE

    kinds = (*registry.KINDS, "perturbations", "models", "datasets", "benchmarks")
    if what not in (*kinds, "all"):
        raise unknown("list", what, (*kinds, "all"))
    out: dict[str, list[dict[str, Any]]] = {}
    for kind in kinds if what == "all" else (what,):
        if kind in registry.KINDS:
            out[kind] = [_described(name, method) for name, method in registry.methods(kind).items()]
        elif kind == "perturbations":
            out[kind] = [_perturbation(p) for p in TABLE]
        elif kind == "benchmarks":
            out[kind] = [_benchmark(b) for _, b in sorted(BENCHMARKS.items())]
        else:
            out[kind] = [{"name": n, "where": w} for n, w in sorted(references.known(kind).items())]
    return out


def _perturbation(p: Perturbation) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": p.name, "kind": p.kind, "family": p.family, "source": p.source}
    entry |= {"levels": list(p.levels), "wants": p.wants or "", "gated": p.gated}
    return entry | {"question": f"{p.family} ({p.source})", "needs": [p.kind, *([p.wants] if p.wants else [])]}


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    entry = {f: getattr(benchmark, f) for f in ("name", "source", "home", "licence", "layout", "counted")}
    counts, options = dict(benchmark.counts), dict(benchmark.options)
    return entry | {"question": benchmark.says, "counts": counts, "options": options, "needs": list(counts)}


def _described(name: str, method: Any) -> dict[str, Any]:
    if isinstance(method, Organism):
        return {"name": name, "place": method.place, "question": method.fault, "dose": method.dose,
                "doses": list(method.doses), "matters": method.matters, "needs": [method.bed.name]}  # fmt: skip
    if issubclass(method, Intervention):
        return {"name": name, "source": method.source, "question": method.does, "needs": []}
    entry: dict[str, Any] = {"name": name, "place": method.place, "source": method.source}
    if hasattr(method, "question"):
        entry["question"] = method.question
        entry["splits"] = list(method.splits)
        entry["metrics"] = [m.model_dump() for m in method.metrics]
        entry["finds"] = {fault: list(metrics) for fault, metrics in method.finds.items()}
    else:
        entry["question"] = " ".join((method.__doc__ or "").split("\n\n")[0].split())
    if issubclass(method, Mitigation):
        entry |= {"question": method.does, "improves": {p: list(n) for p, n in method.improves.items()}}
        entry["removes"] = list(method.removes)
    entry["needs"] = sorted(c.value for c in method.needs)
    return entry


def listing_tables(found: dict[str, list[dict[str, Any]]]) -> Iterator[Table]:
    """One table a kind."""
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", title_style="bold", expand=False)
        table.add_column("name", no_wrap=True)
        if kind in ("models", "datasets"):
            table.add_column("from")
            for e in entries:
                table.add_row(_cell(e["name"]), _cell(e["where"]))
        elif kind == "perturbations":
            _add_perturbations(table, entries)
        else:
            table.add_column(
                {
                    "organisms": "planted fault",
                    "interventions": "does",
                    "mitigations": "does",
                    "benchmarks": "asks",
                }.get(kind, "answers")
            )
            table.add_column({"organisms": "in", "benchmarks": "splits"}.get(kind, "needs"))
            for e in entries:
                table.add_row(_cell(e["name"]), _cell(e["question"]), _cell(", ".join(e["needs"])))
        if kind == "benchmarks":
            table.caption = (
                "Nothing is downloaded: a reference to data is NAME:FOLDER, of your own copy, with a split as in "
                "NAME:FOLDER?split=SPLIT; a wrong FOLDER is answered with what it has to hold."
            )
            table.caption_justify = "left"
        yield table


def _add_perturbations(table: Table, entries: list[dict[str, Any]]) -> None:
    """Rows by kind of input; what has to be given says how."""
    for column in ("of", "family", "source", "give"):
        table.add_column(column)
    for e in entries:
        table.add_row(*(_cell(e[c]) for c in ("name", "kind", "family", "source", "wants")))
    table.caption = (
        "With --probe robustness.corruptions; those that want something are left out until it is given: "
        "--probe robustness.corruptions:given=[[NAME, REFERENCE]]"
    )
    table.caption_justify = "left"


def cost_table(costs: Sequence[TrialCost], audited: int) -> Table:
    """What an audit would take, per probe (`--dry-run`)."""
    table = Table(
        title=f"Cost of the audit (the data hold {audited:,} samples), measured on a few and scaled up",
        title_justify="left",
        title_style="bold",
        show_footer=True,
    )
    table.add_column("probe", "total")
    table.add_column("samples", justify="right")
    table.add_column("passes (rows)")
    table.add_column("about", f"{sum(c.seconds for c in costs):.0f} s", justify="right")
    for c in costs:
        passes = ", ".join(f"{what} {n:,}" for what, n in sorted(c.counts.items()))
        detail = f"not applicable: {c.reason}" if c.reason else passes or "shares the clean pass"
        table.add_row(_cell(c.probe), f"{c.samples:,}", _cell(detail, 400), f"{c.seconds:.1f} s")
    return table


def _change(change: Change) -> list[Text | str]:
    """Probe, outcome, condition, before, after, the paired difference."""
    d = change.difference
    return [
        _cell(change.probe),
        _cell(f"{change.outcome} ({change.better} is better)"),
        _cell(change.condition or ("" if change.probe == "clean" else "all")),
        f"{change.before:.4f}",
        f"{change.after:.4f}",
        f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}] n={d.n}",
    ]


def diff_table(found: Comparison) -> Table:
    """Outcomes before and after, with the paired difference."""
    table = Table(title=f"{one_line(found.before)} → {one_line(found.after)}", title_justify="left", title_style="bold")
    for column in ("probe", "outcome", "condition", "before", "after", "difference", ""):
        table.add_column(column, justify="right" if column in ("before", "after", "difference") else "left")
    for c in found.changes:
        table.add_row(*_change(c), Text(c.verdict, style=VERDICT_STYLES[c.verdict]))
    for t in found.turned:
        table.add_row(_cell(t.key), "verdict", "", t.before.value, t.after.value, "", "")
    return table


def attacked_table(found: Outcome) -> Table:
    """Robust accuracy before and after, on old examples and by an attacker who knows the defence."""
    table = Table(title="Stays right when attacked", title_justify="left", title_style="bold")
    for column in ("attacked", "before", "old examples", "adaptive", "random", "adaptive − before", "masked"):
        table.add_column(column, justify="left" if column == "attacked" else "right")
    for row in found.attacked:
        figures = (row.base, row.static, row.adaptive, row.random, row.gain, row.masked)
        table.add_row(_cell(row.condition), *(f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in figures))
    n = found.attacked[0].base.n if found.attacked else 0
    table.caption = f"n = {n}; old examples: made on the model before; adaptive: those, and made through the defence"
    return table


def harden_table(found: Outcome) -> Table:
    """What improved, what it cost, and what nobody can tell yet."""
    title = f"{one_line(found.before)} → {', '.join(found.mitigations)}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("", "probe", "outcome", "condition", "before", "after", "difference"):
        table.add_column(column, justify="right" if column in ("before", "after", "difference") else "left")
    styles = {"improved": "green", "cost": "bold red", "undecided": "dim"}
    for row in found.rows:
        mark = Text(row.verdict + ("*" if row.promised else ""), style=styles[row.verdict])
        table.add_row(mark, *_change(row.change))
    if any(row.promised for row in found.rows):
        table.caption = "* what a mitigation promises to improve"
    return table


def story_tables(story: Story) -> Iterator[Table]:
    """One sample: facts, attribution, and each probe's rows."""
    facts = Table(title=f"Sample {one_line(story.sample)}", show_header=False, title_justify="left", title_style="bold")
    right = "right" if story.target == story.predicted else "wrong"
    facts.add_row("target", _cell(story.target))
    sure = "" if story.confidence is None else f", confidence {story.confidence:.3f}"
    facts.add_row("predicted", _cell(f"{story.predicted} ({right}){sure}"))
    for m, words in story.inputs.items():
        facts.add_row(_cell(m), _cell(words))
    facts.add_row("groups", _cell(", ".join(f"{k}={v}" for k, v in story.groups.items())))
    for m, value in story.modalities.items():
        facts.add_row(_cell(f"{m} adds"), f"{value:+.3f} (Shapley value on the explained score)")
    if story.reason:
        facts.add_row("attribution", _cell(story.reason))
    yield facts
    if story.parts:
        parts = Table("part", "adds", title="What spoke for the decision", title_justify="left", title_style="bold")
        for p in story.parts:
            parts.add_row(_cell(f"{p.modality}: {p.what}"), f"{p.value:+.3f}")
        yield parts
    for probe, rows in story.observations.items():
        yield _rows_table(probe, rows)


FIRST = ("said", "predicted", "right", "correct", "confidence")
"""Columns that are read first, where a probe has them."""


def _wrong(row: dict[str, Any]) -> bool:
    return bool(row.get("right", row.get("correct")) == 0)


def _rows_table(probe: str, rows: list[dict[str, Any]], most: int = 12) -> Table:
    """One probe's rows: what the model said first; of too many, those that it got wrong first."""
    known = [c for c in rows[0] if c != "condition" and not isinstance(rows[0][c], list | dict)]
    columns = sorted(known, key=lambda c: FIRST.index(c) if c in FIRST else len(FIRST))[:6]
    title = probe
    if len(rows) > most:
        wrong = sum(map(_wrong, rows))
        title += f" ({most} of {len(rows)} conditions, of which {wrong} are answered wrong; wrong ones first)"
        rows = sorted(rows, key=lambda row: not _wrong(row))
    table = Table("condition", *map(one_line, columns), title=one_line(title), title_justify="left", title_style="bold")
    for row in rows[:most]:
        table.add_row(_cell(row["condition"]), *(_cell(row[c], 40) for c in columns))
    return table


def selftest_tables(result: SelfTest) -> Iterator[Table | Text]:
    """What a self test found: power, false alarms, and what fires beside what was meant."""
    from muroan.selftest.words import headline, mended_row, power_row, quiet_row

    styles = {"✓": "cyan", "?": "yellow", "✗": "bold red", "–": "dim"}
    table = Table(title="Planted faults", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in (
        "",
        "fault, and the probe that should find it",
        "dose at 80 %",
        "power where it matters",
        "on twins",
    ):
        table.add_column(column, overflow="fold")
    for pair in result.pairs:
        mark, probe, fault, *cells = power_row(pair)
        name = _cell(fault).append(f"\n  {one_line(probe)}", style="dim")
        table.add_row(Text(mark, style=styles[mark]), name, *map(_cell, cells))
    yield table
    quiet = Table(
        title="Alarms where nothing is wrong (promised: at most 5 %)",
        title_justify="left", title_style="bold", box=None, pad_edge=False,
    )  # fmt: skip
    for column in ("", "probe", "alarms", "by metric"):
        quiet.add_column(column, overflow="fold")
    for found in result.quiet:
        mark, *cells = quiet_row(found)
        quiet.add_row(Text(mark, style=styles[mark]), *map(_cell, cells))
    yield quiet
    if result.mended:
        mended = Table(
            title="After the mitigation that should remove it", title_justify="left", title_style="bold", box=None,
            pad_edge=False,
        )  # fmt: skip
        for column in ("", "mitigation", "fault", "probe", "before", "after", "removed"):
            mended.add_column(column, overflow="fold")
        for one in result.mended:
            mark, *cells = mended_row(one)
            mended.add_row(Text(mark, style=styles[mark]), *map(_cell, cells))
        yield mended
    beside = [c for c in result.cells if not c.meant and c.alarms and c.alarms.value >= 0.5]
    beside = [c for c in beside if c.twins is None or c.twins.high < c.alarms.low]  # type: ignore[union-attr]
    if beside:
        by: dict[str, list[str]] = {}
        for c in beside:
            by.setdefault(c.fault, []).append(c.probe)
        words = "; ".join(f"{fault}: {', '.join(probes)}" for fault, probes in by.items())
        yield Text(f"Also fires, since one fault has several consequences: {words}")
    if result.orphans:
        yield Text(f"No probe is meant to find: {', '.join(result.orphans)}")
    for line in result.failed:
        yield Text(f"broke: {one_line(line, 300)}", style="bold red")
    yield Text(f"{headline(result)}.", style="bold")
