"""A world in which the right confidence is known, with and without each input, and models that get it wrong.

K classes, modalities of K numbers each: class y gives N(strength · e_y, 1) in every modality, independently. By
Bayes P(y | inputs) = softmax(strength · sum of the inputs that are there), so the plain sum is calibrated for
every subset of the inputs, an input of zeros being a missing one. Clusters share the class and a part of the
noise: samples of a cluster are alike, each one alone is distributed as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan import Splits, Tabular, TorchModel
from muroan.batch import Batch
from muroan.data.memory import InMemory
from muroan.dataset import Loaded

CLASSES = ("a", "b", "c", "d")
STRENGTH = 1.2


def world(
    seed: int,
    *,
    n: int = 800,
    reference: int = 800,
    per_cluster: int = 1,
    modalities: Sequence[str] = ("left", "right"),
    group_strength: tuple[float, float] = (1.0, 1.0),
) -> Splits:
    """Audited and reference data from one world. group_strength: how much clearer the inputs of groups x and y
    are than the model believes."""
    return Splits(
        _draw(seed, "audited", n, per_cluster, modalities, group_strength),
        _draw(seed, "reference", reference, per_cluster, modalities, group_strength),
    )


class Drawn(InMemory):
    """Loads whole slices: nothing drawn here needs to be checked value by value, and 50 audits need speed."""

    def load(self, index: Sequence[int]) -> Loaded:
        rows = torch.as_tensor(list(index))
        return Loaded(
            Batch(
                modalities=self.schema.modalities,
                inputs={m: v[rows] for m, v in self._inputs.items()},
                targets=torch.tensor(self._targets)[rows],
                ids=[self.ids[i] for i in index],
                groups={g: [v[i] for i in index] for g, v in self._groups.items()},
                clusters=None if self._clusters is None else [self._clusters[i] for i in index],
            )
        )


def _draw(
    seed: int, split: str, n: int, per_cluster: int, modalities: Sequence[str], group_strength: tuple[float, float]
) -> InMemory:
    rng = np.random.default_rng([seed, len(split)])
    k, clusters = len(CLASSES), n // per_cluster
    y = np.repeat(rng.integers(0, k, clusters), per_cluster)
    group = np.repeat(np.arange(clusters) % 2, per_cluster)
    strength = STRENGTH * np.asarray(group_strength)[group]
    inputs = {}
    for m in modalities:
        shared = np.repeat(rng.normal(size=(clusters, k)), per_cluster, axis=0)
        noise = np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal(size=(len(y), k)) if per_cluster > 1 else shared
        inputs[m] = torch.tensor(strength[:, None] * np.eye(k)[y] + noise, dtype=torch.float32)
    return Drawn(
        inputs,
        targets=y,
        modalities={m: Tabular(columns=CLASSES) for m in modalities},
        classes=CLASSES,
        groups={"kind": ["xy"[g] for g in group]},
        clusters=[f"{split} {c}" for c in np.repeat(np.arange(clusters), per_cluster)] if per_cluster > 1 else None,
        ids=[f"{split} {i}" for i in range(len(y))],
    )


def changed(data: InMemory, *, inputs: Mapping[str, Any] | None = None, targets: Any = None) -> InMemory:
    """The same data with some inputs, or all targets, replaced."""
    return InMemory(
        {**data._inputs, **(inputs or {})},
        targets=data._targets if targets is None else targets,
        modalities=data.schema.modalities,
        classes=CLASSES,
        groups=data._groups,
        ids=data.ids,
    )


def with_gaps(data: InMemory, modality: str, every: int) -> InMemory:
    """The same data in which one sample in so many lacks an input."""
    values = [None if i % every == 0 else v for i, v in enumerate(data._inputs[modality])]
    return changed(data, inputs={modality: values})


def model(
    change: Callable[[Tensor, dict[str, Tensor]], Tensor] = lambda z, codes: z,
    modalities: Sequence[str] = ("left", "right"),
) -> TorchModel:
    """The ideal model, its logits changed by `change(logits, codes)`."""
    return TorchModel(
        encoders={m: (lambda v: v) for m in modalities},
        fusion=lambda codes: change(STRENGTH * torch.stack([codes[m] for m in modalities]).sum(dim=0), codes),
        head=lambda z: z,
        classes=CLASSES,
    )


def sure_without(missing: str, factor: float = 6.0) -> TorchModel:
    """Calibrated with all inputs, far too sure where `missing` is."""

    def change(z: Tensor, codes: dict[str, Tensor]) -> Tensor:
        gone = (codes[missing] == 0).all(dim=1, keepdim=True)
        return torch.where(gone, factor * z, z)

    return model(change)
