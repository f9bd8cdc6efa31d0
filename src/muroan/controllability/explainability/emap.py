"""Does the model look at modalities together, or does it only add them up?

EMAP, the empirical multimodally-additive projection (Hessel & Lee, EMNLP 2020): of all functions that add
modalities up, the one nearest to the model on a set of samples. Accuracy lost under the projection is accuracy
that comes from interactions. On N samples it takes the N^n combinations of their modalities, and the projection
of one sample depends on the others: it is an analysis of a chosen set, not a row of per-sample evidence. An
audit, whose rows must not depend on which samples travel together, measures interaction against the neutral
value instead (`shapley`).

Read the gap beside the accuracy with one modality and with shuffled pictures: a model with a dead tower has no
interaction to lose, and a gap of zero then says nothing good.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.errors import AskedWrongly
from muroan.meter import FUSE_CHUNK, Metered

MOST = 50_000_000
"""Combinations above which a projection is not begun."""


@dataclass(frozen=True)
class Projection:
    """logits [N, K] of the model and additive [N, K] of its projection, double, on the same samples."""

    logits: Tensor
    additive: Tensor

    @property
    def interaction(self) -> Tensor:
        """[N, K]: what adding up cannot explain."""
        return self.logits - self.additive

    @property
    def flipped(self) -> Tensor:
        """bool [N]: the projection decides otherwise."""
        return self.logits.argmax(dim=1) != self.additive.argmax(dim=1)


def project(grid: Tensor) -> Tensor:
    """The additive projection of logits on all combinations: [N] * n + [K] -> [N, K].

    f̂(x_i) = Σ_m E[f | modality m is that of sample i] − (n − 1) E[f]; for two modalities
    f̂(v_i, t_i) = E_j f(v_i, t_j) + E_j f(v_j, t_i) − E_jk f(v_j, t_k).
    """
    n = grid.ndim - 1
    grid = grid.double()
    means = [grid.mean(dim=[a for a in range(n) if a != m]) for m in range(n)]
    return torch.stack(means).sum(dim=0) - (n - 1) * means[0].mean(dim=0)


def emap(model: Metered, batch: Batch) -> Projection:
    """EMAP of a model on a batch of N samples with n modalities: N^n combinations, each value encoded once.

    Memory does not grow with the number of combinations. `AskedWrongly` for more than `MOST` of them.
    """
    codes, index = model.codes(batch)
    names, n = list(codes), len(batch)
    total = n ** len(names)
    if total > MOST:
        raise AskedWrongly(
            f"EMAP of {n} samples takes {n}^{len(names)} combinations, more than {MOST:,}; choose fewer samples"
        )
    # present belongs to a modality's value, so it travels with it
    here = {m: batch.present.get(m) for m in names}
    sums = torch.zeros(len(names), n, len(model.classes), dtype=torch.double)
    own = torch.empty(n, len(model.classes), dtype=torch.double)
    step = sum(n**i for i in range(len(names)))  # combination i, i, .., i
    for start in range(0, total, FUSE_CHUNK):
        at = torch.arange(start, min(start + FUSE_CHUNK, total))
        who = {m: at // n**i % n for i, m in enumerate(names)}
        present = {m: h[who[m]] for m, h in here.items() if h is not None}
        logits = model.logits(codes, {m: index[m][who[m]] for m in names}, present or None).double()
        for i, m in enumerate(names):
            sums[i].index_add_(0, who[m], logits)
        diagonal = at % step == 0
        own[at[diagonal] // step] = logits[diagonal]
    means = sums / n ** (len(names) - 1)
    return Projection(own, means.sum(dim=0) - (len(names) - 1) * means[0].mean(dim=0))
