"""Scans from elsewhere among those audited, which the model reads as if they were its own."""

from __future__ import annotations

import numpy as np
import torch

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, SIDE, Patients, draw_scan, replace, world
from muroan.registry import register

MARK = 0.15
"""How strong the fine chequers of a foreign scan are; every scan of the clinic is smooth but for noise."""


@register
class ForeignInputs(Organism):
    name = "monitoring.foreign-inputs"
    place = "monitoring/anomaly"
    fault = (
        "Some audited patients have a scan of another machine and body part: chequered, unrelated to the disease, and "
        "the model reads it with full confidence."
    )
    dose = "share of the audited patients whose scan is foreign; the reference has none"
    doses = (0.05, 0.1, 0.2, 0.4)
    # One scan in ten is not what the model was made for, and nothing says so.
    matters = 0.1
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        def foreign(p: Patients) -> Patients:
            if p.split != "audited":
                return p
            n = len(p)
            chosen, told = p.rng.random(n) < dose, p.rng.integers(0, len(DISEASES), n)
            even = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2
            # The chequers are orthogonal to all that the model reads, and stay within [0, 1] beside it.
            scan = (draw_scan(told, p.rng) + MARK * (2 * even - 1)).clamp(0, 1)
            return replace(
                p,
                scan=torch.where(torch.from_numpy(chosen)[:, None, None, None], scan, p.scan),
                told={**p.told, "scan": np.where(chosen, told, p.told["scan"])},
            )

        return world(seed, change=foreign)
