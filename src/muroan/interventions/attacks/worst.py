"""The worst case of every sample so far: what any search that tries one change after another keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.interventions.attacks.grouped import highest
from muroan.modality import Value, copy, put, take


@dataclass(frozen=True)
class Seen:
    """What is said of R tries: loss [R], maybe with a graph; decided [R]: nothing more to gain; outcome [R, ...]."""

    loss: Tensor
    decided: Tensor
    outcome: Tensor


@dataclass
class Worst:
    """inputs[m], loss [N], outcome [N, ...] of the try that decided a sample, else of the one of highest loss.

    steps [N]: the step that decided it, −1 if none; first [N]: the loss of the sample itself; passes [N]: rows of
    forward and backward passes spent on it.
    """

    batch: Batch
    inputs: dict[str, Value]
    loss: Tensor
    outcome: Tensor
    first: Tensor
    steps: Tensor
    passes: Tensor

    @classmethod
    def at(cls, batch: Batch, changing: Iterable[str], loss: Tensor, outcome: Tensor) -> Self:
        """Nothing tried yet: the samples themselves, with their loss and outcome."""
        own = {m: copy(batch.inputs[m]) for m in changing}
        n = len(batch)
        return cls(batch, own, loss.clone(), outcome.clone(), loss.clone(), torch.full((n,), -1), torch.zeros(n).long())

    @property
    def left(self) -> Tensor:
        """Samples that nothing has decided yet, long."""
        return (self.steps < 0).nonzero().flatten()

    def keep(self, t: int, sample: Tensor, x: Mapping[str, Value], seen: Seen) -> None:
        """Remember the tries that decide their sample, or raise its loss; of several tries of a sample the worst."""
        loss = seen.loss.detach()
        rows = highest(sample, torch.where(seen.decided, torch.inf, loss), self.loss, last=True)
        chosen = sample[rows]
        for m, value in self.inputs.items():
            put(value, chosen, take(x[m], rows))
        self.outcome[chosen], self.loss[chosen] = seen.outcome.detach()[rows], loss[rows]
        self.steps[sample[seen.decided]] = t

    def attacked(self, trace: Mapping[str, Tensor]) -> Attacked:
        """What an attack on decisions made of the samples, outcome being logits."""
        return Attacked(self.batch.with_inputs(**self.inputs), self.steps >= 0, self.outcome, trace)
