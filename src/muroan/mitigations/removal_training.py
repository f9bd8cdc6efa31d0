"""Training on inputs that lack a part: what random dropout of parts and the removal of salient points share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.removal import Boxes, Removal
from muroan.meter import Metered
from muroan.mitigation import Retraining, members
from muroan.model import Model
from muroan.training import Loss, Trainer


@dataclass(frozen=True, kw_only=True)
class RemovalTraining(Retraining):
    """Settings. clean: weight of the loss on the untouched batch, from 0 to 1; the rest is that of the inputs that lack
    a part. Of each sample one modality or several lose one, drawn anew at every step.
    """

    improves = {"robustness.decoupling": ("success_at_1", "success", "excess")}

    clean: float = 0.3
    epochs: int = 6

    def __post_init__(self) -> None:
        if not 0 <= self.clean < 1:
            raise AskedWrongly(f"clean is {self.clean}; it must be at least 0 and below 1")

    @abstractmethod
    def parts(self, removal: Removal) -> dict[str, Tensor]:
        """m -> boxes [N, R, 2·axes] that samples may lose; draws come from torch's generator, which a step seeds."""

    def train(self, model: Model, data: Splits, trainer: Trainer, *, seed: int) -> tuple[str, ...]:
        fit_on = members(data, self.name)
        schedule = self.schedule()
        done = trainer.named(self.name).fit(model.trainable(), self.loss(model), fit_on, schedule, seed=seed)
        return (done.note,)

    def loss(self, model: Model) -> Loss:
        """The mean of the loss on inputs without a part and on the untouched batch."""

        def without_a_part(batch: Batch) -> Tensor:
            removal = Removal(Clean.observe(Metered(model, batch.modalities), batch))
            gone = _some(self.parts(removal), len(batch))
            present = dict(batch.present) or None
            less = {**batch.inputs, **removal.apply(gone)}
            loss = functional.cross_entropy(model.predict(less, present), batch.targets)
            if not self.clean:
                return loss
            whole = functional.cross_entropy(model.predict(batch.inputs, present), batch.targets)
            return (1 - self.clean) * loss + self.clean * whole

        return without_a_part


def _some(parts: Boxes, n: int) -> dict[str, Tensor]:
    """The parts of some of the modalities of each sample, of one at least."""
    chosen = torch.rand(n, len(parts)) < 0.5
    chosen[torch.arange(n), torch.randint(len(parts), (n,))] = True
    return {m: b * chosen[:, k, None, None] for k, (m, b) in enumerate(parts.items())}
