"""Do synthetic changes tell which model a natural shift hurts? Rank correlations over models, with their uncertainty.

Each model gives two numbers: what it loses under synthetic changes, and what it loses under the natural shift. Models
are few, so the interval is wide, and of many synthetic changes one will correlate by chance: `agreement_by_change`
says how surprising the best of them is, given that all were looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.estimate.interval import around

Floats = NDArray[np.float64]

FEWEST = 4
"""Models below which a rank correlation says nothing: of three, one order in six is perfect."""


@dataclass(frozen=True)
class Agreement:
    """A rank correlation over models: 1, the same order; 0, no relation; −1, the opposite order.

    p: the share of random pairings that agree or disagree at least as strongly. adjusted: the same where the strongest
    of all changes that were looked at is taken from each pairing; equal to p where there was one.
    """

    estimate: Estimate
    p: float
    adjusted: float


def rank_agreement(
    synthetic: ArrayLike, natural: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Agreement:
    """Spearman's rank correlation of two numbers a model, both [models], with a bootstrap interval over models.

    The interval is the percentile bootstrap of pairs; resamples in which all models tie are left out. For 8 to 20
    models of normal losses, correlated by 0 to 0.9, it held the truth in 94 to 99 of 100 draws. p is of a permutation
    test.
    """
    return agreement_by_change({"": synthetic}, natural, level=level, draws=draws, seed=seed)[""]


def agreement_by_change(
    synthetic: Mapping[str, ArrayLike], natural: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> dict[str, Agreement]:
    """The same for each of several synthetic changes, the strongest first; `adjusted` is over all of them (max-t).

    A change under which all models lose the same has no order and is left out.
    """
    truth = np.asarray(natural, dtype=np.float64)
    table = {name: np.asarray(values, dtype=np.float64) for name, values in synthetic.items()}
    for name, values in (*table.items(), ("natural", truth)):
        if values.ndim != 1 or len(values) != len(truth) or not np.isfinite(values).all():
            raise AskedWrongly(f"{name or 'synthetic'}: one finite number a model is needed, {len(truth)} of them")
    if len(truth) < FEWEST:
        raise AskedWrongly(f"{len(truth)} models have no ranks to speak of; give {FEWEST} or more")
    kept = {name: values for name, values in table.items() if np.ptp(values) > 0}
    if np.ptp(truth) == 0 or not kept:
        raise AskedWrongly("all models are equal, so there is no order to agree about")
    # |rank correlation| of each change with the truth in random orders: [draws, changes].
    order = np.random.default_rng(seed).permuted(np.tile(_standardised(truth), (draws, 1)), axis=1)
    strength = np.abs(order @ _standardised(np.stack(list(kept.values()))).T)
    out = {}
    for k, (name, values) in enumerate(kept.items()):
        estimate = _estimate(values, truth, level, draws, seed)
        seen = abs(estimate.value) - 1e-12
        # With the pairing that was seen among them: never 0.
        p, adjusted = (float(((s >= seen).sum() + 1) / (draws + 1)) for s in (strength[:, k], strength.max(axis=1)))
        out[name] = Agreement(estimate, p, adjusted)
    return dict(sorted(out.items(), key=lambda found: -abs(found[1].estimate.value)))


def _standardised(values: Floats) -> Floats:
    """Ranks [..., models] of mean 0 and length 1, so that a product is a correlation; NaN where all tie."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=-1)
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True))


def _correlation(a: Floats, b: Floats) -> Floats:
    """Spearman's, of [..., models] twice."""
    return np.asarray((_standardised(a) * _standardised(b)).sum(axis=-1))


def _estimate(a: Floats, b: Floats, level: float, draws: int, seed: int) -> Estimate:
    value = min(1.0, max(-1.0, float(_correlation(a, b))))
    index = np.random.default_rng(seed).integers(0, len(a), (draws, len(a)))
    drawn = _correlation(a[index], b[index])
    defined = drawn[np.isfinite(drawn)]
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (-math.inf, math.inf)
    method = f"Spearman, bootstrap over models, {draws} draws"
    return around(value, max(-1.0, low), min(1.0, high), level=level, n=len(a), method=method)
