"""Training on inputs that lack a part: at a random place, or the very part that the decision hangs on."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.matched import place
from muroan.interventions.attacks.removal import POINTWISE, Boxes, Removal
from muroan.interventions.attacks.salient import salient_points
from muroan.losses import eased, task_loss
from muroan.meter import Metered
from muroan.mitigation import Objective, Retraining
from muroan.model import Model
from muroan.registry import register

HALVINGS = 3
"""A region's sides are a half, a quarter or an eighth of the input's: the sizes that a decoupling search halves to."""


@dataclass(frozen=True, kw_only=True)
class RemovalTraining(Retraining):
    """min E[(1 − clean) · CE(f(x without parts), y) + clean · CE(f(x), y)].

    clean: weight of the untouched batch, from 0 to 1. Of each sample one modality or several lose a part, drawn anew at
    every step.
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

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        def without_a_part(batch: Batch) -> Tensor:
            removal = Removal(Clean.observe(Metered(model, batch.modalities, remember=False), batch))
            less = batch.with_inputs(**removal.apply(_some(self.parts(removal), len(batch))))
            return eased(task_loss(model, less), self.clean, model, batch)

        return Objective(without_a_part)


def _some(parts: Boxes, n: int) -> dict[str, Tensor]:
    """The parts of some of the modalities of each sample, of one at least."""
    chosen = torch.rand(n, len(parts)) < 0.5
    chosen[torch.arange(n), torch.randint(len(parts), (n,))] = True
    return {m: b * chosen[:, k, None, None] for k, (m, b) in enumerate(parts.items())}


@register
@dataclass(frozen=True, kw_only=True)
class RegionWordDropout(RemovalTraining):
    """One random region of a picture (stretch of a sound or series), one random word or column; see `RemovalTraining`.

    The control of `salient_point_removal`: as much is removed, in pieces of the same kinds and sizes, but anywhere.
    """

    name = "region_word_dropout"
    does = "Trains on inputs that lack a random region or word, so that no small part decides alone."
    source = "DeVries & Taylor 2017, arXiv 1708.04552 (cutout); Iyyer et al., ACL 2015 (word dropout)"

    def parts(self, removal: Removal) -> dict[str, Tensor]:
        return {m: _anywhere(removal, m) for m in removal.modalities}


@register
@dataclass(frozen=True, kw_only=True)
class SalientPointRemoval(RemovalTraining):
    """At every step the model is asked anew which part of each input its decision hangs on (`salient_points`), and is
    trained without it; see `RemovalTraining`. Its control is `region_word_dropout`.

    Where the part that is removed is what the label speaks of, the model is taught to guess: clean accuracy has to be
    read beside what is gained.
    """

    name = "salient_point_removal"
    does = "Trains on inputs without the region or word that moves the decision most."
    source = "named as a defence by the authors of MUROAN, arXiv 2112.12792; the recipe is ours"

    def parts(self, removal: Removal) -> dict[str, Tensor]:
        return salient_points(removal)


def _anywhere(removal: Removal, m: str) -> Tensor:
    """One box [N, 1, 2·axes] a sample, at a random place; none where the sample has no such modality."""
    grid = removal.grids[m]
    n, pointwise = len(grid), removal.modalities[m].kind in POINTWISE
    halved = 2 ** torch.randint(1, HALVINGS + 1, (n, 1))
    length = torch.ones_like(grid) if pointwise else (grid // halved).clamp_min(1)
    boxes = torch.cat([torch.zeros_like(grid), torch.where(grid > 0, length, 0)], dim=1)[:, None]
    keys = torch.randint(2**62, (n,)).numpy().astype(np.uint64)
    return place(boxes, grid, keys, pointwise=pointwise)
