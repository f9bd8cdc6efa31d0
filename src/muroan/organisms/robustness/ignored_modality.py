"""One of the inputs is asked for, and not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from muroan.model import Code
from muroan.organism import Bed, Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.registry import register


class WithoutVitals(Clinician):
    """Gives the vital signs less weight than they deserve."""

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        weight = {m: 1 - self.dose if m == "vitals" else 1.0 for m in self.modalities}
        return torch.stack([weight[m] * codes[m] for m in self.modalities]).sum(dim=0)


@register
class IgnoredModality(Organism):
    """Without one input the model is still Bayes' rule for the others, so nothing else about it is wrong."""

    name: ClassVar[str] = "robustness.ignored-modality"
    place: ClassVar[str] = "robustness/distribution_shift"
    fault: ClassVar[str] = "The model hardly reads the vital signs: it decides by the other inputs."
    dose: ClassVar[str] = "the part of the vital signs' weight that the fusion takes away; 1: they are not read at all"
    doses: ClassVar[tuple[float, ...]] = (0.5, 0.8, 0.95, 1.0)
    # A vote of a twentieth of its worth never decides between the others.
    matters: ClassVar[float] = 0.95
    bed: ClassVar[Bed] = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, WithoutVitals(dose))
