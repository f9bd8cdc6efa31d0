"""The frame of per-sample rows that a probe observed, and what is known about those samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Evidence:
    """rows: one per sample and condition, sorted by split, sample and condition, with these columns beside the
    probe's own: sample, split, condition, cluster (null if none), target and clean_predicted (class indices),
    clean_confidence, clean_correct, and one column `group.<name>` per group ("" where unknown).

    others: evidence of the probes that this one joins, by name, where the audit has it.
    """

    rows: pl.DataFrame
    about: About
    others: Mapping[str, Evidence] = field(default_factory=dict)

    def of(self, split: str = AUDITED, condition: str | None = None) -> pl.DataFrame:
        """The rows of a split, and of a condition if one is named."""
        rows = self.rows.filter(pl.col("split") == split)
        return rows if condition is None else rows.filter(pl.col("condition") == condition)

    def conditions(self, split: str = AUDITED) -> list[str]:
        """The conditions seen, in order of name."""
        return sorted(self.of(split)["condition"].unique().to_list())


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
