"""What a model says of each class, sample by sample: what calibration and conformal prediction are computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from muroan.clean import Clean
from muroan.evidence import AUDITED, Evidence
from muroan.intervention import outcome
from muroan.interventions.removals import CLEAN, MOST_FOR_ALL_REMOVALS, Removal, removals, without
from muroan.monitoring.reliability.calibration_error import tempered
from muroan.rows import SMALLEST_GROUP, Floats, Rows
from muroan.say import Say

MISSING = "missing inputs"
"""Name under which patterns of naturally missing inputs are reported beside the data's own groups."""
NOTHING = "everything"
"""The pattern of a sample that has no input left."""
FEWEST = 3 * SMALLEST_GROUP
"""Samples that a group needs to be reported: below, an interval is as wide as the answer is unknown."""


def removed(clean: Clean) -> Iterator[tuple[Removal, Tensor]]:
    """Every subset of the inputs taken away, none first, and the logits [N, K] without it: from codes alone."""
    for missing in removals(tuple(clean.model.modalities)):
        change = Removal(missing)
        yield change, outcome(clean, change).logits


def score_rows(clean: Clean, change: Removal, logits: Tensor, **columns: Any) -> pl.DataFrame:
    """Evidence rows of a condition: `missing` (inputs that are not there, however that came), log-probabilities
    as an array of float32, and the probe's own columns.

    Logarithms, because 1 − p of a sure model is lost in float32, and because temperature needs them.
    """
    log_p, missing = torch.log_softmax(logits.double(), dim=1).float(), _missing(clean, change.missing)
    return clean.rows(change.condition, missing=missing, log_probabilities=log_p, **columns)


def _missing(clean: Clean, missing: tuple[str, ...]) -> list[str]:
    names, here = tuple(clean.model.modalities), {m: p.tolist() for m, p in clean.batch.present.items()}
    gone = [[m for m in names if m in missing or (m in here and not here[m][i])] for i in range(len(clean))]
    return [NOTHING if len(some) == len(names) else " and ".join(some) for some in gone]


def scored(evidence: Evidence, split: str = AUDITED, condition: str = CLEAN) -> Rows:
    """The samples of a split under a condition to which an input is left.

    Which of a sample's inputs are missing by nature is a group beside the data's own; values are in order of name.
    """
    rows = Rows.of(evidence, condition, split=split, among=pl.col("missing") != NOTHING)
    groups = {name: tuple(sorted(values)) for name, values in rows.about.groups.items()}
    patterns = sorted(set(rows.column("missing").tolist()))
    if len(patterns) > 1:
        groups[MISSING] = tuple(p or "none" for p in patterns)
    named = pl.when(pl.col("missing") == "").then(pl.lit("none")).otherwise("missing").alias(f"group.{MISSING}")
    return Rows(rows.frame.with_columns(named), replace(rows.about, groups=groups))


def log_probabilities(rows: Rows) -> Floats:
    """[N, K], normalised anew: float32 rounds. Not kept: large where there are many classes."""
    return tempered(rows.column("log_probabilities"), 1.0)


def targets(rows: Rows) -> NDArray[np.int64]:
    """The true class [N]."""
    return rows.column("target").astype(np.int64)


def log_odds(log_p: Floats, of: NDArray[np.int64]) -> Floats:
    """The log odds of one class of each sample [N], to 2 decimals: equal inputs tie whatever they were batched with.

    Finer than its probability near 1.
    """
    others = log_p.astype(np.float64)
    mine = np.take_along_axis(others, of[:, None], axis=1)[:, 0]
    np.put_along_axis(others, of[:, None], -np.inf, axis=1)
    return np.asarray(np.round(mine - logsumexp(others, axis=1), 2))


def judged(rows: Rows) -> Rows:
    """The same rows with what calibration is about, of the log-probabilities:

    correct     whether the likeliest class is the true one
    confidence  the largest probability, to 6 decimals: 1/5 in one batch and 1/5 in another are the same bin
    over        confidence − correct
    sureness    what answers are ordered by: the log odds of the likeliest class
    entropy     in nats
    unrounded   the confidence as it was observed
    """
    log_p = log_probabilities(rows)
    top = log_p.argmax(axis=1)
    correct, confidence = top == targets(rows), np.round(np.exp(log_p.max(axis=1)), 6)
    return rows.having(
        unrounded="confidence",
        correct=correct,
        confidence=confidence,
        over=confidence - correct,
        sureness=log_odds(rows.column("log_probabilities"), top),
        entropy=-(np.exp(log_p) * log_p).sum(axis=1),
    )


def under(say: Say, condition: str, rows: Rows) -> Say:
    """Findings that name what was missing: by the condition, and by the modality if it is one."""
    alone = next((m for m in rows.about.modalities if condition == without([m])), None)
    return say.about(condition=condition, modality=alone)


def shown(condition: str) -> str:
    """A condition as a reader sees it."""
    return "all inputs" if condition == CLEAN else condition


def conditions(evidence: Evidence) -> list[str]:
    """The conditions of the audited split: "clean" first, then by the number of inputs that are missing."""
    return sorted(evidence.conditions(), key=lambda c: (c != CLEAN, c.count(" and "), c))


def limits(evidence: Evidence) -> list[str]:
    """A note where not every subset of the inputs was removed."""
    if len(evidence.about.modalities) <= MOST_FOR_ALL_REMOVALS:
        return []
    return [f"With more than {MOST_FOR_ALL_REMOVALS} kinds of input each is removed alone, not in combinations."]
