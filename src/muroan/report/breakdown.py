"""The matrix of pillars × modalities × groups: where, of all places looked at, a model is worst."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

from muroan.auditing.result import ProbeResult, Result
from muroan.estimate import Estimate
from muroan.finding import Finding, Limit, Metric, Verdict
from muroan.report import figures
from muroan.report.words import MARK

ROWS, COLUMNS = 80, 24
"""Most rows and columns that are shown."""
SHADES = 4


@dataclass(frozen=True)
class Cell:
    """value with its sign; level 0 (at or within the limit, or best of its measure) to SHADES; tip: in full."""

    text: str
    sign: str
    level: int
    tip: str


@dataclass(frozen=True)
class Row:
    """One measure for one modality (or all). span: rows of its measure, on the first of them; else 0."""

    pillar: str
    probe: int
    metric: str
    says: str
    unit: str
    modality: str
    cells: list[Cell | None]
    new_pillar: bool = False
    span: int = 0


@dataclass(frozen=True)
class Column:
    """group: "" for all samples; value: "" for a comparison between the group's values."""

    group: str
    value: str


@dataclass(frozen=True)
class Breakdown:
    """left_out: what is not shown, in words."""

    columns: list[Column]
    rows: list[Row]
    left_out: str

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Columns that stand side by side for the same group: (group, how many)."""
        return [(group, len(list(some))) for group, some in itertools.groupby(c.group for c in self.columns)]


@dataclass(frozen=True)
class Breakdowns:
    """Measures that some limit holds for, and the others."""

    limited: Breakdown
    others: Breakdown


Place = tuple[int, str, str]
"""A probe's index, a metric, a modality ("" for all)."""
Found = dict[Place, dict[Column, list[Finding]]]


def breakdown(result: Result) -> Breakdowns:
    """All measures that were taken by modality or by group; where conditions share a cell, the worst is shown."""
    cells: Found = {}
    limited = set()
    for i, probe in enumerate(result.probes):
        for finding in probe.findings:
            if finding.estimate is not None:
                place = (i, finding.metric, finding.modality or "")
                cells.setdefault(place, {}).setdefault(_column(finding), []).append(finding)
                if finding.limit is not None:
                    limited.add(place[:2])
    split = {(i, metric) for (i, metric, modality), by in cells.items() if modality or any(c.group for c in by)}
    return Breakdowns(
        _one(result, {p: by for p, by in cells.items() if p[:2] in split and p[:2] in limited}),
        _one(result, {p: by for p, by in cells.items() if p[:2] in split and p[:2] not in limited}),
    )


def _one(result: Result, cells: Found) -> Breakdown:
    columns = _columns(result, {c for by in cells.values() for c in by})
    places = sorted(cells, key=lambda p: _order(result, p))
    rows = [_row(result, place, cells[place], columns[:COLUMNS]) for place in places[:ROWS]]
    spans = Counter((r.probe, r.metric) for r in rows)
    shown: list[Row] = []
    for row in rows:
        last = shown[-1] if shown else None
        first = last is None or (last.probe, last.metric) != (row.probe, row.metric)
        new = last is None or last.pillar != row.pillar
        shown.append(replace(row, new_pillar=new, span=spans[row.probe, row.metric] if first else 0))
    more = [
        f"{n - most} {what}"
        for n, most, what in ((len(places), ROWS, "rows"), (len(columns), COLUMNS, "columns"))
        if n > most
    ]
    return Breakdown(columns[:COLUMNS], shown, " and ".join(more))


def _row(result: Result, place: Place, by: dict[Column, list[Finding]], columns: list[Column]) -> Row:
    i, name, modality = place
    probe = result.probes[i]
    metric = probe.metric(name)
    limit, low, high = _frame(probe, name)
    return Row(
        pillar=probe.pillar,
        probe=i,
        metric=name,
        says=metric.says if metric else "",
        unit=_named_unit(metric),
        modality=modality,
        cells=[_cell(by[c], metric, limit, low, high) if c in by else None for c in columns],
    )


def _column(finding: Finding) -> Column:
    group, _, value = (finding.group or "").partition("=")
    return Column(group, value)


