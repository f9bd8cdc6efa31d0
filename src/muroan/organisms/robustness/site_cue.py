"""A shortcut that holds at one site: the mark of its scanners goes with the disease, and the model reads the mark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, Clinician, Patients, world
from muroan.organisms.robustness.marks import stamped, strength
from muroan.registry import register

GOES_WITH = 0.95
"""How often the mark goes with the disease at the site that the model was made at."""


class ReadsTheMark(Clinician):
    """Takes a scanner's mark for a sign of the disease that it goes with at the first site."""

    def encode(self, modality: str, values: Value) -> Tensor:
        code: Tensor = super().encode(modality, values)
        return code + self.dose * strength(values) if modality == "scan" else code


def from_two_sites(p: Patients) -> Patients:
    """Reference and members from a site with a scanner for each disease; those audited from one with any for any."""
    k = len(DISEASES)
    other = (p.disease + p.rng.integers(1, k, len(p))) % k
    here = np.where(p.rng.random(len(p)) < GOES_WITH, p.disease, other)
    mark = p.rng.integers(0, k, len(p)) if p.split == "audited" else here
    return replace(p, scan=stamped(p.scan, torch.from_numpy(mark), torch.ones(len(p), dtype=torch.bool)))


@register
class SiteCue(Organism):
    """On the reference the model is better than it should be: nothing that stays at that site shows the fault."""

    name = "robustness.site-cue"
    place = "robustness/distribution_shift"
    fault = (
        "The model reads a scanner's mark, which goes with a disease at the site of the reference and says nothing at "
        "the site that is audited."
    )
    dose = "log-odds that the mark is worth to the model"
    doses = (1.0, 2.0, 4.0, 8.0)
    # About what the mark is worth at the first site, log(2 · 0.95 / 0.05) = 3.6: what training there would learn.
    matters = 4.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ReadsTheMark(dose), from_two_sites) if dose else world(seed, ReadsTheMark(dose))
