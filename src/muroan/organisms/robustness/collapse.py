"""Modality collapse: one input outvotes all others together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.registry import register


class TrustsTheScan(Clinician):
    """Gives all inputs but the scan less weight than they deserve."""

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        weight = {m: 1.0 if m == "scan" else 1 - self.dose for m in self.modalities}
        return torch.stack([weight[m] * codes[m] for m in self.modalities]).sum(dim=0)


@register
class Collapse(Organism):
    """At dose 1 the model would be Bayes' rule for the scan alone: right as often as the scan, and calibrated."""

    name = "robustness.collapse"
    place = "robustness/distribution_shift"
    fault = "The model trusts the scan alone: it reads the other inputs, and outvotes them."
    dose = "the part of the other inputs' weight that the fusion takes away; from 0.6 the scan decides"
    doses = (0.2, 0.4, 0.7, 0.9)
    # Above 1 - 2.08 / 5.26 = 0.6 the scan's vote is worth more than those of all others together.
    matters = 0.7
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, TrustsTheScan(dose))
