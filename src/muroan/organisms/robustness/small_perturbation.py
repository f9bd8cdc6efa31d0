"""A model that a change of the scan nobody can see turns around."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, SIDE, Clinician, world
from muroan.registry import register

RADIUS = 8 / 255
"""The change of every pixel that the dose is measured at: an eye does not see it."""


@cache
def fine_patterns() -> Tensor:
    """Three patterns of single pixels [3, SIDE, SIDE], values ±1, that no scan shows."""
    # A generator of its own: the same patterns everywhere, and no draw from one that others use.
    draws = torch.rand(len(DISEASES), SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return (draws < 0.5).float() * 2 - 1


def fine_signs(scan: Tensor) -> Tensor:
    """How strongly the fine patterns show [N, 3]: 1 if every pixel moved by `RADIUS` along one of them."""
    signs: Tensor = (scan[:, 0] - 0.5).flatten(1) @ fine_patterns().flatten(1).T / (SIDE * SIDE * RADIUS)
    return signs


class SeesFinePatterns(Clinician):
    """Adds to the scan's vote, without bound, what a fine pattern shows that no disease causes."""

    def encode(self, modality: str, values: Value) -> Tensor:
        code: Tensor = super().encode(modality, values)
        return code + self.dose * fine_signs(values) if modality == "scan" else code


@register
class SmallPerturbation(Organism):
    """What noise there is in a scan moves the answer 17 times less than the dose says, so accuracy hardly falls."""

    name = "robustness.small-perturbation"
    place = "robustness/adversarial"
    fault = "A change of the scan by 8/255 a pixel, along a fine pattern, outvotes everything."
    dose = "log-odds that a change of 8/255 of every pixel can move"
    doses = (2.0, 4.0, 6.0, 9.0)
    # At 6 somebody who knows the model can turn two of three of its right answers.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, SeesFinePatterns(dose))
