"""The control of the worst case: random changes of the full size, as many as the ensemble makes passes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget, movable, worded
from muroan.interventions.attacks.ascent import Room
from muroan.interventions.attacks.controls import random_words, signs
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Codes, Metered
from muroan.randomness import Words, key

TEXTS = 8
"""Random texts a sample, which the draws take in turn: words allow few changes, and each is encoded once."""


def random_changes(model: Metered, batch: Batch, budgets: Mapping[str, Budget], tries: int, *, seed: int) -> Attacked:
    """The best of `tries` random changes that use every budget in full: ±radius in every value (L∞), words at random.

    A sample whose decision changed is drawn for no further. The changed inputs themselves are not kept. `trace`:
    loss_best [N].
    """
    n = len(batch)
    if n == 0:
        empty = torch.zeros(0, dtype=torch.bool)
        return Attacked(batch, empty, torch.zeros(0, len(model.classes)), {"loss_best": torch.zeros(0).double()})
    stage = Stage.of(model, batch)
    worst = Worst.at(batch, (), torch.full((n,), -torch.inf, dtype=torch.double), stage.logits)
    room = Room.around(batch, movable(model.modalities, budgets), stage.every)
    ends = {m: room.ends(m) for m in room.origin}
    keys = {m: room.keys(seed, "random changes", m) for m in [*ends, *budgets]}
    pools = {m: _pool(model, batch, m, b, keys[m]) for m, b in worded(model.modalities, budgets).items()}
    for t in range(tries):
        left = worst.left
        if not len(left):
            break
        changed = {}
        for m, (low, high) in ends.items():
            coin = signs(keys[m][left.numpy()] ^ np.uint64(key("try", t)), *low.shape[1:])
            changed[m] = model.encode(m, torch.where(coin, high[left], low[left]), anew=True)
        changed |= {m: pool.take(left * TEXTS + t % TEXTS) for m, pool in pools.items()}
        logits = stage.asked(changed, left)
        turned = logits.argmax(dim=1) != stage.predicted[left]
        worst.keep(t, left, {}, Seen(loss_of(logits, stage.predicted[left]), turned, logits))
    return worst.attacked({"loss_best": worst.loss})


def _pool(model: Metered, batch: Batch, m: str, budget: Budget, keys: Words) -> Codes:
    """Codes of `TEXTS` random texts a sample, those of one sample after another."""
    tries = [keys ^ np.uint64(key("text", t)) for t in range(TEXTS)]
    drawn = [random_words(batch.inputs[m], batch.modalities[m], budget.words, k) for k in tries]
    return model.encode(m, [texts[i] for i in range(len(batch)) for texts in drawn])
