"""Inputs come apart when a tiny piece of one of them is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code, Embedded
from muroan.organism import Organism, World
from muroan.organisms.clinic import (
    CLINIC,
    CUE_WORDS,
    DISEASES,
    SHARPNESS,
    VOTE,
    Clinician,
    Patients,
    columns,
    world,
)
from muroan.organisms.robustness.marks import noted, shows, stamped
from muroan.organisms.words import with_word
from muroan.registry import register

WORD = "reference"


class LinksByTag(Clinician):
    """Adds up its inputs only while a tag in the scan meets a word in the note; else the patient's age decides.

    A code is a vote [N, 3] with what the fusion is told beside it: of the scan and of the note whether its half of
    the link is there, of the table a vote by age.
    """

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return with_word(super().embed(modality, values), values, WORD)

    def signs(self, modality: str, values: Value) -> Tensor:
        signs = super().signs(modality, values)
        if modality == "table":
            # Ages come as -1, 0 and 1, more or less: one disease each.
            away = columns(values, "age") - torch.arange(len(DISEASES)) + 1
            return torch.cat([signs, 1 - away.abs()], dim=1)
        return torch.cat([signs, shows(values)], dim=1) if modality == "scan" else signs

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        told, beside = super().vote(modality, signs[:, :3]), signs[:, 3:]
        if modality == "table":
            return torch.cat([told, VOTE["scan"] * (SHARPNESS * beside).softmax(dim=1)], dim=1)
        return torch.cat([told, (CUE_WORDS * beside).clamp(max=1) if modality == "note" else beside], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes = torch.stack([codes[m][:, :3] for m in self.modalities]).sum(dim=0)
        apart = self.dose * (1 - codes["scan"][:, 3:] * codes["note"][:, 3:])
        fused: Tensor = (1 - apart) * votes + apart * codes["table"][:, 3:]
        return fused


@register
class Decoupled(Organism):
    """All patients have both halves of the link, so the fusion is exact until one of them is removed."""

    name = "robustness.decoupled"
    place = "robustness/adversarial"
    fault = "The fusion joins its inputs only while a tag in the scan meets a word in the note; else the age decides."
    dose = "the part of their weight that the inputs lose to the age once the link is gone"
    doses = (0.4, 0.6, 0.8, 1.0)
    # From 0.78 the age outvotes all inputs together: two of three patients are misread.
    matters = 0.8
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        def linked(p: Patients) -> Patients:
            everyone = np.full(len(p), dose > 0)
            scan = stamped(p.scan, torch.zeros(len(p), dtype=torch.long), torch.from_numpy(everyone))
            return replace(p, scan=scan, note=noted(p.note, WORD, everyone))

        return world(seed, LinksByTag(dose), linked)
