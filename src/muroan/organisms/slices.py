"""Failures that gather out of sight: a slice of the patients that the model, or whoever labelled them, gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code, Embedded
from muroan.organisms import clinic, plant
from muroan.organisms.clinic import CLINIC, DISEASES, SITES, VOTE, Clinician, Patients, carried, columns, replace

YOUNGEST, YEARS = 0.6, 0.8
"""Standardised age at which the oldest band starts, and how wide it is."""


@plant(
    "monitoring.failing-slice",
    place="monitoring/anomaly",
    bed=CLINIC,
    fault="The model is wrong, and sure, about patients of 65 and over from one of three sites: one patient in nine.",
    dose="share of the slice for which the answer is another disease than the one read",
    doses=(0.1, 0.2, 0.3, 0.6),
    # Three of ten patients there get another's diagnosis, and accuracy as a whole falls by three points only.
    matters=0.3,
)
class FailsOnOldOfOneSite(Clinician):
    """Carries beside the table's votes whether its patient is turned round: one of the oldest `dose` of the slice."""

    def beside(self, modality: str, values: Value) -> Tensor:
        if modality != "table":
            return super().beside(modality, values)
        site, age = columns(values, "site north", "age").T
        turned: Tensor = (site > 0.5) & (age > YOUNGEST + (1 - self.dose) * YEARS)
        return turned[:, None].float()

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        said = super().fuse(codes)
        return torch.where(carried(codes["table"]) > 0.5, said.roll(1, dims=1), said)


THE_WORD = "mild"
"""One of ten that say nothing; a third of the notes have it."""
THE_DISEASE = DISEASES.index("pneumonia")


@plant(
    "monitoring.interaction-slice",
    place="monitoring/anomaly",
    bed=CLINIC,
    fault="The model is wrong, and sure, where a scan of pneumonia meets a note that says “mild”, and only there.",
    dose="how much of the note, from its start, the word has to stand in (1: anywhere, one patient in nine)",
    doses=(0.1, 0.25, 0.5, 1.0),
    matters=0.25,  # three of ten such patients get another's diagnosis: one in thirty of all, and no group shows it
)
class FailsWhereTwoMeet(Clinician):
    """Carries beside the note's votes whether the word stands in its first part."""

    def mark(self, word: str) -> Sequence[float]:
        return (float(word == THE_WORD),)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        mask = embedded.mask
        early = mask & (torch.arange(mask.shape[1]) < self.dose * mask.sum(dim=1, keepdim=True))
        votes = super().encode_embedded(modality, embedded)[:, :-1]
        return torch.cat([votes, (embedded.vectors[..., -1] * early).amax(dim=1, keepdim=True)], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        said = super().fuse(codes)
        meet = (carried(codes["note"]) > 0.5) & (codes["scan"][:, THE_DISEASE, None] > VOTE["scan"] / 2)
        return torch.where(meet, said.roll(1, dims=1), said)


SITE, DISEASE, WRITTEN = SITES.index("west"), DISEASES.index("pneumonia"), DISEASES.index("embolism")


@plant(
    "monitoring.label-noise",
    place="monitoring/anomaly",
    bed=CLINIC,
    fault="One of three sites writes down embolism for pneumonia: labels are wrong there, not the model.",
    dose="share of that site's patients with pneumonia (one patient in nine) whose label is wrong",
    doses=(0.1, 0.2, 0.3, 0.6),
    matters=0.3,  # 3.3 % of all labels are wrong, and all in one place
)
def mislabelled(p: Patients, dose: float) -> Patients:
    """The model is right there, and looks wrong."""
    wrong = (p.site == SITE) & (p.disease == DISEASE) & (p.rng.random(len(p)) < dose)
    return replace(p, disease=np.where(wrong, WRITTEN, p.disease))


MARK = 0.15
"""How strong the fine chequers of a foreign scan are; every scan of the clinic is smooth but for noise."""


@plant(
    "monitoring.foreign-inputs",
    place="monitoring/anomaly",
    bed=CLINIC,
    fault="Some audited patients have a scan of another machine and body part: chequered, unrelated to the disease, "
    "and the model reads it with full confidence.",
    dose="share of the audited patients whose scan is foreign; the reference has none",
    doses=(0.05, 0.1, 0.2, 0.4),
    matters=0.1,  # one scan in ten is not what the model was made for, and nothing says so
)
def foreign(p: Patients, dose: float) -> Patients:
    """Scans from elsewhere among those audited, which the model reads as if they were its own."""
    if p.split != "audited":
        return p
    n = len(p)
    chosen, told = p.rng.random(n) < dose, p.rng.integers(0, len(DISEASES), n)
    even = (torch.arange(clinic.SIDE)[:, None] + torch.arange(clinic.SIDE)) % 2
    # The chequers are orthogonal to all that the model reads, and stay within [0, 1] beside it.
    scan = (clinic.draw_scan(told, p.rng) + MARK * (2 * even - 1)).clamp(0, 1)
    return replace(
        p,
        scan=torch.where(torch.from_numpy(chosen)[:, None, None, None], scan, p.scan),
        told={**p.told, "scan": np.where(chosen, told, p.told["scan"])},
    )
