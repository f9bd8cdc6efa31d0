"""A probe's table of figures: what is measured, on which rows, beside which controls, against which limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from muroan.estimate import Estimate
from muroan.evidence import Evidence
from muroan.finding import Bar, BarChart, Chart, Conclusion, Metric
from muroan.rows import Floats, Rows
from muroan.say import Say


@dataclass(frozen=True)
class Measure:
    """What is made of rows: an estimate, and that of what the same samples have more of it than under another
    condition."""

    here: Callable[[Rows], Estimate]
    over: Callable[[Rows, Rows], Estimate]

    def __call__(self, rows: Rows) -> Estimate:
        return self.here(rows)


def share(what: str | pl.Expr) -> Measure:
    """How often something (a column of 0 and 1) is so."""
    return Measure(lambda rows: rows.share(what), lambda rows, other: rows.gained_over(other, what))


def mean(what: str | pl.Expr, bounds: tuple[float, float] | None = None) -> Measure:
    """How large something is on average; bounds: the least and largest that it can be."""
    return Measure(lambda rows: rows.mean(what, bounds), lambda rows, other: rows.gained_over(other, what))


def lost(before: str | pl.Expr, after: str | pl.Expr) -> Measure:
    """What was there before and is not after, sample by sample: mean(before − after)."""

    def left(rows: Rows) -> Floats:
        return rows[before] - rows[after]

    return Measure(lambda rows: rows.lost(before, after), lambda rows, other: rows.lost(left(rows), left(other)))


@dataclass(frozen=True)
class Figure:
    """One line of a probe's table.

    metric, says, better, limit, unit: what is promised (`Metric`): says is for somebody who decides, what the figure
    is and what 0 and 1 mean; limit the default one, on the side that `better` implies, None where none would be
    honest. A metric that has several lines says so in the first.

    of: what is measured; a line without it is promised here and concluded by the probe's own code. at: the condition
    whose rows it is measured on, "" for those of all together; minus: the condition whose same samples are taken off,
    pair by pair. beside: what stands beside it as a control, a label -> the condition that the same is measured on, or
    another measure of the same rows. title: of the finding. by_group: title of the same figure for each value of each
    group, which is never judged; "" for none. named: whether the finding bears the name of its condition. note: what a
    reader should know.

    A line whose condition, or whose `minus`, nobody observed is left out.
    """

    metric: str
    title: str = ""
    of: Measure | None = None
    at: str = ""
    minus: str = ""
    beside: Mapping[str, str | Measure] = field(default_factory=dict)
    by_group: str = ""
    judged: bool = True
    named: bool = False
    note: str | Callable[[Rows], str] = ""
    says: str = ""
    better: Literal["lower", "higher"] = "lower"
    limit: float | None = None
    unit: Literal["share", "points", "nats", "accuracy", "number"] = "share"

    @property
    def promise(self) -> Metric:
        """What is promised of the metric, as findings carry it."""
        return Metric(name=self.metric, says=self.says, better=self.better, limit=self.limit, unit=self.unit)


@dataclass(frozen=True)
class Bars:
    """A chart of one measure over conditions. bars: condition -> the series that its bar belongs to; controls: the
    series, or conditions, that are controls."""

    title: str
    y_label: str
    of: Measure
    bars: Mapping[str, str]
    controls: tuple[str, ...] = ()

    def chart(self, rows: Mapping[str, Rows]) -> BarChart:
        here = [(c, of) for c, of in self.bars.items() if len(rows.get(c, ()))]
        bars = [
            Bar(label=c, estimate=self.of(rows[c]), of=of, control=bool({c, of} & {*self.controls})) for c, of in here
        ]
        return BarChart(title=self.title, y_label=self.y_label, bars=bars, y_range=(0, 1))


def conditions(evidence: Evidence, among: pl.Expr | None) -> dict[str, Rows]:
    """The audited rows of each condition, of those samples that `among` holds for."""
    return {c: Rows.of(evidence, c, among=among) for c in evidence.conditions()}


def silent(probe: str, headline: Figure, nobody: str) -> Conclusion:
    """What is concluded where nobody counts: that the headline is not known, and why."""
    say = Say(probe)
    say.nothing([headline.metric], headline.title, nobody)
    return Conclusion(findings=say.findings, notes=[nobody])


def conclude(
    probe: str,
    lines: Iterable[Figure],
    rows: Mapping[str, Rows],
    *,
    charts: Sequence[Chart] = (),
    notes: Sequence[str] = (),
) -> Conclusion:
    """The findings of a table, headline first and details by group last, with its charts."""
    say, groups = Say(probe), Say(probe)
    for f in lines:
        if f.of is None or not all(len(rows.get(c, ())) for c in (f.at, f.minus) if c):
            continue
        here = rows[f.at] if f.at else Rows.together(rows.values())
        estimate = f.of.over(here, rows[f.minus]) if f.minus else f.of(here)
        controls = {
            label: f.of(rows[c]) if isinstance(c, str) else c(here)
            for label, c in f.beside.items()
            if not isinstance(c, str) or len(rows.get(c, ()))
        }
        note = f.note if isinstance(f.note, str) else f.note(here)
        condition = f.at if f.named else None
        say(f.metric, f.title, estimate, condition=condition, controls=controls, judged=f.judged, note=note)
        if f.by_group:
            groups.by_group(f.metric, f.by_group, here, f.of, condition=condition)
    return Conclusion(findings=[*say.findings, *groups.findings], charts=list(charts), notes=list(notes))
