"""At which layer should the inputs be fused? Every choice is trained and compared on validation data.

Source: Ma et al., CVPR 2022 (arXiv 2204.05454): which fusion withstands missing inputs best depends on the data, so it
is searched for. The source relaxes the choice and learns it by gradients; with few layers all of them can be tried,
which is simpler and shows how much, or how little, the choice is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.interventions.removals import others
from muroan.model import Capability, Model
from muroan.robustness.distribution_shift.modality_grid import How, ModalityGrid
from muroan.rows import Floats

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class FusionSearch(Generic[M]):
    """What was found. validation: the score of every choice, in order; chosen: the one whose value is highest.

    test: the score of the chosen one on data that had no part in the choice; that of no other is computed. rate: the
    missing rate that scores are at. parameters: of each choice, the same for all.
    """

    validation: tuple[Estimate, ...]
    chosen: int
    test: Estimate
    rate: float
    parameters: int
    model: M

    @property
    def note(self) -> str:
        """The search in one sentence."""
        seen = ", ".join(f"{k}: {e.value:.3f}" for k, e in enumerate(self.validation))
        return f"fused from layer {self.chosen}; validation by layer {seen}; test of the chosen one {self.test}"


def search_fusion_layer(
    make: Callable[[int], M],
    layers: int,
    validation: Dataset,
    test: Dataset,
    *,
    rate: float = 0.5,
    level: float = 0.95,
) -> FusionSearch[M]:
    """Trains and scores all `layers` + 1 choices.

    make: fusion layer -> a trained model, of equal size for each (nothing of `validation` or `test` in its training).
    A score is the accuracy where a sample lacks one input with chance `rate`, each input as often as any other: an
    exact mixture of outcomes. At equal scores the earliest layer is chosen.
    """
    if layers < 0 or not 0 <= rate <= 1:
        raise AskedWrongly(f"there are {layers} layers and the missing rate is {rate}; it lies between 0 and 1")
    shared = set(validation.ids) & set(test.ids)
    if shared:
        raise AskedWrongly(
            f"{len(shared)} samples are both validation and test; a choice is scored where none was made"
        )
    models = [make(k) for k in range(layers + 1)]
    sizes = [sum(p.numel() for p in m.trainable().parameters()) for m in models]
    if len(set(sizes)) > 1:
        raise AskedWrongly(f"the choices have {sizes} parameters; what is compared has to be equally large")
    found = tuple(_estimate(m, validation, rate, level) for m in models)
    chosen = int(np.argmax([e.value for e in found]))
    return FusionSearch(found, chosen, _estimate(models[chosen], test, rate, level), rate, sizes[0], models[chosen])


def score(grid: ModalityGrid, train: Sequence[str], rate: float) -> Floats:
    """Each sample's chance to be right [N] where one input is missing with chance `rate`, any with equal chance."""
    kept, names = tuple(train), grid.names
    less = np.mean([grid.correct[kept, others(names, [m])] for m in names], axis=0)
    mixed: Floats = (1 - rate) * grid.correct[kept, names] + rate * less
    return mixed


def _estimate(model: Model, data: Dataset, rate: float, level: float) -> Estimate:
    names = tuple(data.schema.modalities)
    tests = [names, *(others(names, [m]) for m in names)]
    how: How = "absent" if Capability.ABSENT in model.capabilities else "neutral"
    grid = ModalityGrid.measure(lambda kept: model, data, train=[names], test=tests, how=how, level=level)
    return grid.rows.mean(score(grid, names, rate), (0, 1))
