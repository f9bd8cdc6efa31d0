"""Group fairness metrics as pure functions of predictions, labels and groups.

Demographic parity and equalised odds (Hardt et al. 2016) for yes/no decisions, equity-scaled accuracy and AUC
(FairCLIP, Luo et al. 2024) for any number of classes. A rate of a group that has no such samples is NaN:
undefined, which is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def _rate(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(hits[among].mean()) if among.any() else float("nan")


def _gap(values: Sequence[float]) -> float:
    return float(np.max(values) - np.min(values))


def selection_rates(predicted: ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """P(yes | group) of 0/1 decisions."""
    yes, g = np.asarray(predicted).astype(bool), np.asarray(groups)
    return {str(v): _rate(yes, g == v) for v in np.unique(g)}


def demographic_parity_difference(predicted: ArrayLike, groups: ArrayLike) -> float:
    """Largest difference of P(yes | group): 0 if all groups are selected alike, 1 if one always, one never."""
    return _gap(list(selection_rates(predicted, groups).values()))


def demographic_parity_ratio(predicted: ArrayLike, groups: ArrayLike) -> float:
    """Smallest over largest P(yes | group): 1 if alike, 0 if a group is never selected."""
    rates = list(selection_rates(predicted, groups).values())
    return float(np.min(rates) / np.max(rates)) if np.max(rates) > 0 else float("nan")


def equalised_odds_difference(labels: ArrayLike, predicted: ArrayLike, groups: ArrayLike) -> float:
    """The larger of the largest differences of true and of false positive rates: 0 if errors fall alike.

    The maximum of the two, as in Fairlearn (AIF360's mean of the two is another figure).
    """
    y, yes, g = np.asarray(labels).astype(bool), np.asarray(predicted).astype(bool), np.asarray(groups)
    values = np.unique(g)
    true = [_rate(yes, (g == v) & y) for v in values]
    false = [_rate(yes, (g == v) & ~y) for v in values]
    return float(np.max([_gap(true), _gap(false)]))


def equity_scaled(overall: float, by_group: Mapping[str, float] | Sequence[float]) -> float:
    """overall / (1 + Σ_g |overall − value_g|): the figure itself if all groups are alike, less if they are not."""
    values = by_group.values() if isinstance(by_group, Mapping) else by_group
    return overall / (1 + sum(abs(overall - v) for v in values))


def equity_scaled_draws(totals: Floats) -> Floats:
    """`equity_scaled` of totals [B, G, 2] (sum, count): [B]. Groups without samples are left out of the sum."""
    hits, counts = totals[..., 0], totals[..., 1]
    overall = hits.sum(axis=-1) / counts.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(overall[..., None] - hits / counts)
    return np.asarray(overall / (1 + np.where(counts > 0, apart, 0.0).sum(axis=-1)))
