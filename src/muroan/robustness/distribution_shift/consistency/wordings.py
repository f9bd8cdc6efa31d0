"""Groups of samples that ask the same in several wordings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from muroan.evidence import About
from muroan.robustness.distribution_shift.consistency.scores import consensus, disagreement
from muroan.rows import SMALLEST_GROUP, Floats, Rows

QUESTION = ("same", "target")
"""Samples of different right answers never are one question."""


@dataclass(frozen=True)
class Wordings:
    """Groups of at least two wordings of one condition.

    each: a row a wording; one that several samples share counts once, by the first of them in the order of names.
    groups: a row a group, of whose `size` wordings `right` are answered right, that got so many `answers`, two of its
    wordings different ones with the probability `apart`. alone, repeated, split: samples without another wording, those
    that repeat one word for word, and groups that hold several right answers.
    """

    each: Rows
    groups: Rows
    alone: int
    repeated: int
    split: int

    @staticmethod
    def of(rows: pl.DataFrame, about: About) -> Wordings:
        known = rows.filter(pl.col("same") != "").sort("sample")
        targets = known.group_by("same").agg(pl.col("target").n_unique())["target"]
        distinct = known.unique([*QUESTION, "wording"], keep="first", maintain_order=True)
        distinct = distinct.with_columns(size=pl.len().over(QUESTION))
        several = distinct.filter(pl.col("size") > 1).sort(*QUESTION, "sample")
        groups = several.group_by(QUESTION, maintain_order=True).agg(
            pl.col("cluster", "size").first(), right=pl.col("correct").sum()
        )
        answers = np.zeros((len(groups), len(about.classes)))
        np.add.at(answers, (np.repeat(np.arange(len(groups)), groups["size"]), several["predicted"]), 1)
        groups = groups.with_columns(
            answers=pl.Series((answers > 0).sum(axis=1)),
            apart=pl.Series(disagreement(answers)),
            cluster=_cluster(groups),
        )
        if groups["cluster"].n_unique() == len(groups):
            groups = groups.with_columns(cluster=pl.lit(None, pl.String))
        alone, repeated = len(distinct) - len(several), len(known) - len(distinct)
        return Wordings(Rows(several, about), Rows(groups, about), alone, repeated, int((targets > 1).sum()))

    def of_size(self, k: int) -> Rows:
        """The groups of at least k wordings."""
        return self.groups.where(pl.col("size") >= k)

    def sizes(self, largest: int) -> list[int]:
        """The k of which there are groups enough, 1 and 2 in any case."""
        return [k for k in range(1, largest + 1) if k < 3 or len(self.of_size(k)) >= SMALLEST_GROUP]

    def pairs(self, column: str, value: str) -> Rows:
        """The edits of each group's original, the first wording whose `column` has that value; `before`: its answer."""
        form, each = pl.col(f"group.{column}"), self.each.frame
        first = each.filter(form == value).unique(QUESTION, keep="first", maintain_order=True)
        pairs = each.filter(form != value).join(first.select(*QUESTION, before="predicted"), on=QUESTION).sort("sample")
        return Rows(pairs.with_columns(cluster=_cluster(pairs)), self.each.about)


def all_right(groups: Rows, k: int) -> Floats:
    """CS(k) of each group."""
    return consensus(groups["right"], groups["size"], k)


def _cluster(rows: pl.DataFrame) -> pl.Series:
    """Samples may have no clusters; groups of one key that differ in the right answer still share all else."""
    return rows["same"] if rows["cluster"].null_count() else rows["cluster"]
