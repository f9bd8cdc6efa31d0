"""Scores over levels of a shift: the area under a curve, and how far it lies above another (MultiBench, 2021).

MultiBench calls them relative and effective robustness, names that Taori et al. (2020) use for unrelated figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def curve_area(scores: ArrayLike, levels: ArrayLike) -> float:
    """The score on average over levels 0 to 1: the area under scores [..., L] by the trapezoid rule.

    1 for a curve that stays at 1, 0.75 for one that falls from 1 to 0.5 in a straight line.
    """
    x, y = np.asarray(levels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return float(((y[1:] + y[:-1]) / 2) @ np.diff(x))


def curve_excess_over_baseline(scores: ArrayLike, baseline: ArrayLike) -> float:
    """How far scores [L] lie above a baseline's [L] that is shifted to start where they start, summed over levels.

    The source's baseline is late fusion; its own excess is 0. A sum, not an area: more levels, more excess.
    """
    y, base = np.asarray(scores, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    return float((y - (base + (y[0] - base[0]))).sum())
