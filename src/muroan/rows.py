"""The rows of one condition, ready for figures: level, seed and clusters go into every estimate here."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from muroan import estimate as estimates
from muroan.estimate import Estimate, Gap, max_gap
from muroan.estimate.clusters import sums_by_group
from muroan.estimate.totals import Statistic, Totals, figure, totals, worst
from muroan.evidence import AUDITED, About, Evidence, clusters

Floats = NDArray[np.float64]
What = str | pl.Expr | ArrayLike
"""What is measured: a column, an expression of columns, or values that were computed from the rows [N]."""

K = TypeVar("K", bound=Hashable)
"""What several figures are named by: words, the inputs that are missing, ..."""

SMALLEST_GROUP = 10
"""Samples from which on a group, a class or a slice has a figure of its own; where it is about the spread within a
group (calibration, ranks), three times as many."""


ROUNDING = 1e-6
"""As far may a value lie beyond its bounds and still be rounding."""


class Worst(NamedTuple, Generic[K]):
    """The worst of several figures, with an interval that holds for all of them at once, and its name."""

    estimate: Estimate
    name: K


@dataclass(frozen=True)
class Rows:
    """Rows of the same samples [N], one a sample, in the order of their names, and what an estimate takes of them.

    seen: samples that the N were chosen from, for those who say "N of so many".
    """

    frame: pl.DataFrame
    about: About
    seen: int = 0

    @staticmethod
    def of(
        evidence: Evidence, condition: str | None = None, *, split: str = AUDITED, among: pl.Expr | None = None
    ) -> Rows:
        """The rows of a condition (of all, if none is named) in a split, of those samples that `among` holds for."""
        frame = evidence.of(split, condition)
        return Rows((frame if among is None else frame.filter(among)).sort("sample"), evidence.about, len(frame))

    @staticmethod
    def together(conditions: Collection[Rows]) -> Rows:
        """The rows of several conditions; those of one sample are alike, and so a cluster if the sample is in none."""
        frame = pl.concat([rows.frame for rows in conditions], how="diagonal").sort("sample", "condition")
        own = pl.col("cluster").fill_null(pl.col("sample"))
        return replace(next(iter(conditions)), frame=frame.with_columns(cluster=own))

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, what: What) -> Floats:
        """Values [N] as numbers; true is 1."""
        if isinstance(what, str | pl.Expr):
            of = pl.col(what) if isinstance(what, str) else what
            return self.frame.select(of.cast(pl.Float64).alias("values"))["values"].to_numpy()
        return np.asarray(what, dtype=np.float64)

    def column(self, name: str) -> NDArray[Any]:
        """A column as it is: words, class indices."""
        return self.frame[name].to_numpy()

    @cached_property
    def clusters(self) -> list[str] | None:
        """The cluster of each sample; None where samples are independent."""
        return clusters(self.frame)

    @property
    def units(self) -> list[str]:
        """What samples are drawn by, to be independent: the cluster of each, or the sample itself."""
        return self.clusters or self.frame["sample"].to_list()

    @property
    def level(self) -> float:
        return self.about.level

    def where(self, keep: What) -> Rows:
        """The rows for which a column or an expression holds, or bools [N] are true."""
        keep = pl.col(keep) if isinstance(keep, str) else keep
        mask = keep if isinstance(keep, pl.Expr) else pl.Series(np.asarray(keep, dtype=bool))
        return replace(self, frame=self.frame.filter(mask))

    def of_samples(self, other: Rows) -> Rows:
        """The rows of those samples that another condition has rows of."""
        return self.where(pl.col("sample").is_in(other.frame["sample"].implode()))

    def having(self, **columns: What) -> Rows:
        """The same rows with columns of numbers that were worked out of them."""
        return replace(
            self, frame=self.frame.with_columns(pl.Series(name, self[what]) for name, what in columns.items())
        )

    def at(self, level: float) -> Rows:
        """The same rows, with intervals of another level: several figures at once, say."""
        return replace(self, about=replace(self.about, level=level))

    # Figures

    def share(self, what: What) -> Estimate:
        """How often something (0 or 1) is so. 0: never; 1: always."""
        return estimates.proportion(self[what], self.clusters, level=self.level)

    def mean(self, what: What, bounds: tuple[float, float] | None = None) -> Estimate:
        """How large something is on average; bounds: the least and largest that it can be, which rounding may leave."""
        values = self[what]
        if bounds is not None:
            within = np.clip(values, *bounds)
            values = within if np.abs(values - within).max(initial=0.0) < ROUNDING else values
        return estimates.mean(values, self.clusters, level=self.level, bounds=bounds)

    def lost(self, before: What, after: What) -> Estimate:
        """mean(before − after), sample by sample: what was lost. 0: nothing."""
        return estimates.paired_difference(self[before], self[after], self.clusters, level=self.level)

    def gained_over(self, other: Rows, what: What) -> Estimate:
        """How much more often or larger something is here than for the same samples under another condition."""
        return estimates.paired_difference(self[what], other[what], self.clusters, level=self.level)

    def more_than(self, other: Rows, what: What, theirs: What | None = None) -> Estimate:
        """How much more often or larger something is here than among other samples.

        theirs: what is measured there, where it is not the same.
        """
        values = self[what], other[what if theirs is None else theirs]
        return estimates.difference(*values, self.clusters, other.clusters, level=self.level)

    def quantile(self, what: What, share: float) -> Estimate:
        """The value below which that share of the samples lies."""
        return estimates.quantile(self[what], share, self.clusters, level=self.level)

    def above(self, other: Rows, what: What, theirs: What | None = None) -> Estimate:
        """How often a sample here has more of something than one of the others has of it, or of `theirs`: the AUC.

        0.5: alike; 1: always. Ties count half.
        """
        values = self[what], other[what if theirs is None else theirs]
        return estimates.auc(*values, self.clusters, other.clusters, level=self.level)

    def totals(self, columns: Sequence[What], ways: ArrayLike) -> Totals:
        """Sums of columns by cluster, for figures that are no means (see `estimate.totals`)."""
        return totals(np.column_stack([self[c] for c in columns]), self.clusters, ways)

    def figure(self, sums: Totals, statistic: Statistic, method: str) -> Estimate | None:
        """A figure of totals with the bootstrap's interval; None where it is not defined on these samples."""
        try:
            return figure(sums, statistic, level=self.level, seed=self.about.seed, method=method)
        except ValueError:
            return None

    def lost_share(
        self, before: Sequence[What], after: Sequence[What], method: str = "bootstrap of the relative drop"
    ) -> Estimate | None:
        """1 − Σ after / Σ before, on average over pairs: the share of what was there that is lost.

        None where nothing was there before.
        """
        k = len(before)
        ways = [[1] * k + [0] * k, [0] * k + [1] * k]
        return self.figure(
            self.totals([*before, *after], ways), lambda t: _lost(t[:, :k], t[:, k:]).mean(axis=1), method
        )

    # The worst of several

    def worst(
        self,
        columns: Mapping[K, What],
        bounds: tuple[float, float] = (0.0, 1.0),
        *,
        largest: bool = True,
        ways: tuple[float, float] | None = None,
        counted: Mapping[K, What] | None = None,
    ) -> Worst[K]:
        """The largest (or smallest) of several means.

        bounds: the least and the largest that a sample can add. ways: what the imaginary samples add
        (`estimate.totals`); the bounds, if None. counted: by column, who counts (0 or 1); all, if None.
        """
        ones = np.ones(len(self))
        parts: list[What] = []
        for name, values in columns.items():
            here = ones if counted is None else self[counted[name]]
            parts += [here, self[values] * here]
        sums = self.totals(parts, [[1.0, way] * len(columns) for way in reversed(ways or bounds)])
        return self.worst_of(sums, list(columns), lambda t: t[:, 1::2] / t[:, ::2], bounds, largest=largest)

    def worst_excess(
        self, above: What, columns: Mapping[K, What], bounds: tuple[float, float] = (-1.0, 1.0)
    ) -> Worst[K]:
        """The largest of several mean(above) − mean(column); bounds: the least and the largest that it can be."""
        k = len(columns)
        sums = self.totals([np.ones(len(self)), above, *columns.values()], [[1, 1] + [0] * k, [1, 0] + [1] * k])
        return self.worst_of(sums, list(columns), lambda t: (t[:, 1:2] - t[:, 2:]) / t[:, :1], bounds)

    def worst_lost_share(self, pairs: Mapping[K, tuple[What, What]]) -> Worst[K] | None:
        """The largest of several 1 − Σ after / Σ before; None where one of them is not defined."""
        k = len(pairs)
        before, after = [b for b, _ in pairs.values()], [a for _, a in pairs.values()]
        sums = self.totals([*before, *after], [[1] * k + [0] * k, [0] * k + [1] * k])
        try:
            return self.worst_of(sums, list(pairs), lambda t: _lost(t[:, :k], t[:, k:]), (-np.inf, 1))
        except ValueError:
            return None

    def worst_of(
        self,
        sums: Totals,
        names: Sequence[K],
        statistic: Statistic,
        bounds: tuple[float, float],
        *,
        largest: bool = True,
    ) -> Worst[K]:
        """The largest (or smallest) of several figures of totals; ValueError where one of them is not defined."""
        found = worst(sums, statistic, largest=largest, bounds=bounds, level=self.level, seed=self.about.seed)
        return Worst(found.estimate, names[found.at])

    # Groups

    def groups(self, least: int = SMALLEST_GROUP) -> Iterator[tuple[str, str, Rows]]:
        """(group, value, the rows of that value) for each that has at least so many, in the order of the schema."""
        for name, values in self.about.groups.items():
            for value in values:
                rows = self.where(pl.col(f"group.{name}") == value)
                if len(rows) >= least:
                    yield name, value, rows

    def by_value(self, what: What, name: str) -> dict[str, Estimate]:
        """The share or mean of each known value of a group, however few its samples, in the order of their names."""
        return estimates.by_group(self[what], self.column(f"group.{name}"), self.clusters, level=self.level)

    def gap(self, what: What, name: str, least: int = SMALLEST_GROUP, *, level: float | None = None) -> Gap | None:
        """The largest difference of a mean between the values of a group; None where fewer than two are comparable.

        0: all alike. The interval is simultaneous over all pairs of values of at least so many samples, in more than
        one cluster.
        """
        labels = self.column(f"group.{name}")
        seen = set(labels.tolist())
        known = [v for v in self.about.groups[name] if v in seen]
        known += sorted(seen - set(known) - {""})
        sums = sums_by_group(self[what], labels, known, self.clusters)
        try:
            return max_gap(sums, known, level=level or self.level, seed=self.about.seed, min_count=least)
        except ValueError:
            return None


def _lost(before: Floats, after: Floats) -> Floats:
    """1 − after / before; NaN where nothing was there."""
    return np.where(before > 0, 1 - after / np.where(before > 0, before, 1), np.nan)
