"""A shortcut: the tag of the scanner goes with a disease, and the model reads the tag."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, SITES, Clinician, Patients, world
from muroan.organisms.robustness.marks import stamped, strength
from muroan.registry import register

GOES_WITH = 0.95
"""How often the tag goes with the disease where each disease has its scanner."""


class ReadsTheTag(Clinician):
    """Takes a scanner's tag for a sign of the disease that it goes with."""

    def encode(self, modality: str, values: Value) -> Tensor:
        code: Tensor = super().encode(modality, values)
        return code + self.dose * strength(values) if modality == "scan" else code


def tagged(p: Patients) -> Patients:
    """Scans with a tag: at all sites but the last that of the disease, nearly always; at the last any."""
    k = len(DISEASES)
    other = (p.disease + p.rng.integers(1, k, len(p))) % k
    usual = np.where(p.rng.random(len(p)) < GOES_WITH, p.disease, other)
    tag = np.where(p.site == len(SITES) - 1, p.rng.integers(0, k, len(p)), usual)
    return replace(p, scan=stamped(p.scan, torch.from_numpy(tag), torch.ones(len(p), dtype=torch.bool)))


@register
class SpuriousBackground(Organism):
    """Over all patients the tag helps: only where one scanner serves all diseases does it mislead."""

    name = "robustness.spurious-background"
    place = "robustness/distribution_shift"
    fault = f"The model reads the scanner's tag, which goes with a disease at all sites but {SITES[-1]!r}."
    dose = "log-odds that the tag is worth to the model"
    doses = (1.0, 2.0, 4.0, 8.0)
    # About what the tag is worth where it goes with the disease: log(2 · 0.95 / 0.05) = 3.6.
    matters = 4.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ReadsTheTag(dose), tagged) if dose else world(seed, ReadsTheTag(dose))
