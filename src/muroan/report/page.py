"""The page: everything that the template shows, prepared, capped and put in order.

The template gets text and numbers that are ready to show; every string passes `visible` and autoescape on its way
out. Looks and behaviour come from one style and one script whose digests are all that the content policy allows.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from muroan.auditing.result import ProbeResult, Result, is_headline
from muroan.finding import Exhibit, Finding, Verdict
from muroan.report import figures, taxonomy, words
from muroan.report.breakdown import breakdown
from muroan.report.charts import draw, left_out
from muroan.report.glance import glance
from muroan.report.pictures import Budget, panel
from muroan.report.text import visible

HERE = Path(__file__).parent
PAGE_BYTES = 980_000
PICTURE_BYTES = 600_000
LONG_TABLE = 10
"""A table of more rows is folded away."""
SHOWN_VERDICTS = (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS, Verdict.MEASURED)


@dataclass(frozen=True)
class Caps:
    """Most things that are shown of a kind; the rest is counted, and is in `findings.json`."""

    details: int = 60
    headlines: int = 100
    charts: int = 12
    exhibits: int = 6
    notes: int = 30
    quarantine: int = 50
    prose: int = 4000


TIGHTER = (Caps(), Caps(details=20, headlines=60, charts=6), Caps(5, 25, 2, 2, 8, 20, 600))
"""Tried in turn until the page without pictures leaves room for them."""


@dataclass(frozen=True)
class Line:
    """A finding as a row."""

    anchor: str
    probe: str
    title: str
    says: str
    where: str
    modality: str
    group: str
    condition: str
    verdict: str
    mark: str
    word: str
    value: str
    interval: str
    samples: str
    method: str
    limit: str
    limit_source: str
    glance: Markup
    controls: list[tuple[str, str]]
    more: str
    note: str
    reason: str
    metric: str


@dataclass(frozen=True)
class Drawn:
    """A chart or table, ready. rows: of a table; missing: what is not drawn, in words."""

    title: str
    kind: str
    drawing: Markup
    missing: str
    rows: int
    wide: bool


@dataclass
class Section:
    """A probe as a section."""

    anchor: str
    probe: ProbeResult
    place: str
    lines: list[Line]
    lines_left_out: int
    details: list[Line]
    details_left_out: int
    charts: list[Drawn]
    tables: list[Drawn]
    charts_left_out: int
    exhibits: list[tuple[Exhibit, list[tuple[str, str, Markup]]]]
    exhibits_left_out: int
    notes: list[str]
    passes: str
    overhead: str
    samples: str
    settings: list[tuple[str, str]]
    tally: list[tuple[str, str, int]] = field(default_factory=list)


def page(result: Result, exhibits_dir: Path) -> str:
    """The document as text."""
    for caps in TIGHTER:
        room = PAGE_BYTES - len(_render(result, exhibits_dir, caps, Budget(0)).encode())
        if room > PICTURE_BYTES / 4:
            break
    return _render(result, exhibits_dir, caps, Budget(max(0, min(PICTURE_BYTES, room))))


def _render(result: Result, folder: Path, caps: Caps, budget: Budget) -> str:
    style, script = _asset("style.css"), _asset("page.js")
    sections = _sections(result, folder, caps, budget)
    listed = {v: [line for s in sections for line in s.lines if line.verdict == v.value] for v in SHOWN_VERDICTS}
    context: dict[str, Any] = {
        "result": result,
        "style": Markup(style),  # noqa: S704  our own file
        "script": Markup(script),  # noqa: S704  our own file
        "policy": policy(style, script),
        "headline": words.headline(result),
        "decision": words.decision(result),
        "tone": _tone(result),
        "created": _moment(result.created),
        "tiles": [(v.value, words.MARK[v], words.WORD[v], result.summary.of(v)) for v in words.WORD],
        "listed": {v.value: rows[: caps.headlines] for v, rows in listed.items()},
        "listed_left_out": {
            v.value: result.summary.of(v) - min(len(rows), caps.headlines) for v, rows in listed.items()
        },
        "unanswered": [(q, v.value, words.MARK[v], words.WORD[v], r) for q, v, r in words.unanswered(result)],
        "false_discoveries": words.false_discoveries(result),
        "not_asked": taxonomy.not_asked(result),
        "pillars": taxonomy.chart(result),
        "title_of": taxonomy.title,
        "breakdowns": breakdown(result),
        "gate_name": PurePath(result.gate.name.replace("\\", "/")).name if result.gate else "",
        "sections": sections,
        "caps": caps,
        "quarantined": len({q.sample for q in result.quarantine}),
        "left_out_pictures": budget.left_out,
        "cost": _total_cost(result),
        "sizes": [_size(result, split, n) for split, n in result.data.sizes.items()],
        "figures": figures,
        "data": Markup(embedded(_figures(result, caps))),  # noqa: S704  `<`, `>` and `&` are escaped
        "level": figures.amount(result.level, "share"),
    }
    text: str = _environment().get_template("page.html.j2").render(context)
    return text.lstrip()


def _size(result: Result, split: str, n: int) -> tuple[str, str]:
    """How many samples of a split were looked at, of how many that there are."""
    seen = max((p.samples.get(split, 0) for p in result.probes), default=0)
    return (f"{figures.count(seen)} of {figures.count(n)}" if 0 < seen < n else figures.count(n)), split


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_final,
    )


def _final(value: Any) -> Any:
    """What every expression of the template passes: text that nobody vouches for becomes visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The content policy: nothing is loaded, nothing runs, but this style, this script and embedded pictures."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> str:
    """JSON that no parser of HTML can leave: `<`, `>` and `&` are written as escapes."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _figures(result: Result, caps: Caps) -> dict[str, Any]:
    """The headline findings as data, for the page's own button and for whoever has the page alone."""
    found = [f for f in result.findings if is_headline(f)]
    keep = {"probe", "metric", "title", "modality", "group", "condition", "estimate", "limit", "verdict", "reason"}
    rows = [f.model_dump(mode="json", include=keep) for f in found[: caps.headlines * 4]]
    for row, finding in zip(rows, found, strict=False):
        row["estimate"] = json.loads(finding.estimate.model_dump_json()) if finding.estimate else None
    return {
        "model": result.model.name,
        "data": result.data.name,
        "created": result.created,
        "muroan": result.version.muroan,
        "findings": rows,
        "left_out": max(len(found) - caps.headlines * 4, 0),
    }


