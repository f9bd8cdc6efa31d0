"""Results of attacks on some samples, put together. Traces are left to those who know what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Metered
from muroan.modality import copy, put, where


def nothing(model: Metered, batch: Batch) -> Attacked:
    """The null change: the samples themselves, put to the model again, whatever is remembered of them."""
    logits = model.of(batch, anew=True) if len(batch) else torch.zeros(0, len(model.classes))
    return Attacked(batch, torch.zeros(len(batch), dtype=torch.bool), logits)


def compared(model: Metered, batch: Batch, changed: Batch) -> Attacked:
    """What became of samples that were changed without a look at the model."""
    before, after = model.of(batch), model.of(changed)
    return Attacked(changed, after.argmax(dim=1) != before.argmax(dim=1), after)


def in_parts(batch: Batch, size: int, run: Callable[[Batch, range], Attacked]) -> Attacked:
    """What `run` makes of a batch, of at most `size` samples at once: (some of the samples, their places)."""
    n = len(batch)
    if n <= size:
        return run(batch, range(n))
    places = [range(k, min(k + size, n)) for k in range(0, n, size)]
    parts = [run(batch.take(at), at) for at in places]
    return Attacked(
        Batch.concat([p.batch for p in parts]),
        torch.cat([p.success for p in parts]),
        torch.cat([p.logits for p in parts]),
        {k: torch.cat([p.trace[k] for p in parts]) for k in parts[0].trace},
    )


def rows(done: Attacked, index: Tensor) -> Attacked:
    """The results of the samples at `index`."""
    trace = {k: v[index] for k, v in done.trace.items()}
    return Attacked(done.batch.take(index), done.success[index], done.logits[index], trace)


def chosen(take: Tensor, one: Attacked, other: Attacked) -> Attacked:
    """Per sample the first result where `take` [N], else the second."""
    mine = one.batch.inputs
    inputs = {m: where(take, mine[m], v) for m, v in other.batch.inputs.items() if v is not mine[m]}
    logits = torch.where(take[:, None], one.logits, other.logits)
    return Attacked(other.batch.with_inputs(**inputs), torch.where(take, one.success, other.success), logits)


def either(others: Sequence[Attacked], last: Attacked) -> Attacked:
    """Per sample the first of several attacks that succeeded, else the last one."""
    for other in reversed(others):
        last = chosen(other.success, other, last)
    return last


def worst(results: Sequence[Attacked], labels: Tensor) -> Attacked:
    """Per sample the first result that succeeded, else the one whose loss of `labels` [N] is highest."""
    best = results[0]
    for other in results[1:]:
        higher = loss_of(other.logits, labels) > loss_of(best.logits, labels)
        best = chosen(~best.success & (other.success | higher), other, best)
    return best


def placed(base: Attacked, some: Attacked, index: Tensor) -> Attacked:
    """`base` with the samples at `index` replaced by those of `some`."""
    # What both know by its keys is the samples' own in both.
    own = {m: v for m, v in base.batch.inputs.items() if m not in base.batch.keys or m not in some.batch.keys}
    inputs, success, logits = {m: copy(v) for m, v in own.items()}, base.success.clone(), base.logits.clone()
    for m, value in inputs.items():
        put(value, index, some.batch.inputs[m])
    success[index], logits[index] = some.success, some.logits
    return Attacked(base.batch.with_inputs(**inputs), success, logits)


def bettered(base: Attacked, tried: Attacked, index: Tensor, labels: Tensor) -> Attacked:
    """`base` with what was tried of the samples at `index` [R] where that succeeded, or raised the loss of labels [R].

    An attack that did not find more than `base` has keeps that.
    """
    return placed(base, worst([tried, rows(base, index)], labels), index)
