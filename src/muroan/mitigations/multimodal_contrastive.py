"""Multimodal contrastive learning: codes that survive cut-off inputs, and that predict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import decided, task_loss, vectors
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.randomness import seeded
from muroan.registry import register


def info_nce(a: Tensor, b: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """InfoNCE of N pairs [N, D]: a's row i has to find b's row i among the rows of other classes (targets [N]).

    Rows of the same class are left out of the negatives: they are no distractors.
    """
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / temperature
    same = (targets[:, None] == targets[None, :]) & ~torch.eye(len(a), dtype=torch.bool)
    return functional.cross_entropy(logits.masked_fill(same, -torch.inf), torch.arange(len(a)))


def by_class(codes: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: rows near those of their class, far from others; rows alone in theirs do not count.

    Source: Khosla et al., NeurIPS 2020, equation 2.
    """
    unit, itself = functional.normalize(codes, dim=1), torch.eye(len(codes), dtype=torch.bool)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    likely = logits.log_softmax(dim=1).masked_fill(itself, 0.0)
    same = (targets[:, None] == targets[None, :]) & ~itself
    some = same.any(dim=1)
    if not bool(some.any()):
        return codes.sum() * 0.0
    per_row = (likely * same).sum(dim=1)[some] / same.sum(dim=1)[some]
    return -per_row.mean()


def cut_off(batch: Batch, modality: str, share: float) -> object:
    """The values with each point (pixel, word, column) erased with this probability."""
    value, kind = batch.inputs[modality], batch.modalities[modality]
    extent = [int(e) for e in kind.grid(value).max(dim=0).values]
    return kind.erase(value, torch.rand(len(batch), *extent) < share)


class Predictors(nn.Module):
    """From the codes of all other inputs to the code of each: what training needs, and nothing afterwards."""

    def __init__(self, widths: Sequence[int], hidden: int) -> None:
        super().__init__()
        total = sum(widths)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(total - w, hidden), nn.ReLU(), nn.Linear(hidden, w)) for w in widths
        )

    def forward(self, codes: Sequence[Tensor]) -> list[Tensor]:
        return [p(torch.cat([c for j, c in enumerate(codes) if j != i], dim=1)) for i, p in enumerate(self.parts)]


@register
@dataclass(frozen=True, kw_only=True)
class MultimodalContrastive(Retraining):
    """Trains on with three contrastive terms beside the task.

    unimodal: two views of an input, each with points erased at random, find each other (UMCC). instance: the code that
    the other inputs' codes predict finds the true one (CMCP and the instance loss). by_label: predicted codes lie near
    true ones of their class. Items of the same class are never negatives. The three weights, temperature, the share cut
    off and the predictors' size are ours: the source's are not known here. The network that is left has its own
    parameters and no more.
    """

    name = "multimodal_contrastive"
    does = "Trains codes to survive erased points and to predict each other, against noisy inputs."
    source = "Lin & Hu, Findings of EMNLP 2022 (arXiv 2210.14556); weights: chosen here"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.TRAIN})
    improves = {"robustness.corruptions": ("mmi",)}
    stops_early = False

    unimodal: float = 0.1
    instance: float = 0.1
    by_label: float = 0.1
    share: float = 0.3
    temperature: float = 0.2
    hidden: int = 64
    epochs: int = 15
    batch: int = 64
    rate: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.unimodal, self.instance, self.by_label) < 0 or not 0 <= self.share < 1 or self.temperature <= 0:
            raise AskedWrongly(f"weights are at least 0, the share is below 1, the temperature above 0: {self}")

    def applies(self, model: Model, schema: Schema) -> str | None:
        return "a single input has no other to predict" if len(model.modalities) < 2 else None

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        with torch.no_grad(), seeded(self.name, seed):
            predictors = Predictors([c.shape[1] for c in vectors(model, data.first(1)).values()], self.hidden)
        loss = partial(self.loss, model, predictors)
        return Objective(loss, partial(task_loss, model), beside={"predictors": predictors})

    def loss(self, model: Model, predictors: Predictors, batch: Batch) -> Tensor:
        """The task's cross-entropy and the weighted terms."""
        codes = vectors(model, batch)
        total = functional.cross_entropy(decided(model, codes, batch.present), batch.targets)
        y, t = batch.targets, self.temperature
        if self.unimodal:
            twice = [[model.encode(m, cut_off(batch, m, self.share)) for _ in range(2)] for m in model.modalities]
            total = total + self.unimodal * torch.stack([info_nce(a, b, y, t) for a, b in twice]).mean()
        if self.instance or self.by_label:
            pairs = list(zip(predictors(list(codes.values())), codes.values(), strict=True))
            if self.instance:
                total = total + self.instance * torch.stack([info_nce(p, z, y, t) for p, z in pairs]).mean()
            if self.by_label:
                each = [by_class(torch.cat([p, z]), y.repeat(2), t) for p, z in pairs]
                total = total + self.by_label * torch.stack(each).mean()
        return total