def _moment(created: str) -> str:
    """A time as one reads it; whatever is no ISO time stays as it is."""
    try:
        at = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = "" if at.tzinfo is None else " UTC" if not at.utcoffset() else at.strftime(" %z")
    return f"{at.day} {at:%B %Y, %H:%M}{zone}"


def _tone(result: Result) -> str:
    """The colour of the decision."""
    s = result.summary
    if s.of(Verdict.FAIL) or s.of(Verdict.NOT_COMPLETED) or s.exit_code in (1, 4):
        return "fail"
    if s.of(Verdict.UNDECIDED) or s.exit_code:
        return "undecided"
    return "pass" if s.of(Verdict.PASS) else "measured"


def _sections(result: Result, folder: Path, caps: Caps, budget: Budget) -> list[Section]:
    """One section a probe, in the order of the map; the best exhibits of all probes are embedded first."""
    order = [i for pillar in taxonomy.chart(result) for place in pillar.places for i in place.probes]
    shown = _exhibits(result, order, folder, caps, budget)
    return [_section(result, i, shown.get(i, []), caps) for i in order]


def _exhibits(
    result: Result, order: Sequence[int], folder: Path, caps: Caps, budget: Budget
) -> dict[int, list[tuple[Exhibit, list[tuple[str, str, Markup]]]]]:
    """Exhibits by probe. Every probe's first before any probe's second, so that the budget is shared."""
    ranked = {i: sorted(result.probes[i].exhibits, key=lambda e: (e.rank, e.sample))[: caps.exhibits] for i in order}
    out: dict[int, list[tuple[Exhibit, list[tuple[str, str, Markup]]]]] = {}
    for turn in range(caps.exhibits):
        for i in order:
            if turn < len(ranked[i]):
                found = ranked[i][turn]
                panels = [(p.label, str(p.kind), panel(p, folder, budget)) for p in found.panels[:8]]
                out.setdefault(i, []).append((found, panels))
    return out