def _columns(result: Result, used: set[Column]) -> list[Column]:
    """All samples, then group by group: the comparison, then its values in the data's order."""
    values = {(g, v): k for g, vs in result.data.groups.items() for k, v in enumerate(vs)}
    groups = {g: k for k, g in enumerate(result.data.groups)}
    return sorted(
        used,
        key=lambda c: (
            -1 if not c.group else groups.get(c.group, len(groups)),
            c.group,
            -1 if not c.value else values.get((c.group, c.value), len(values)),
            c.value,
        ),
    )


def _order(result: Result, place: tuple[int, str, str]) -> tuple[int, int, str, int, str]:
    from muroan.report.taxonomy import PLACES

    i, metric, modality = place
    pillars, modalities = list(PLACES), result.model.modalities
    pillar = result.probes[i].pillar
    known = modalities.index(modality) if modality in modalities else len(modalities)
    return (
        pillars.index(pillar) if pillar in pillars else len(pillars),
        i,
        metric,
        -1 if not modality else known,
        modality,
    )


def _frame(probe: ProbeResult, metric: str) -> tuple[Limit | None, float, float]:
    """The limit that the metric is held to overall, and the range of its values, best to worst."""
    same = [f for f in probe.findings if f.metric == metric and f.estimate is not None]
    limit = next((f.limit for f in same if f.limit is not None and not f.group and not f.modality), None)
    limit = limit or next((f.limit for f in same if f.limit is not None), None)
    values = [f.estimate.value for f in same if f.estimate is not None and math.isfinite(f.estimate.value)]
    return limit, min(values, default=0.0), max(values, default=0.0)


def _badness(estimate: Estimate, metric: Metric | None) -> float:
    return estimate.value if metric is None or metric.better == "lower" else -estimate.value


def _cell(found: list[Finding], metric: Metric | None, limit: Limit | None, low: float, high: float) -> Cell | None:
    pairs = [(f, f.estimate) for f in found if f.estimate is not None]
    whole = [p for p in pairs if p[0].condition is None]
    finding, estimate = max(whole or pairs, key=lambda p: _badness(p[1], metric))
    unit = metric.unit if metric else "number"
    beyond = limit is not None and _beyond(estimate.value, limit)
    level = _level(estimate.value, metric, limit, low, high)
    sign = MARK[finding.verdict] if finding.limit is not None else "!" if beyond else ""
    tip = f"{figures.both(estimate, unit)}, {figures.samples(estimate)}"
    if finding.limit is not None and finding.verdict is not Verdict.MEASURED:
        tip += f", {finding.verdict.value}"
    if not whole and len(pairs) > 1:
        tip += f"; the worst of {len(pairs)} conditions: {finding.condition}"
    text = _short(estimate, unit)
    return Cell(text, sign, level, tip)


def _short(estimate: Estimate, unit: str) -> str:
    """The value as short as a cell is: shares with one decimal, the unit in the row's name."""
    if figures.SCALED[unit] == figures.PERCENT:
        return figures.amount(estimate.value, unit, 1)
    return figures.value(estimate, unit).removesuffix(_suffix(unit))


def _suffix(unit: str) -> str:
    """What stands once in the row's name instead of in every cell; the sign of percent stays in the cells."""
    return "" if figures.SCALED[unit] == figures.PERCENT else figures.SCALED[unit]


def _named_unit(metric: Metric | None) -> str:
    return _suffix(metric.unit).strip() if metric else ""


def _beyond(value: float, limit: Limit) -> bool:
    return value > limit.value if limit.max is not None else value < limit.value


def _level(value: float, metric: Metric | None, limit: Limit | None, low: float, high: float) -> int:
    """With a limit: 0 if kept, else how far beyond, up to the worst value. Without: from best to worst."""
    lower = metric is None or metric.better == "lower"
    if limit is not None:
        if not _beyond(value, limit):
            return 0
        worst = high if limit.max is not None else low
        share = (value - limit.value) / (worst - limit.value) if worst != limit.value else 1.0
        return max(1, round(share * SHADES))
    if not high > low or not math.isfinite(value):
        return 0
    share = (value - low) / (high - low)
    return round((share if lower else 1 - share) * (SHADES - 1))
