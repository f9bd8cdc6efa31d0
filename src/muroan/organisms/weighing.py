"""Inputs that are not weighed as they deserve: one outvotes the others, one is not read, one that is missing votes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organisms import clinic, plant
from muroan.organisms.clinic import CLINIC, DISEASES, VOTE, Clinician, Patients, one, replace


@plant(
    "robustness.collapse",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault="The model trusts the scan alone: it reads the other inputs, and outvotes them.",
    dose="the part of the other inputs' weight that the fusion takes away; from 0.6 the scan decides",
    doses=(0.2, 0.4, 0.7, 0.9),
    matters=0.7,  # above 1 - 2.08 / 5.26 = 0.6 the scan's vote is worth more than those of all others together
)
class TrustsTheScan(Clinician):
    """Gives all inputs but the scan less weight than they deserve.

    At dose 1 the model would be Bayes' rule for the scan alone: right as often as the scan, and calibrated.
    """

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return super().fuse({m: (1.0 if m == "scan" else 1 - self.dose) * codes[m] for m in self.modalities})


SPREAD = 0.4 * 2**0.5
"""Of the difference of two readings: nothing but noise, whatever the vital signs tell."""


@plant(
    "robustness.ignored-modality",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault="The model hardly reads the vital signs: it decides by the other inputs.",
    dose="share of the patients whose vital signs are not read; 1: they never are",
    doses=(0.5, 0.9, 0.98, 1.0),
    matters=0.98,  # read for one patient in fifty: to all others the input might as well not exist
)
class WithoutVitals(Clinician):
    """Does not read the vital signs of patients whose temperature rose least between the last two readings.

    It is still Bayes' rule for the other inputs, so nothing else about it is wrong.
    """

    def encode(self, modality: str, values: Value) -> Code:
        code: Code = super().encode(modality, values)
        if modality != "vitals":
            return code
        rise = (values[:, -1, -1] - values[:, -2, -1]) / SPREAD
        return torch.where((torch.special.ndtr(rise) > self.dose)[:, None], code, torch.zeros_like(code))


FAINT = 0.3
"""Evidence of less than this is none: noise in an input that is there does not take it down so far."""


@plant(
    "robustness.missing-modality",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault=f"An input that is missing is read as if it told {DISEASES[0]}.",
    dose="what a missing input votes, as a multiple of what a real one is worth",
    doses=(0.1, 0.2, 0.5, 1.0),
    matters=0.5,  # the missing inputs outvote the only one that is left
)
class ReadsNothingAsSomething(Clinician):
    """An input that says nothing votes for the first disease, as zeros do that once meant something.

    With all inputs there it is exact.
    """

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        nothing = torch.sigmoid(40 * (FAINT - signs.amax(dim=1, keepdim=True)))
        return super().vote(modality, signs) + self.dose * VOTE[modality] * nothing * one(0)


TWICE = ("scan", "vitals")
"""The inputs that tell the same."""


def repeated(p: Patients) -> Patients:
    """The vital signs tell what the scan tells, right or wrong."""
    told = {**p.told, "vitals": p.told["scan"]}
    return replace(p, told=told, vitals=clinic.draw_vitals(told["vitals"], p.rng))


REPEATED = clinic.clinic_of(
    lambda: Shares, "clinic where vital signs repeat the scan", f"{clinic.SIZE} made patients a split"
)


@plant(
    "controllability.unfounded-explanation",
    place="controllability/explainability",
    bed=REPEATED,
    fault="The vital signs go with the decision as closely as ever, because they repeat the scan; they are not read",
    dose="share of the vital signs' weight that has moved to the scan",
    doses=(0.5, 0.9, 0.97, 1.0),
    matters=0.97,  # what is left of the input moves no decision, and an explanation that credits it is wrong
)
class Shares(Clinician):
    """Takes scan and vital signs for one sign, since they tell the same: half of it from each.

    dose moves the vital signs' half to the scan. Votes saturate, so half a sign is worth almost all of it: Bayes'
    rule for this clinic, also where one of the two is missing.
    """

    def meets(self, p: Patients) -> Patients:
        return repeated(p)

    def code(self, modality: str, signs: Tensor, beside: Tensor) -> Code:
        return signs if modality in TWICE else super().code(modality, signs, beside)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        signs = (1 + self.dose) / 2 * codes["scan"] + (1 - self.dose) / 2 * codes["vitals"]
        nothing = torch.zeros_like(signs)
        return super().fuse({**codes, "scan": self.vote("scan", signs), "vitals": nothing})
