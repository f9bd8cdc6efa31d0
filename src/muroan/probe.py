"""A safety question: observe samples, conclude from what was observed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.errors import AskedWrongly, nearest
from muroan.evidence import AUDITED, Evidence
from muroan.finding import Conclusion, Metric, Panel
from muroan.model import Capability, Model


def _frozen(value: Any) -> Any:
    """Lists as tuples: settings come from YAML and JSON, and a probe is hashable."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Shown:
    """A sample worth showing, with the values to be stored as pictures: what becomes an `Exhibit`.

    panels: (panel, value): value is a picture tensor [C, H, W] for a panel of kind "image", else None.
    """

    sample: str
    title: str
    panels: list[tuple[Panel, Any]]
    caption: str = ""
    rank: float = 0.0


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
        metrics    what it promises, each with what 0 and 1 mean and, where honest, a default limit
        needs      capabilities that the model must have
        splits     which data sets it observes; those beyond "audited" must exist for it to apply
        joins      probes whose evidence it also reads, where the audit has it
        finds      the faults (organisms) it is meant to find, each with the metrics whose limit should then break
        outcomes   columns of its rows that say how a sample fared, and whether higher or lower is better: what
                   `muroan diff` compares sample by sample

    `observe` sees one batch with its clean pass and returns one row per sample and condition. It must treat
    samples independently of each other (any batch, any order: the same rows) and draw random numbers from
    `clean.keys`. `conclude` is a function of the evidence alone.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    place: ClassVar[str]
    source: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    needs: ClassVar[frozenset[Capability]] = frozenset()
    splits: ClassVar[tuple[str, ...]] = (AUDITED,)
    joins: ClassVar[tuple[str, ...]] = ()
    finds: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    outcomes: ClassVar[Mapping[str, Literal["higher", "lower"]]] = {}

    limit: int | None = None
    """Observe a random subset of this many samples per split; None observes all."""

    @property
    def pillar(self) -> str:
        return self.place.split("/")[0]

    def metric(self, name: str) -> Metric:
        return next(m for m in self.metrics if m.name == name)

    def applies(self, model: Model, schema: Schema) -> str | None:
        """None if the question makes sense here, else the reason why not. Capabilities are checked before."""
        return None

    @abstractmethod
    def observe(self, clean: Clean) -> Observation:
        """Rows for the samples of one batch. A sample that cannot be observed may raise: it is quarantined."""

    @abstractmethod
    def conclude(self, evidence: Evidence) -> Conclusion:
        """Findings, charts and notes from the evidence alone."""

    @classmethod
    def configured(cls, settings: Mapping[str, Any]) -> Probe:
        """The probe with these settings; raises `AskedWrongly` for one that it does not have."""
        known = {f.name: f for f in fields(cls)}
        for name in settings:
            if name not in known:
                raise AskedWrongly(f"{cls.name} has no setting {name!r}. {nearest(name, known)}")
        try:
            return cls(**{name: _frozen(value) for name, value in settings.items()})
        except (TypeError, ValueError) as error:
            raise AskedWrongly(f"{cls.name}: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Settings by name, as they stand in a run's plan."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
