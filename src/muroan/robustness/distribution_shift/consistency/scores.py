"""Is the same question answered the same way however it is put? Scores of groups of rephrasings, and of edited pairs.

A group holds wordings of one question (or pictures edited so that its answer stays). Consensus: Shah et al., CVPR 2019
(VQA-Rephrasings); flips: Agarwal et al., CVPR 2020 (IV-VQA, CV-VQA); both used by Li, Gan and Liu 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from muroan.errors import AskedWrongly

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def consensus(right: ArrayLike, size: ArrayLike, k: int) -> Floats:
    """CS(k) of groups: the share of their subsets of k wordings that are all answered right, C(m, k) / C(n, k).

    right, size [G]: how many of a group's n wordings are answered right, and n. 1: all; 0: no k of them. CS(1) is the
    share answered right, and CS never rises with k. NaN for a group of fewer than k wordings.
    """
    m, n = np.asarray(right, dtype=np.float64), np.asarray(size, dtype=np.float64)
    if k < 1 or (m < 0).any() or (m > n).any():
        raise AskedWrongly("consensus needs k of at least 1, and of n wordings 0 to n answered right")
    # As a product of ratios at most 1: no large number appears, and CS(k + 1) <= CS(k) also after rounding.
    out = np.ones(np.broadcast(m, n).shape)
    for j in range(k):
        out = out * np.maximum(m - j, 0) / np.where(n > j, n - j, np.nan)
    return out


def disagreement(answers: ArrayLike) -> Floats:
    """How probably two wordings of a group get different answers: [G] of counts by answer [G, A]; labels play no part.

    0: all get one answer; 1: no two get the same. Does not depend on how many wordings there are but for chance.
    """
    counts = np.asarray(answers, dtype=np.float64)
    pairs = comb(counts.sum(axis=1), 2)
    return np.asarray(1 - comb(counts, 2).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))


@dataclass(frozen=True)
class Flips:
    """What edits do to answers, of P pairs (original, edited) whose right answers are known.

    right_before [P]: who was right on the original. lost, gained, moved [P]: right before and wrong after; wrong before
    and right after; wrong before and after, with another answer. Shares of `lost` are of those right before, shares of
    the others of those wrong before; `shares` gives all three (NaN where nobody was).
    """

    right_before: Bools
    lost: Bools
    gained: Bools
    moved: Bools

    @property
    def kinds(self) -> dict[str, tuple[Bools, Bools]]:
        """By kind of flip, which pairs it happened to, and which it could have."""
        wrong = ~self.right_before
        return {
            "right to wrong": (self.lost, self.right_before),
            "wrong to right": (self.gained, wrong),
            "wrong to another wrong": (self.moved, wrong),
        }

    @property
    def shares(self) -> dict[str, float]:
        return {k: float(hits[among].mean()) if among.any() else math.nan for k, (hits, among) in self.kinds.items()}


def flips(
    before: ArrayLike, after: ArrayLike, target_before: ArrayLike, target_after: ArrayLike | None = None
) -> Flips:
    """Flips of answers [P] on originals and on edited ones; an edit that changes what is right has its own target."""
    b, a = np.asarray(before), np.asarray(after)
    t = np.asarray(target_before)
    u = t if target_after is None else np.asarray(target_after)
    if not b.shape == a.shape == t.shape == u.shape or b.ndim != 1:
        raise AskedWrongly(f"one answer and one target a pair are needed, got {b.shape}, {a.shape}, {t.shape}")
    was, now = b == t, a == u
    return Flips(right_before=was, lost=was & ~now, gained=~was & now, moved=~was & ~now & (a != b))
