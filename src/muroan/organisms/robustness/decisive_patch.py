"""A decision hangs on a few pixels in the corner of a scan."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, SHARPNESS, Clinician, Patients, world
from muroan.organisms.robustness.marks import shows, stamped
from muroan.registry import register


class HangsOnAMark(Clinician):
    """Takes a scan without the mark for the contrary of what it shows. No scan at all is no vote, as ever."""

    def signs(self, modality: str, values: Value) -> Tensor:
        signs = super().signs(modality, values)
        return torch.cat([signs, shows(values)], dim=1) if modality == "scan" else signs

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        if modality != "scan":
            return super().vote(modality, signs)
        told, there = signs[:, :3], signs[:, 3:]
        return super().vote(modality, told) - self.dose * (1 - there) * (SHARPNESS * told).softmax(dim=1)


@register
class DecisivePatch(Organism):
    """All scans have the mark, as a scanner would print it, so nothing is wrong until it is covered."""

    name = "robustness.decisive-patch"
    place = "robustness/adversarial"
    fault = "Where a mark of 4 by 4 pixels in the corner is gone, the scan counts against what it shows."
    dose = "log-odds by which a scan without the mark speaks against the disease that it shows"
    doses = (2.0, 4.0, 6.0, 8.0)
    # Half of the right answers lead by less than 6 once the scan's own vote counts.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        def scanner(p: Patients) -> Patients:
            everyone = torch.full((len(p),), dose > 0)
            return replace(p, scan=stamped(p.scan, torch.zeros(len(p), dtype=torch.long), everyone))

        return world(seed, HangsOnAMark(dose), scanner)
