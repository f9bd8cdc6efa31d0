"""Losses of a batch that several trainings share, each with a graph to the weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.model import Capability, Model


def task_loss(model: Model, batch: Batch) -> Tensor:
    """Cross-entropy of a batch as it is; what is absent is said to be where the model handles that itself."""
    return functional.cross_entropy(logits(model, batch), batch.targets)


def logits(model: Model, batch: Batch) -> Tensor:
    """The model's logits of a batch [N, K]."""
    absent = Capability.ABSENT in model.capabilities
    return model.predict(batch.inputs, (dict(batch.present) or None) if absent else None)


def pair_codes(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """Codes [N, D] of length 1 of both inputs of each pair (`Capability.ALIGNED`, two modalities)."""
    first, second = (functional.normalize(model.encode(m, batch.inputs[m]), dim=1) for m in model.modalities)
    return first, second


def info_nce(first: Tensor, second: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of unit vectors [N, D]: each has to find its partner among all, both ways."""
    found = scale * first @ second.T
    target = torch.arange(len(found))
    return (functional.cross_entropy(found, target) + functional.cross_entropy(found.T, target)) / 2