def _section(
    result: Result,
    i: int,
    exhibits: list[tuple[Exhibit, list[tuple[str, str, Markup]]]],
    caps: Caps,
) -> Section:
    probe = result.probes[i]
    anchor = f"probe-{i + 1}"
    headlines = words.headlines(probe)
    shown = headlines
    if len(headlines) > caps.headlines:  # what is left out is what matters least
        shown = sorted(headlines, key=lambda f: list(words.WORD).index(f.verdict))[: caps.headlines]
    lines = [_line(probe, f, anchor, result.data.cluster, caps) for f in shown]
    details = _worst_first(probe, words.details(probe), caps.details)
    charts = [
        Drawn(
            words.sentence(c.title[:300]),
            c.kind,
            draw(c),
            left_out(c),
            len(c.rows) if c.kind == "table" else 0,
            c.kind == "matrix" and len(c.columns) > 6,
        )
        for c in probe.charts[: caps.charts]
    ]
    tally = [(v.value, words.MARK[v], n) for v in words.WORD if (n := sum(f.verdict is v for f in headlines))]
    if not lines and probe.status != "completed":
        tally = [(probe.status, words.MARK[Verdict(probe.status)], 1)]
    pillar, _, place = probe.place.partition("/")
    return Section(
        anchor=anchor,
        probe=probe,
        place=" · ".join(taxonomy.title(part) for part in (pillar, place) if part),
        lines=lines,
        lines_left_out=len(headlines) - len(lines),
        details=[_line(probe, f, anchor, result.data.cluster, caps) for f in details],
        details_left_out=len(words.details(probe)) - len(details),
        charts=[c for c in charts if c.rows <= LONG_TABLE],
        tables=[c for c in charts if c.rows > LONG_TABLE],
        charts_left_out=max(len(probe.charts) - caps.charts, 0),
        exhibits=exhibits,
        exhibits_left_out=max(len(probe.exhibits) - caps.exhibits, 0),
        notes=[n[: caps.prose] for n in probe.notes[: caps.notes]],
        passes=", ".join(f"{what} {figures.count(n)}" for what, n in probe.cost.counts.items()),
        overhead=_overhead(probe.cost.overhead),
        samples=", ".join(f"{figures.count(n)} {split}" for split, n in probe.samples.items()),
        settings=[(k, json.dumps(v, ensure_ascii=False)[:300]) for k, v in probe.settings.items()],
        tally=tally,
    )


def _overhead(share: float | None) -> str:
    return "" if share is None else f"{figures.plain(share * 100, 0)}{figures.PERCENT}"


def _worst_first(probe: ProbeResult, found: Sequence[Finding], most: int) -> list[Finding]:
    """At most `most` details, metric by metric, each metric's worst first.

    Metrics share the room, so that one with thousands of details does not push the others off the page.
    """
    by: dict[str, list[Finding]] = {m.name: [] for m in probe.metrics}
    for f in found:
        by.setdefault(f.metric, []).append(f)
    ranked: list[tuple[int, int, Finding]] = []
    for place, (name, some) in enumerate(by.items()):
        metric = probe.metric(name)
        sign = 1.0 if metric is not None and metric.better == "higher" else -1.0
        some = sorted(some, key=lambda f: sign * f.estimate.value if f.estimate else float("inf"))
        ranked += [(rank, place, f) for rank, f in enumerate(some)]
    chosen = sorted(ranked, key=lambda r: r[:2])[:most]
    return [f for _, _, f in sorted(chosen, key=lambda r: (r[1], r[0]))]


def _line(probe: ProbeResult, finding: Finding, anchor: str, cluster: str | None, caps: Caps) -> Line:
    metric = probe.metric(finding.metric)
    unit = words.unit_of(probe, finding)
    e, bound = finding.estimate, finding.limit
    picture = Markup("")
    if e is not None and is_headline(finding):
        picture = glance(e, bound, words.explained(probe, finding))
    return Line(
        anchor=anchor,
        probe=probe.name,
        title=words.sentence(finding.title[:300]),
        says=(metric.says if metric else "")[: caps.prose],
        where=words.where(finding),
        modality=finding.modality or "",
        group=finding.group or "",
        condition=finding.condition or "",
        verdict=finding.verdict.value,
        mark=words.MARK[finding.verdict],
        word=words.WORD[finding.verdict],
        value=figures.value(e, unit) if e else "",
        interval=figures.interval(e, unit) if e else "",
        samples=figures.samples(e, cluster) if e else "",
        method=e.method if e else "",
        limit=figures.limit(bound, unit) if bound else "",
        limit_source=("set by the gate" if bound.source == "gate" else "default") if bound else "",
        glance=picture,
        controls=[
            (name[:120], f"{figures.both(c, words.unit_of_control(unit, name, c))}, {figures.samples(c)}")
            for name, c in list(finding.controls.items())[:8]
        ],
        more=words.would_decide(finding),
        note=finding.note[: caps.prose],
        reason=finding.reason[:500],
        metric=finding.metric,
    )


def _total_cost(result: Result) -> dict[str, str]:
    inside = sum(p.cost.model_seconds for p in result.probes)
    whole = sum(p.cost.seconds for p in result.probes)
    share = (whole - inside) / inside if inside > 0 else None
    return {
        "rows": figures.count(sum(p.cost.rows for p in result.probes)),
        "remembered": figures.count(sum(p.cost.remembered for p in result.probes)),
        "model": figures.seconds(inside),
        "all": figures.seconds(whole),
        "overhead": _overhead(share),
    }
