"""What a gradient attack is held against: random changes of equal size, and crude ones that need no gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.interventions.attacks.candidates import Candidate, candidates, replaced
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.stage import Stage
from muroan.meter import Metered
from muroan.modality import Modality, Text
from muroan.randomness import Words, integers, sample_keys, uniform

BITS = 32
"""Random signs that are taken from one draw."""


def random_search(
    model: Metered, batch: Batch, budgets: Mapping[str, Budget], tries: int, *, seed: int, purpose: str
) -> Attacked:
    """The best of `tries` random changes that use the budgets in full; stops at a success.

    Draw t of a sample depends on its id, the seed, the purpose and t alone. The changed inputs are not kept; logits are
    of the last try. `trace`: loss_best [N].
    """
    n = len(batch)
    success, loss = torch.zeros(n, dtype=torch.bool), torch.full((n,), -torch.inf, dtype=torch.double)
    logits, left = torch.zeros(n, len(model.classes)), torch.arange(n)
    stage = Stage.of(model, batch) if n else None
    known: dict[str, Known] = {m: {} for m in budgets}
    for t in range(tries):
        if stage is None or not len(left):
            break
        some, changed = batch.take(left), {}
        for m, b in budgets.items():
            keys, kind = sample_keys(some.ids, seed, "random", purpose, m, t), some.modalities[m]
            if isinstance(kind, Text):
                changed[m] = random_words(some.inputs[m], kind, b.words, keys, known[m])
            else:
                changed[m] = some.if_there(m, changed_at_random(kind, some.inputs[m], b, keys))
        logits[left] = now = stage.with_values(changed, left)
        success[left] = turned = now.argmax(dim=1) != stage.predicted[left]
        loss[left] = torch.maximum(loss[left], loss_of(now, stage.predicted[left]))
        left = left[~turned]
    return Attacked(batch, success, logits, {"loss_best": loss})


def signs(keys: Words, *shape: int) -> Tensor:
    """Fair coins, bool [N, *shape]: row i depends on keys[i] alone. Some thirty times faster than one draw a coin."""
    size = int(np.prod(shape))
    drawn = integers(keys, 2**BITS, -(-size // BITS)).astype("<u4")
    bits = np.unpackbits(drawn.view(np.uint8), axis=1, count=size)
    return torch.from_numpy(bits.view(np.bool_)).view(len(keys), *shape)


def changed_at_random(modality: Modality, x: Tensor, budget: Budget, keys: Words) -> Tensor:
    """A random change of the full size: every value moves by ±radius (L∞), or all in a random direction (L2)."""
    if budget.p != float("inf"):
        return modality.random_change(x, budget.p, budget.radius, keys)
    ahead = signs(keys, *x.shape[1:]).to(x.dtype) * 2 - 1
    return (x + budget.radius * ahead).clamp(modality.low, modality.high)


Known = dict[tuple[str, frozenset[int]], list[Candidate]]


def random_words(
    texts: Sequence[str], modality: Modality, words: int, keys: Words, known: Known | None = None
) -> list[str]:
    """Each text with `words` random allowed replacements (fewer where there are not so many).

    known: what was found to be allowed, kept by those who ask about the same texts again and again.
    """
    assert isinstance(modality, Text)
    known = {} if known is None else known
    said = []
    for text, row in zip(texts, integers(keys, 2**31, words), strict=True):
        done: frozenset[int] = frozenset()
        for draw in row:
            if (text, done) not in known:
                known[text, done] = candidates(text, modality, done)
            allowed = known[text, done]
            if not allowed:
                break
            choice = allowed[int(draw) % len(allowed)]
            text, done = replaced(text, choice), done | {choice.word}
        said.append(text)
    return said


def crude(model: Metered, batch: Batch, modalities: Sequence[str], *, seed: int) -> Tensor:
    """Whether replacing these inputs altogether changes the decision: by nothing, by either end of the range, by noise.

    No gradient is asked for, so masked ones do not matter; bool [N].
    """
    stage = Stage.of(model, batch)
    fooled = torch.zeros(len(batch), dtype=torch.bool)
    for how in ("neutral", "low", "high", "noise", "more noise"):
        swapped = {}
        for m in modalities:
            x, modality = batch.inputs[m], batch.modalities[m]
            if how == "neutral":
                new = modality.neutral(x)
            elif how in ("low", "high"):
                new = torch.full_like(x, modality.low if how == "low" else modality.high)
            else:
                draws = uniform(sample_keys(batch.ids, seed, "crude", how, m), *x.shape[1:])
                new = torch.from_numpy(modality.low + (modality.high - modality.low) * draws).to(x.dtype)
            swapped[m] = batch.if_there(m, new)
        fooled |= stage.with_values(swapped, stage.every).argmax(dim=1) != stage.predicted
    return fooled
