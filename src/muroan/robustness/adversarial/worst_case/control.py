"""The control of the worst case: random changes of the full size, as many as the ensemble makes passes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.interventions.attacks.ascent import Room
from muroan.interventions.attacks.controls import random_words
from muroan.interventions.attacks.gradient_attack import attackable
from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Codes, Metered
from muroan.modality import Text
from muroan.randomness import Words, key, sample_keys, uniform

BITS = 32
"""Signs that one draw gives."""
TEXTS = 8
"""Random texts a sample, which the draws take in turn: words allow few changes, and each is encoded once."""


def signs(keys: Words, *shape: int) -> Tensor:
    """Fair coins, bool [N, *shape]: row i depends on keys[i] alone. Some thirty times faster than one draw a coin."""
    size = int(np.prod(shape))
    drawn = (uniform(keys, -(-size // BITS)) * 2.0**BITS).astype("<u4")
    bits = np.unpackbits(drawn.view(np.uint8), axis=1, count=size)
    return torch.from_numpy(bits.astype(bool)).view(len(keys), *shape)


def random_changes(model: Metered, batch: Batch, budgets: Mapping[str, Budget], tries: int, *, seed: int) -> Attacked:
    """The best of `tries` random changes that use every budget in full: ±radius in every value (L∞), words at random.

    A sample whose decision changed is drawn for no further. The changed inputs themselves are not kept. `trace`:
    loss_best [N].
    """
    n = len(batch)
    if n == 0:
        empty = torch.zeros(0, dtype=torch.bool)
        return Attacked(batch, empty, torch.zeros(0, len(model.classes)), {"loss_best": torch.zeros(0).double()})
    codes, index = model.codes(batch)
    logits = model.logits(codes, index, batch.present or None)
    labels, best = logits.argmax(dim=1), torch.full((n,), -torch.inf, dtype=torch.double)
    room = Room.around(batch, attackable(model, batch, budgets), torch.arange(n))
    ends = {m: [room.clip(m, v + s * budgets[m].radius) for s in (-1, 1)] for m, v in room.origin.items()}
    keys = {m: sample_keys(batch.ids, seed, "random changes", m) for m in [*ends, *budgets]}
    pools = {m: _pool(model, batch, m, b, keys[m]) for m, b in budgets.items() if m in model.modalities and b.words}
    left = torch.arange(n)
    for t in range(tries):
        rows = {m: index[m][left] for m in codes}
        changed = dict(codes)
        for m, (low, high) in ends.items():
            coin = signs(keys[m][left.numpy()] ^ np.uint64(key("try", t)), *low.shape[1:])
            changed[m], rows[m] = model.encode(m, torch.where(coin, high[left], low[left])), torch.arange(len(left))
        for m, pool in pools.items():
            changed[m], rows[m] = pool, left * TEXTS + t % TEXTS
        found = model.logits(changed, rows, {m: p[left] for m, p in batch.present.items()} or None)
        turned = found.argmax(dim=1) != labels[left]
        loss = loss_of(found, labels[left])
        better = turned | (loss > best[left])
        logits[left[better]], best[left[better]] = found[better], loss[better]
        left = left[~turned]
        if not len(left):
            break
    return Attacked(batch, logits.argmax(dim=1) != labels, logits, {"loss_best": best})


def _pool(model: Metered, batch: Batch, m: str, budget: Budget, keys: Words) -> Codes:
    """Codes of `TEXTS` random texts a sample, those of one sample after another."""
    modality = batch.modalities[m]
    assert isinstance(modality, Text)
    drawn = [
        random_words(batch.inputs[m], modality, budget.words, keys ^ np.uint64(key("text", t))) for t in range(TEXTS)
    ]
    return model.encode(m, [texts[i] for i in range(len(batch)) for texts in drawn])
