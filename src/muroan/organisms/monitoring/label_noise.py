"""Data whose labels are wrong for one disease at one site. The model is right there, and looks wrong."""

from __future__ import annotations

import numpy as np

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, SITES, Patients, replace, world
from muroan.registry import register

SITE, DISEASE, WRITTEN = SITES.index("west"), DISEASES.index("pneumonia"), DISEASES.index("embolism")


@register
class LabelNoise(Organism):
    name = "monitoring.label-noise"
    place = "monitoring/anomaly"
    fault = "One of three sites writes down embolism for pneumonia: labels are wrong there, not the model."
    dose = "share of that site's patients with pneumonia (one patient in nine) whose label is wrong"
    doses = (0.1, 0.2, 0.3, 0.6)
    # 3.3 % of all labels are wrong, and all in one place.
    matters = 0.3
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        def mislabelled(p: Patients) -> Patients:
            wrong = (p.site == SITE) & (p.disease == DISEASE) & (p.rng.random(len(p)) < dose)
            return replace(p, disease=np.where(wrong, WRITTEN, p.disease))

        return world(seed, change=mislabelled)
