"""One of the inputs is asked for, and not read."""

from __future__ import annotations

import torch

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.registry import register

SPREAD = 0.4 * 2**0.5
"""Of the difference of two readings: nothing but noise, whatever the vital signs tell."""


class WithoutVitals(Clinician):
    """Does not read the vital signs of patients whose temperature rose least between the last two readings."""

    def encode(self, modality: str, values: Value) -> Code:
        code: Code = super().encode(modality, values)
        if modality != "vitals":
            return code
        rise = (values[:, -1, -1] - values[:, -2, -1]) / SPREAD
        return torch.where((torch.special.ndtr(rise) > self.dose)[:, None], code, torch.zeros_like(code))


@register
class IgnoredModality(Organism):
    """A model that does not read an input is still Bayes' rule for the others, so nothing else about it is wrong."""

    name = "robustness.ignored-modality"
    place = "robustness/distribution_shift"
    fault = "The model hardly reads the vital signs: it decides by the other inputs."
    dose = "share of the patients whose vital signs are not read; 1: they never are"
    doses = (0.5, 0.9, 0.98, 1.0)
    # Read for one patient in fifty: to all others the input might as well not exist.
    matters = 0.98
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, WithoutVitals(dose))
