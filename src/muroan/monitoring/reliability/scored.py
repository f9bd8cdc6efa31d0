"""One split under one condition as arrays: what calibration and conformal prediction are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from muroan.clean import Clean
from muroan.evidence import Evidence, clusters
from muroan.monitoring.reliability.missing_inputs import CLEAN, Removed

Floats = NDArray[np.float64]

MISSING = "missing inputs"
"""Name under which patterns of naturally missing inputs are reported beside the data's own groups."""
NOTHING = "everything"
"""The pattern of a sample that has no input left."""
SMALLEST_GROUP = 30
"""Samples that a group needs to be reported: below, an interval is as wide as the answer is unknown."""


def score_rows(clean: Clean, removed: Removed, **columns: Any) -> pl.DataFrame:
    """Evidence rows of a condition: `missing` (inputs that are not there, however that came), log-probabilities
    as an array of float32, and the probe's own columns.

    Logarithms, because 1 − p of a sure model is lost in float32, and because temperature needs them.
    """
    log_p = torch.log_softmax(removed.logits.double(), dim=1)
    return clean.rows(
        removed.condition, missing=_missing(clean, removed.missing), log_probabilities=log_p.float(), **columns
    )


def _missing(clean: Clean, missing: tuple[str, ...]) -> list[str]:
    names = tuple(clean.model.modalities)
    if not clean.batch.present:
        return [" and ".join(missing)] * len(clean)
    gone = {m: np.full(len(clean), m in missing) for m in names}
    for m, here in clean.batch.present.items():
        if m in gone:
            gone[m] |= ~here.numpy()
    rows = zip(*gone.values(), strict=True)
    return [NOTHING if all(row) else " and ".join(m for m, g in zip(names, row, strict=True) if g) for row in rows]


@dataclass(frozen=True)
class Scored:
    """N samples under one condition. dropped: samples left out because no input was left to them."""

    rows: pl.DataFrame
    dropped: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def log_probabilities(self) -> Floats:
        """[N, K], normalised anew: float32 rounds. Not kept: large where there are many classes."""
        from muroan.monitoring.reliability.calibration_error import tempered

        return tempered(self.rows["log_probabilities"].to_numpy(), 1.0)

    @property
    def probabilities(self) -> Floats:
        """[N, K]."""
        return np.asarray(np.exp(self.log_probabilities))

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        return self.rows["target"].to_numpy().astype(np.int64)

    @cached_property
    def confidence(self) -> Floats:
        """The largest probability [N], to 6 decimals: 1/5 in one batch and 1/5 in another are the same bin."""
        return np.asarray(np.round(np.exp(self.log_probabilities.max(axis=1)), 6))

    @cached_property
    def sureness(self) -> Floats:
        """What answers are ordered by: the log odds of the likeliest class [N], to 2 decimals.

        Finer than confidence near 1, and coarse enough that equal inputs tie whatever they were batched with.
        """
        lp = self.rows["log_probabilities"].to_numpy().astype(np.float64)
        top = lp.argmax(axis=1)[:, None]
        first = np.take_along_axis(lp, top, axis=1)[:, 0]
        np.put_along_axis(lp, top, -np.inf, axis=1)
        return np.asarray(np.round(first - logsumexp(lp, axis=1), 2))

    @cached_property
    def correct(self) -> Floats:
        return np.asarray(self.log_probabilities.argmax(axis=1) == self.targets, dtype=np.float64)

    @cached_property
    def entropy(self) -> Floats:
        """In nats [N]."""
        lp = self.log_probabilities
        return np.asarray(-(np.exp(lp) * lp).sum(axis=1))

    @cached_property
    def clusters(self) -> NDArray[Any] | None:
        found = clusters(self.rows)
        return None if found is None else np.asarray(found)

    def take(self, mask: NDArray[np.bool_]) -> Scored:
        return Scored(self.rows.filter(pl.Series(mask)), 0)

    def groups(self) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """Members by group name and value, groups of at least `SMALLEST_GROUP`; unknown values are left out."""
        columns = {c.removeprefix("group."): c for c in self.rows.columns if c.startswith("group.")}
        if self.rows["missing"].n_unique() > 1:
            columns[MISSING] = "missing"
        out: dict[str, dict[str, NDArray[np.bool_]]] = {}
        for name, column in columns.items():
            values = self.rows[column].to_numpy()
            for value in sorted(set(values)):
                shown = value or ("none" if name == MISSING else "")
                members = values == value
                if shown and members.sum() >= SMALLEST_GROUP:
                    out.setdefault(name, {})[shown] = members
        return out


def scored(evidence: Evidence, split: str, condition: str = CLEAN) -> Scored | None:
    """The samples of a split under a condition, None if there are none."""
    rows = evidence.of(split, condition)
    usable = rows.filter(pl.col("missing") != NOTHING)
    return Scored(usable, len(rows) - len(usable)) if len(usable) else None


def conditions(evidence: Evidence) -> list[str]:
    """The conditions of the audited split: "clean" first, then by the number of inputs that are missing."""
    found = set(evidence.conditions())
    return sorted(found, key=lambda c: (c != CLEAN, c.count(" and "), c))
