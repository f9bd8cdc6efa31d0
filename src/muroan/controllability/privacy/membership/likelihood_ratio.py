"""Membership scores as pure functions: higher means "more likely a member".

Sources: the loss attack of Yeom et al. 2018 (CSF); the logit-scaled confidence and the likelihood-ratio attack LiRA of
Carlini et al. 2022 (S&P), sections IV and V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def logit_confidence(logits: Tensor, targets: Tensor) -> Tensor:
    """φ = log(p_y / (1 − p_y)) [N] in double, from logits, so that p_y = 1 does not overflow (p = .9: 2.1972246)."""
    scores = logits.double()
    own = scores.gather(1, targets[:, None]).squeeze(1)
    others = scores.scatter(1, targets[:, None], -torch.inf).logsumexp(dim=1)
    return own - others


@dataclass(frozen=True)
class Ratio:
    """score [N]: log-likelihood ratio; two_sided [N]: whether the sample had shadows with and without it."""

    score: Floats
    two_sided: Mask


def lira(phi: ArrayLike, shadow_phi: ArrayLike, shadow_in: ArrayLike) -> Ratio:
    """LiRA's score log N(φ; μ_in, σ_in) − log N(φ; μ_out, σ_out) of samples φ [N].

    shadow_phi [N, S], shadow_in bool [N, S]: φ of the same sample under shadow models, and which of them were trained
    on it. Means are per sample (the median), standard deviations pooled over all samples, as the paper advises
    for few shadows. A sample that only has shadows trained without it gets the offline score
    (φ − μ_out) / σ_out; one that has none gets NaN.
    """
    x, s, inside = np.asarray(phi, float), np.asarray(shadow_phi, float), np.asarray(shadow_in, bool)
    centre_in, spread_in = _fit(s, inside)
    centre_out, spread_out = _fit(s, ~inside)
    z_in, z_out = (x - centre_in) / spread_in, (x - centre_out) / spread_out
    ratio = 0.5 * (z_out**2 - z_in**2) + np.log(spread_out / spread_in)
    two_sided = np.isfinite(centre_in) & np.isfinite(centre_out)
    return Ratio(np.where(two_sided, ratio, z_out), two_sided)


def _fit(values: Floats, chosen: Mask) -> tuple[Floats, float]:
    """Median [N] of the chosen values of each row (NaN where there are none), and the pooled deviation."""
    kept = np.where(chosen, values, np.nan)
    some = chosen.any(axis=1)
    centre = np.full(len(values), np.nan)
    if some.any():
        centre[some] = np.nanmedian(kept[some], axis=1)
    count = chosen.sum(axis=1)
    use = count >= 2
    if not use.any():
        return centre, 1.0
    mean = np.nanmean(kept[use], axis=1, keepdims=True)
    squares = np.nansum((kept[use] - mean) ** 2)
    return centre, float(np.sqrt(max(squares / (count[use] - 1).sum(), 1e-12)))
