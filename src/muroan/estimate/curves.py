"""Scores over levels of a shift: the area under a curve, and how far it lies above another (MultiBench, 2021).

MultiBench calls them relative and effective robustness, names that Taori et al. (2020) use for unrelated figures
(`effective_robustness`). Both are linear in the outcomes of a sample, so a sample has an area and an excess of its own
and their mean is the figure: intervals need no resampling. Scores are such that higher is better; turn the sign of a
score that is not, before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, mean

Floats = NDArray[np.float64]


def curve_area(scores: ArrayLike, levels: ArrayLike) -> float:
    """The score on average over levels 0 to 1: the area under scores [L] by the trapezoid rule.

    1 for a curve that stays at 1, 0.75 for one that falls from 1 to 0.5 in a straight line.
    """
    return float(_areas(scores, levels))


def curve_excess_over_baseline(scores: ArrayLike, baseline: ArrayLike) -> float:
    """How far scores [L] lie above a baseline's [L] that is shifted to start where they start, summed over levels.

    The source's baseline is late fusion; its own excess is 0. A sum, not an area: more levels, more excess.
    """
    return float(_excesses(scores, baseline))


def _areas(scores: ArrayLike, levels: ArrayLike) -> Floats:
    x, y = np.asarray(levels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return np.asarray((y[..., 1:] + y[..., :-1]) / 2 @ np.diff(x))


def _excesses(scores: ArrayLike, baseline: ArrayLike) -> Floats:
    above = np.asarray(scores, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    return np.asarray((above - above[..., :1]).sum(axis=-1))


def area_estimate(
    outcomes: ArrayLike, levels: ArrayLike, clusters: Sequence[Any] | None = None, *, level: float = 0.95
) -> Estimate:
    """`curve_area` of N samples' outcomes [N, L] from 0 to 1 (right or wrong at each level), with an interval."""
    length = float(np.ptp(np.asarray(levels, dtype=np.float64)))
    found = np.clip(_areas(_table(outcomes), levels), 0, length)
    return mean(found, clusters, level=level, bounds=(0, length))


def excess_estimate(
    outcomes: ArrayLike, baseline: ArrayLike, clusters: Sequence[Any] | None = None, *, level: float = 0.95
) -> Estimate:
    """`curve_excess_over_baseline` of the same N samples' outcomes [N, L] under both, paired, with an interval."""
    ours, theirs = _table(outcomes), _table(baseline)
    if ours.shape != theirs.shape:
        raise AskedWrongly(f"the same samples at the same levels are needed, got {ours.shape} and {theirs.shape}")
    return mean(_excesses(ours, theirs), clusters, level=level)


def _table(outcomes: ArrayLike) -> Floats:
    table = np.asarray(outcomes, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise AskedWrongly(f"outcomes are [samples, levels], got {table.shape}")
    return table


@dataclass(frozen=True, kw_only=True)
class Compared:
    """raw: a figure of several methods; normalised: 0 for the worst of them and 1 for the best, as the source plots.

    What is normalised depends on which methods are compared; what is raw does not. All equal: all 1.
    """

    raw: Mapping[str, Estimate]
    normalised: Mapping[str, float]


def compared(figures: Mapping[str, Estimate], better: Literal["higher", "lower"] = "higher") -> Compared:
    """Methods' figures with their min-max normalised values, the sign turned before where lower is better."""
    if not figures:
        raise AskedWrongly("there is no method to compare")
    sign = 1.0 if better == "higher" else -1.0
    values = {name: sign * e.value for name, e in figures.items()}
    low, high = min(values.values()), max(values.values())
    spread = high - low
    return Compared(
        raw=dict(figures), normalised={name: (v - low) / spread if spread else 1.0 for name, v in values.items()}
    )
