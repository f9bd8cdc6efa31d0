"""Two sensors: a small world of two time series, of which everything is known, where what matters is how they relate,
and a fault of it.

Both record the same noise, together or with opposite signs, or have nothing to do with each other. A series alone says
nothing. The model looks for the strongest correlation over lags, so that it stands a sensor that comes late. Nothing is
trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.modality import Series, Value
from muroan.model import Capability, Code, Model
from muroan.organism import Bed, World
from muroan.organisms import plant

RELATIONS = ("together", "opposed", "unrelated")
STEPS, SIZE = 80, 400
COMMON = 0.9
"""Correlation of two sensors that record the same."""
LATE = 32
"""The lag in steps that the model stands: two fifths of the length."""
NONE = 0.4
"""Less correlation than this is none: half of what is left at the largest lag, more than chance makes of noise."""
SHARPNESS = 15.0
MODALITIES = {s: Series(length=STEPS, channels=("reading",), fill=(0.0,)) for s in ("chest", "wrist")}


class Correlator(Model):
    """Says which relation the strongest correlation within `late` steps speaks for."""

    name = "correlator"
    modalities = tuple(MODALITIES)
    classes = RELATIONS
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS})

    def __init__(self, late: int = LATE) -> None:
        self.late = late

    def encode(self, modality: str, values: Value) -> Code:
        return values[:, :, 0]

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Correlation at every lag [N, 2 · late + 1]; steps that do not overlap count as 0."""
        windows = functional.pad(codes["wrist"], (self.late, self.late)).unfold(1, STEPS, 1)
        correlation: Tensor = (windows @ codes["chest"][:, :, None])[..., 0] / STEPS
        return correlation

    def decide(self, fused: Tensor) -> Tensor:
        none = torch.full_like(fused[:, 0], NONE)
        return SHARPNESS * torch.stack([fused.amax(dim=1), (-fused).amax(dim=1), none], dim=1)

    def fingerprint(self) -> str:
        return f"correlator:{self.late}"


def world(seed: int, late: int = LATE) -> World:
    """A model that stands a lag of `late` steps, and three splits."""
    return Correlator(late), Splits(*(_part(name, seed) for name in ("audited", "reference", "members")))


def _part(name: str, seed: int) -> InMemory:
    rng = np.random.default_rng([seed, *name.encode()])
    relation = rng.integers(0, len(RELATIONS), SIZE)
    share = COMMON * np.array([1.0, -1.0, 0.0])[relation][:, None]
    chest, own = rng.normal(0, 1, (2, SIZE, STEPS))
    wrist = share * chest + np.sqrt(1 - share**2) * own
    return InMemory(
        {"chest": chest[..., None].astype(np.float32), "wrist": wrist[..., None].astype(np.float32)},
        targets=relation,
        modalities=MODALITIES,
        classes=RELATIONS,
        ids=[f"{name}-{i}" for i in range(SIZE)],
        name=f"two sensors ({name})",
    )


TWO_SENSORS = Bed(
    "two sensors",
    f"{SIZE} made pairs of series a split; the model looks for their correlation over lags of up to {LATE} steps",
    world,
    exact=False,
)


@plant(
    "robustness.needs-synchrony",
    place="robustness/distribution_shift",
    bed=TWO_SENSORS,
    fault="The model compares its two series step by step, and one that comes late is like another.",
    dose=f"the part of the {LATE} steps of lag that it no longer stands; 1: not even one step",
    doses=(0.25, 0.5, 0.75, 1.0),
    matters=0.75,  # a sensor that is late by a fifth of the length is taken for unrelated
)
def needs_synchrony(dose: float, seed: int) -> World:
    """While nothing is late, the model is right as often as its twin."""
    return world(seed, round((1 - dose) * LATE))
