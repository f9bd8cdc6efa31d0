"""Samples without some of their inputs: which subsets may be left, and what is left of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.errors import AskedWrongly, unknown
from muroan.interventions.removals import Kept, subsets
from muroan.modality import where
from muroan.model import Model


def allowed(modalities: Sequence[str], always: Sequence[str] = ()) -> list[Kept]:
    """The proper non-empty subsets that hold every input of `always`, the largest first (see `subsets`)."""
    for m in always:
        if m not in modalities:
            raise unknown("input", m, list(modalities))
    options = [s for s in subsets(modalities) if set(always) <= set(s)]
    if not options:
        raise AskedWrongly(f"no input may be missing: always is {', '.join(always)}")
    return options


def allowed_masks(modalities: Sequence[str], always: Sequence[str] = ()) -> Tensor:
    """The same as masks, bool [S, M]: true where the input is kept."""
    return torch.tensor([[m in s for m in modalities] for s in allowed(modalities, always)])


def there(model: Model, batch: Batch) -> Tensor:
    """Which inputs the samples have, bool [N, M] in the model's order."""
    every = torch.ones(len(batch), dtype=torch.bool)
    return torch.stack([batch.present.get(m, every) for m in model.modalities], dim=1)


def drawn(masks: Tensor, batch: Batch, model: Model) -> Tensor:
    """A row of `masks` for each sample, bool [N, M]; a sample that has nothing of it keeps what it has."""
    kept = masks[torch.randint(len(masks), (len(batch),))]
    has = there(model, batch)
    return torch.where((kept & has).any(dim=1, keepdim=True), kept, has)


def left(model: Model, batch: Batch, kept: Tensor) -> Batch:
    """The samples with what `kept` [N, M] leaves them: the rest neutral, and said to be absent."""
    inputs, present = dict(batch.inputs), dict(batch.present)
    for m, here in zip(model.modalities, kept.T, strict=True):
        if bool(here.all()):
            continue
        inputs[m] = where(here, batch.inputs[m], batch.modalities[m].neutral(batch.inputs[m]))
        present[m] = here & present[m] if m in present else here
    return replace(batch, inputs=inputs, present=present, keys={})


def stacked(batches: Sequence[Batch]) -> Batch:
    """Views of the same samples one after another: one pass for all."""
    many = Batch.concat([replace(b, groups={}, clusters=None, keys={}) for b in batches])
    return replace(many, ids=[f"{i} {k}" for k, b in enumerate(batches) for i in b.ids])
