"""Which parts to keep together, and how attributions follow from the scores that this gives.

A design for P parts is a set of coalitions and one matrix. The attributions of any sample are that matrix times
the sample's scores, so samples that share a design share all of its algebra, and what is left is a product of
matrices. Pure functions of (parts, number of coalitions, seed): no model, no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan.errors import AskedWrongly
from muroan.randomness import key, uniform

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Design:
    """masks bool [C, P], true where a part is kept.

    solve double [P, C + 2]: attributions = solve @ (score of nothing, score of everything, scores of masks).
    exact: whether the attributions are Shapley values, not an approximation of them.
    """

    masks: Tensor
    solve: Tensor
    exact: bool

    def attributions(self, nothing: Tensor, everything: Tensor, scores: Tensor) -> Tensor:
        """Scores [N], [N] and [N, C] -> attributions [N, P]."""
        known = torch.cat([nothing[:, None], everything[:, None], scores], dim=1).double()
        return known @ self.solve.T


def all_masks(players: int) -> Masks:
    """Every coalition, bool [2^n, n]: row b keeps the players whose bit is set in b."""
    return ((np.arange(2**players)[:, None] >> np.arange(players)) & 1).astype(bool)


@lru_cache(maxsize=256)
def kernel_shap(parts: int, coalitions: int, seed: int = 0) -> Design:
    """KernelSHAP: the additive score that fits the coalitions best under the Shapley kernel.

    Lundberg & Lee 2017 (NeurIPS), Theorem 2: weights (P−1) / (C(P,s) s (P−s)) for a coalition of s parts, subject
    to "attributions add up to what all parts add" (solved exactly here, not by a large weight). Where all 2^P − 2
    coalitions fit, the result is the Shapley value. Otherwise sizes are taken whole from the outside in (the
    kernel's mass is there) as long as they fit, and the rest is drawn in pairs of a coalition and its complement
    (Covert & Lee 2021, AISTATS), which cancels the sampling error of even interactions.

    Fewer coalitions than 2 P cannot tell all parts apart: parts that no coalition separates share alike.
    """
    if coalitions < 2:
        raise AskedWrongly(f"coalitions is {coalitions}; it must be at least 2")
    if parts < 2:
        solve = torch.tensor([[-1.0, 1.0]] * parts, dtype=torch.double).view(parts, 2)
        return Design(torch.zeros(0, parts, dtype=torch.bool), solve, True)
    masks, weights, exact = _shapley_coalitions(parts, coalitions, seed)
    # What is fitted: score − nothing − kept·Δ/P = kept·(φ − Δ/P), where φ − Δ/P adds up to 0.
    basis = _adding_to_zero(parts)
    root = np.sqrt(weights)[:, None]
    fit = basis @ np.linalg.pinv(root * (masks @ basis), rcond=1e-10) * root[:, 0]  # [P, C]
    kept = masks.sum(axis=1) / parts
    nothing = -(fit @ (1 - kept)) - 1 / parts
    everything = 1 / parts - fit @ kept
    matrix = np.column_stack([nothing, everything, fit])
    return Design(torch.from_numpy(masks), torch.from_numpy(matrix), exact)


def _shapley_coalitions(parts: int, coalitions: int, seed: int) -> tuple[Masks, Floats, bool]:
    """Masks [C, P], their weights [C], and whether they are all there are."""
    if parts < 62 and 2**parts - 2 <= coalitions:
        masks = all_masks(parts)[1:-1]
        sizes = masks.sum(axis=1)
        every = np.array([(parts - 1) / (math.comb(parts, s) * s * (parts - s)) for s in range(1, parts)])
        return masks, every[sizes - 1], True
    rows: list[Masks] = []
    weights: list[Floats] = []
    left, size = coalitions, 1
    while 2 * size < parts and 2 * math.comb(parts, size) <= left:
        layer = np.zeros((math.comb(parts, size), parts), dtype=bool)
        for row, kept in enumerate(combinations(range(parts), size)):
            layer[row, list(kept)] = True
        rows += [layer, ~layer]
        weights.append(np.full(2 * len(layer), (parts - 1) / (size * (parts - size)) / len(layer)))
        left -= 2 * len(layer)
        size += 1
    mass = np.array([(parts - 1) / (s * (parts - s)) for s in range(size, parts - size + 1)])
    pairs = left // 2
    if pairs and len(mass):
        draws = uniform(np.array([key("kernel shap", parts, coalitions, seed)], dtype=np.uint64), pairs, parts + 1)[0]
        sizes = size + np.searchsorted(np.cumsum(mass) / mass.sum(), draws[:, 0])
        sizes = np.minimum(sizes, parts - size)
        drawn = draws[:, 1:].argsort(axis=1).argsort(axis=1) < sizes[:, None]
        rows += [drawn, ~drawn]
        weights.append(np.full(2 * pairs, mass.sum() / (2 * pairs)))
    return np.concatenate(rows), np.concatenate(weights), False


def _adding_to_zero(parts: int) -> Floats:
    """An orthonormal basis [P, P−1] of the vectors that add up to 0."""
    q, _ = np.linalg.qr(np.column_stack([np.ones(parts), np.eye(parts)[:, :-1]]))
    return np.asarray(q[:, 1:], dtype=np.float64)


@lru_cache(maxsize=256)
def lime(parts: int, coalitions: int, seed: int = 0, width: float = 0.25, ridge: float = 1.0) -> Design:
    """LIME: the linear score that fits best near the sample as it is.

    Ribeiro, Singh & Guestrin 2016 (KDD), equation 2: each part is kept with probability ½; a coalition weighs
    exp(−d² / width²) at cosine distance d from "all kept"; ridge regression with an intercept that is not
    penalised. Attributions do not add up to anything; they are slopes. A single part has no slope near "all kept";
    it gets what it adds.
    """
    if coalitions < 2:
        raise AskedWrongly(f"coalitions is {coalitions}; it must be at least 2")
    if parts < 2:
        return kernel_shap(parts, coalitions, seed)
    draws = uniform(np.array([key("lime", parts, coalitions, seed)], dtype=np.uint64), coalitions, parts)[0]
    masks = draws < 0.5
    kept = np.vstack([np.ones((1, parts)), masks])
    distance = 1 - np.sqrt(kept.sum(axis=1) / parts)  # cosine distance of a 0/1 vector to the vector of ones
    weights = np.exp(-((distance / width) ** 2))
    mean = weights @ kept / weights.sum()
    centred = kept - mean
    gram = centred.T @ (weights[:, None] * centred) + ridge * np.eye(parts)
    # Σ w (x − mean) = 0, so the scores need not be centred.
    slopes = np.linalg.solve(gram, (weights[:, None] * centred).T)  # [P, 1 + C]
    matrix = np.column_stack([np.zeros(parts), slopes])
    return Design(torch.from_numpy(masks), torch.from_numpy(matrix), False)
