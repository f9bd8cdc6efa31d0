"""A safety question: observe samples, conclude from what was observed."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import polars as pl

from muroan import settings
from muroan.batch import Schema
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.evidence import AUDITED, Evidence
from muroan.figure import Bars, Figure, conclude, conditions, silent
from muroan.finding import Chart, Conclusion, Metric
from muroan.intervention import Intervention, outcome
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.panels import Shown as Shown
from muroan.rows import Rows


@dataclass(frozen=True)
class Observation:
    """rows: one per sample and condition (`Clean.rows`); shown: at most a few samples a shard."""

    rows: pl.DataFrame
    shown: list[Shown] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Probe(ABC):
    """A question to a model, answered per sample and then concluded.

    A subclass is a frozen dataclass whose fields are its settings, registered with `@register`:

        name       "pillar.method", as the field calls it
        question   one sentence, for somebody who decides whether to ship
        place      where it stands in the taxonomy: "robustness/adversarial"
        source     paper and equation
        figures    its table: what it promises, each with what 0 and 1 mean and, where honest, a default limit; and,
                   line by line, which rows it is measured on, and beside which controls (`Figure`)
        among      which rows count, an expression of columns; None: all
        nobody     what is said where nobody counts
        bars       charts of one measure over conditions
        needs      capabilities that the model must have
        splits     which data sets it observes: "audited", "reference", "members", or any name (`--split forget=DATA`);
                   those beyond "audited" must exist for it to apply
        joins      probes whose evidence it also reads, where the audit has it
        finds      the faults (organisms) it is meant to find, each with the metrics whose limit should then break
        outcomes   columns of its rows that say how a sample fared, and whether higher or lower is better: what
                   `muroan diff` compares sample by sample

    `observe` sees one batch with its clean pass and returns one row per sample and condition. It must treat
    samples independently of each other (any batch, any order: the same rows) and draw random numbers from
    `clean.keys`. `conclude` is a function of the evidence alone.

    A probe that first fits something (a patch, a threshold) overrides `prepare`: it sees the reference, never what is
    audited, and `observe` finds what it returned in `clean.prepared[self.name]`.

    A probe whose table says it all needs no `conclude` of its own, one that only changes inputs and asks again no
    `observe`: `asks` names the interventions, and their rows have the standard columns (`Outcome.rows`).
    """

    name: ClassVar[str]
    question: ClassVar[str]
    place: ClassVar[str]
    source: ClassVar[str] = ""
    figures: ClassVar[tuple[Figure, ...]] = ()
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """What `figures` promise; set from them."""
    among: ClassVar[pl.Expr | None] = None
    nobody: ClassVar[str] = "no sample could be looked at"
    bars: ClassVar[tuple[Bars, ...]] = ()
    needs: ClassVar[frozenset[Capability]] = frozenset()
    splits: ClassVar[tuple[str, ...]] = (AUDITED,)
    joins: ClassVar[tuple[str, ...]] = ()
    finds: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    outcomes: ClassVar[Mapping[str, Literal["higher", "lower"]]] = {}

    limit: int | None = None
    """Observe a random subset of this many samples per split; None observes all."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "figures" in cls.__dict__:
            cls.metrics = tuple(f.promise for f in cls.figures if f.says)

    @property
    def pillar(self) -> str:
        return self.place.split("/")[0]

    def metric(self, name: str) -> Metric:
        return next(m for m in self.metrics if m.name == name)

    def applies(self, model: Model, schema: Schema) -> str | None:
        """None if the question makes sense here, else the reason why not. Capabilities are checked before."""
        return None

    @property
    def prepares(self) -> bool:
        """Whether something is fitted on the reference before anything is observed."""
        return type(self).prepare is not Probe.prepare

    def prepare(self, model: Metered, reference: Dataset, seed: int) -> Any:
        """What `observe` needs of the reference. Called before observing, again when a run is resumed: equal each time.

        May raise `NotApplicable`, as `observe` may.
        """
        raise NotImplementedError

    def asks(self, clean: Clean) -> Iterable[Intervention]:
        """What is done to these inputs, one condition each; for a probe that only changes inputs and asks again."""
        raise NotImplementedError(f"{self.name} has neither interventions nor an observe of its own")

    def observe(self, clean: Clean) -> Observation:
        """Rows for the samples of one batch. A sample that cannot be observed may raise: it is quarantined."""
        return Observation(pl.concat([outcome(clean, change).rows() for change in self.asks(clean)]))

    def lines(self, rows: Mapping[str, Rows]) -> Iterable[Figure]:
        """The lines of the table, where some depend on settings or on what was observed: one for each input, say."""
        return self.figures

    def charts(self, rows: Mapping[str, Rows]) -> list[Chart]:
        """What is drawn beside the findings."""
        return [bars.chart(rows) for bars in self.bars]

    def notes(self, rows: Mapping[str, Rows]) -> list[str]:
        """What a reader of the findings should know beside them."""
        return []

    def conclude(self, evidence: Evidence) -> Conclusion:
        """Findings, charts and notes from the evidence alone: those of the table, where nothing else is written."""
        rows = conditions(evidence, self.among)
        if not any(len(r) for r in rows.values()):
            return silent(self.name, self.figures[0], self.nobody)
        return conclude(self.name, self.lines(rows), rows, charts=self.charts(rows), notes=self.notes(rows))

    @classmethod
    def configured(cls, given: Mapping[str, Any]) -> Probe:
        """The probe with these settings; raises `AskedWrongly` for one that it does not have."""
        return settings.configured(cls, given)

    def settings(self) -> dict[str, Any]:
        """Settings by name, as they stand in a run's plan."""
        return settings.settings(self)
