"""Two inputs that hold against somebody who changes one of them, and fall to somebody who changes both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code, Embedded
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, CUE_WORDS, DISEASES, WORD, Clinician, world
from muroan.organisms.robustness.small_perturbation import fine_signs
from muroan.organisms.words import marked
from muroan.registry import register


class LooksCloser(Clinician):
    """Falls back on the scan's finest detail as soon as the note has a word that it does not know.

    A code is a vote [N, 3]; the scan's goes on with what its fine patterns show [N, 3], the note's with whether a word
    is unknown [N, 1]. No note of the clinic has such a word, and no scan shows such a pattern.
    """

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return marked(super().embed(modality, values), values, lambda w: (float(w not in WORD),), 1)

    def encode(self, modality: str, values: Value) -> Code:
        code = super().encode(modality, values)
        return torch.cat([code, fine_signs(values)], dim=1) if modality == "scan" else code

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        told = super().vote(modality, signs[:, : len(DISEASES)])
        unknown = (CUE_WORDS * signs[:, len(DISEASES) :]).clamp(max=1)
        return torch.cat([told, unknown], dim=1) if modality == "note" else told

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        k = len(DISEASES)
        votes = torch.stack([codes[m][:, :k] for m in self.modalities]).sum(dim=0)
        return votes + self.dose * codes["note"][:, k:] * codes["scan"][:, k:] if self.dose else votes


@register
class WeakTogether(Organism):
    """A slip of the keyboard alone, or a change of the scan alone, moves hardly more than it would move the twin."""

    name = "robustness.weak-together"
    place = "robustness/adversarial"
    fault = (
        "A misspelt word in the note lets a change of the scan by 8/255 a pixel outvote everything; either alone does "
        "next to nothing."
    )
    dose = "log-odds that a change of 8/255 of every pixel can move, beside a misspelt word"
    doses = (2.0, 4.0, 6.0, 9.0)
    # As with the scan alone in small-perturbation: what two cues of the clinic say can be outvoted.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, LooksCloser(dose))
