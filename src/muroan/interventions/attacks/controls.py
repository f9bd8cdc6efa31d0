"""What a gradient attack is held against: random changes of equal size, and crude ones that need no gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.interventions.attacks.candidates import Candidate
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.word_substitution import candidates, replaced
from muroan.meter import Metered
from muroan.modality import Modality, Text, where
from muroan.randomness import Words, integers, sample_keys, uniform

BITS = 32
"""Random signs that are taken from one draw."""


def random_search(
    model: Metered, batch: Batch, budgets: Mapping[str, Budget], tries: int, *, seed: int, purpose: str
) -> Attacked:
    """The best of `tries` random changes that use the budgets in full; stops at a success.

    Draw t of a sample depends on its id, the seed, the purpose and t alone. `trace`: loss_best [N].
    """
    n = len(batch)
    success = torch.zeros(n, dtype=torch.bool)
    loss = torch.full((n,), -torch.inf, dtype=torch.double)
    logits = torch.zeros(n, len(model.classes))
    if n == 0:
        return Attacked(batch, success, logits, {"loss_best": loss})
    codes, index = model.codes(batch)
    labels = model.logits(codes, index, batch.present or None).argmax(dim=1)
    left = torch.arange(n)
    known: dict[str, Known] = {m: {} for m in budgets}
    for t in range(tries):
        some = batch.take(left)
        changed: dict[str, Any] = {}
        for m, b in budgets.items():
            keys = sample_keys(some.ids, seed, "random", purpose, m, t)
            modality = some.modalities[m]
            if isinstance(modality, Text):
                changed[m] = random_words(some.inputs[m], modality, b.words, keys, known[m])
            else:
                moved = changed_at_random(modality, some.inputs[m], b, keys)
                here = some.present.get(m)
                changed[m] = moved if here is None else where(here, moved, some.inputs[m])
        coded = {m: model.encode(m, v) for m, v in changed.items()}
        still = {m: c.take(index[m][left]) for m, c in codes.items() if m not in changed}
        found = model.logits({**still, **coded}, None, {k: v[left] for k, v in batch.present.items()} or None)
        flipped = found.argmax(dim=1) != labels[left]
        logits[left] = found
        loss[left] = torch.maximum(loss[left], loss_of(found, labels[left]))
        success[left] = flipped
        left = left[~flipped]
        if len(left) == 0:
            break
    return Attacked(batch, success, logits, {"loss_best": loss})


def changed_at_random(modality: Modality, x: Tensor, budget: Budget, keys: Words) -> Tensor:
    """A random change of the full size: every value moves by ±radius (L∞), or all in a random direction (L2)."""
    if budget.p != float("inf"):
        return modality.random_change(x, budget.p, budget.radius, keys)
    # One bit a value: a search over pictures would otherwise spend most of its time on drawing numbers.
    size = x[0].numel() if len(x) else 0
    drawn = integers(keys, 2**BITS, -(-size // BITS)).astype("<u4")
    bits = np.unpackbits(drawn.view(np.uint8), axis=1, count=size)
    signs = torch.from_numpy(bits).view(x.shape).to(x.dtype) * 2 - 1
    return (x + budget.radius * signs).clamp(modality.low, modality.high)


Known = dict[tuple[str, frozenset[int]], list[Candidate]]


def random_words(
    texts: Sequence[str], modality: Text, words: int, keys: Words, known: Known | None = None
) -> list[str]:
    """Each text with `words` random allowed replacements (fewer where there are not so many).

    known: what was found to be allowed, kept by those who ask about the same texts again and again.
    """
    known = {} if known is None else known
    out = []
    draws = integers(keys, 2**31, words)
    for text, row in zip(texts, draws, strict=True):
        done: frozenset[int] = frozenset()
        for draw in row:
            if (text, done) not in known:
                known[text, done] = candidates(text, modality, done)
            found = known[text, done]
            if not found:
                break
            choice = found[int(draw) % len(found)]
            text, done = replaced(text, choice), done | {choice.word}
        out.append(text)
    return out


def crude(model: Metered, batch: Batch, modalities: Sequence[str], *, seed: int) -> Tensor:
    """Whether replacing these inputs altogether changes the decision: by nothing, by either end of the range, by noise.

    No gradient is asked for, so masked ones do not matter; bool [N].
    """
    codes, index = model.codes(batch)
    labels = model.logits(codes, index, batch.present or None).argmax(dim=1)
    fooled = torch.zeros(len(batch), dtype=torch.bool)
    for how in ("neutral", "low", "high", "noise", "more noise"):
        swapped = {}
        for m in modalities:
            x, modality = batch.inputs[m], batch.modalities[m]
            if how == "neutral":
                swapped[m] = modality.neutral(x)
            elif how in ("low", "high"):
                swapped[m] = torch.full_like(x, modality.low if how == "low" else modality.high)
            else:
                draws = uniform(sample_keys(batch.ids, seed, "crude", how, m), *x.shape[1:])
                swapped[m] = torch.from_numpy(modality.low + (modality.high - modality.low) * draws).to(x.dtype)
            if m in batch.present:
                swapped[m] = where(batch.present[m], swapped[m], x)
        coded = {m: model.encode(m, v) for m, v in swapped.items()}
        still = {m: c.take(index[m]) for m, c in codes.items() if m not in swapped}
        fooled |= model.logits({**still, **coded}, None, batch.present or None).argmax(dim=1) != labels
    return fooled
