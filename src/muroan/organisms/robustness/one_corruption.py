"""A model that stands every corruption but too much light."""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, Clinician, world
from muroan.registry import register

TURNS, WIDTH = 0.65, 0.03
"""Mean brightness at which half of the fault is there, and how fast it comes; scans have 0.5."""


class ReadsBrightness(Clinician):
    """Takes a scan that is brighter than usual for its last disease."""

    def encode(self, modality: str, values: Value) -> Tensor:
        code: Tensor = super().encode(modality, values)
        if modality != "scan":
            return code
        bright = torch.sigmoid((values.mean(dim=(1, 2, 3)) - TURNS) / WIDTH)
        last = torch.eye(len(DISEASES))[-1]
        return code + self.dose * bright[:, None] * last


@register
class OneCorruption(Organism):
    """Noise, blur, compression and loss of contrast leave the mean of a scan where it was; snow brightens it too."""

    name = "robustness.one-corruption"
    place = "robustness/distribution_shift"
    fault = f"A scan that is too bright is read as {DISEASES[-1]}, whatever the inputs tell."
    dose = "log-odds that a much too bright scan speaks for that disease"
    doses = (2.0, 4.0, 8.0, 16.0)
    # At 8 too much light outvotes everything else: two of three patients are misread.
    matters = 8.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ReadsBrightness(dose))
