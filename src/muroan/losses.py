"""What trainings share: a model's answers and codes of a batch, and losses of it, each with a graph to the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.errors import AskedWrongly
from muroan.model import Capability, Code, Model

SCALE = 20.0
"""What cosines are multiplied by where an aligned model does not say."""


def told(model: Model, present: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """What a model that handles missing inputs itself is told of them; None for any other, or if none is missing."""
    return dict(present) if present and Capability.ABSENT in model.capabilities else None


def logits(model: Model, batch: Batch) -> Tensor:
    """The model's logits of a batch [N, K]."""
    return model.predict(batch.inputs, told(model, batch.present))


def fused(model: Model, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
    """The model's fused codes [N, D] (`Capability.FUSE`)."""
    known = told(model, present)
    return model.fuse(codes, known) if known else model.fuse(codes)


def decided(model: Model, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
    """The model's logits of codes [N, K] (`Capability.FUSE`)."""
    return model.decide(fused(model, codes, present))


def vectors(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Codes [N, D] by input; raises `AskedWrongly` where a code is no vector."""
    codes = {m: model.encode(m, batch.inputs[m]) for m in model.modalities}
    for m, code in codes.items():
        if not isinstance(code, Tensor) or code.ndim != 2:
            shape = tuple(code.shape) if isinstance(code, Tensor) else "a tuple"
            raise AskedWrongly(f"codes of {m} are {shape}; this defence compares codes that are vectors [N, D]")
    return codes


def task_loss(model: Model, batch: Batch) -> Tensor:
    """Cross-entropy of a batch as it is; what is absent is said to be where the model handles that itself."""
    return functional.cross_entropy(logits(model, batch), batch.targets)


def eased(hard: Tensor, clean: float, model: Model, batch: Batch) -> Tensor:
    """(1 − clean) · hard + clean · the task's loss of the untouched batch."""
    return (1 - clean) * hard + clean * task_loss(model, batch) if clean else hard


def reversed_gradient(x: Tensor, weight: float) -> Tensor:
    """The same values; what gradient arrives goes on times −weight."""
    out = x.clone()
    if out.requires_grad:
        out.register_hook(lambda g: -weight * g)  # type: ignore[no-untyped-call]
    return out


# Pairs: codes of two inputs that are to find each other (`Capability.ALIGNED`).


def pair_codes(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """Codes [N, D] of length 1 of both inputs of each pair."""
    first, second = (functional.normalize(model.encode(m, batch.inputs[m]), dim=1) for m in model.modalities)
    return first, second


def scale_of(model: Model) -> float:
    """What the model multiplies cosines by."""
    return float(getattr(model, "scale", SCALE))


def info_nce(first: Tensor, second: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of unit vectors [N, D]: each has to find its partner among all, both ways."""
    similar = scale * first @ second.T
    target = torch.arange(len(similar))
    return (functional.cross_entropy(similar, target) + functional.cross_entropy(similar.T, target)) / 2


def alignment(model: Model, batch: Batch) -> Tensor:
    """Symmetric InfoNCE of a batch of pairs, at the model's own scale."""
    return info_nce(*pair_codes(model, batch), scale_of(model))


def missed(first: Tensor, second: Tensor) -> Tensor:
    """Share of unit vectors [N, D] that do not find their partner among the N, mean of both ways. 0: all do.

    Known trade-off: it is coarser than InfoNCE, which however rises as soon as a model is too sure of itself, long
    before it finds fewer pairs; training stopped by it would give towers that have hardly learnt.
    """
    similar, partner = first.detach() @ second.detach().T, torch.arange(len(first))
    return torch.stack([(similar.argmax(dim=way) != partner).double().mean() for way in (0, 1)]).mean()
