"""The frame of per-sample rows that a probe observed, and what is known about those samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

AUDITED, REFERENCE, MEMBERS = "audited", "reference", "members"
SAMPLES = "samples"
"""The evidence that the audit itself observes: one row a sample of the clean pass."""


@dataclass(frozen=True)
class About:
    """What conclusions may know beside the rows: the schema in words, and the audit's seed and level."""

    classes: tuple[str, ...]
    modalities: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    cluster: str | None
    seed: int = 0
    level: float = 0.95


class Evidence:
    """What a probe observed: one row per sample and condition, sorted by split, sample and condition, with these
    columns beside the probe's own: sample, split, condition, cluster (null if none), target and clean_predicted (class
    indices), clean_confidence (null for a model that gives labels alone), clean_correct, and one column `group.<name>`
    per group ("" where unknown).

    others: evidence of the probes that this one joins, by name, where the audit has it. samples: what is known about
    each sample, where `rows` do not say it themselves; it is then joined to what is asked for, a condition at a time,
    so that an audit of many conditions needs the memory of one.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        about: About,
        others: Mapping[str, Evidence] | None = None,
        *,
        samples: pl.DataFrame | None = None,
    ) -> None:
        self.about, self.others = about, dict(others or {})
        self._rows, self._samples = rows, samples
        self._joined: pl.DataFrame | None = rows if samples is None else None

    @property
    def rows(self) -> pl.DataFrame:
        """All rows; kept until `forget`."""
        if self._joined is None:
            self._joined = self._with_facts(self._rows)
        return self._joined

    def forget(self) -> None:
        """Let go what `rows` keeps; it is made again where it is asked for."""
        self._joined = self._rows if self._samples is None else None

    def joining(self, others: Mapping[str, Evidence]) -> Evidence:
        """The same, with the evidence of other probes."""
        return Evidence(self._rows, self.about, others, samples=self._samples)

    def of(self, split: str = AUDITED, condition: str | None = None) -> pl.DataFrame:
        """The rows of a split, and of a condition if one is named."""
        if condition is None:
            return self.rows.filter(pl.col("split") == split)
        if self._joined is not None:
            return self._joined.filter((pl.col("split") == split) & (pl.col("condition") == condition))
        found = self._with_facts(self._rows.filter(pl.col("condition") == condition))
        return found.filter(pl.col("split") == split)

    def conditions(self, split: str = AUDITED) -> list[str]:
        """The conditions seen, in order of name."""
        if self._samples is None:
            return sorted(self.of(split)["condition"].unique().to_list())
        here = self._samples.filter(pl.col("split") == split).select(pl.col("sample").cast(self._rows.schema["sample"]))
        seen = self._rows.select("sample", "condition").join(here, on="sample", how="semi")
        return sorted(seen["condition"].unique().cast(pl.String).to_list())

    def counts(self) -> dict[str, int]:
        """Samples by split."""
        if self._samples is None:
            rows = self.rows.select("sample", "split").unique()
        else:
            own = self._rows.select(pl.col("sample").unique().cast(pl.String))
            rows = own.join(self._samples.select("sample", "split"), on="sample", how="left")
        counted = rows.group_by("split").len()
        return dict(sorted(zip(counted["split"], counted["len"], strict=True)))

    def _with_facts(self, rows: pl.DataFrame) -> pl.DataFrame:
        assert self._samples is not None
        return join(rows.with_columns(pl.col("sample", "condition", "split").cast(pl.String)), self._samples)


def clusters(rows: pl.DataFrame) -> list[str] | None:
    """The cluster of each row, in the form that estimates take."""
    found = rows["cluster"]
    return None if found.null_count() == len(found) else [str(c) for c in found]


def join(rows: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Rows with what is known about their samples, in the order that makes conclusions independent of shards."""
    keep = [c for c in samples.columns if c not in rows.columns or c == "sample"]
    return rows.join(samples.select(keep), on="sample", how="left").sort(
        "split", "sample", "condition", maintain_order=True
    )
