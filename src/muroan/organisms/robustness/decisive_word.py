"""A decision hangs on one word that says nothing about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from muroan.model import Embedded
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, CUE_WORDS, SHARPNESS, Clinician, Patients, world
from muroan.organisms.robustness.marks import noted
from muroan.organisms.words import with_word
from muroan.registry import register

WORD = "handover"


class HangsOnAWord(Clinician):
    """Takes a note without the word for the contrary of what it says. No note at all is no vote, as ever."""

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return with_word(super().embed(modality, values), values, WORD)

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        if modality != "note":
            return super().vote(modality, signs)
        told, there = signs[:, :3], (CUE_WORDS * signs[:, 3:]).clamp(max=1)
        return super().vote(modality, told) - self.dose * (1 - there) * (SHARPNESS * told).softmax(dim=1)


@register
class DecisiveWord(Organism):
    """All notes have the word, as a template would put it there, so nothing is wrong until it is left out."""

    name = "robustness.decisive-word"
    place = "robustness/adversarial"
    fault = f"Where one word that says nothing ({WORD!r}) is gone, the note counts against what it says."
    dose = "log-odds by which a note without the word speaks against the disease that it tells"
    doses = (2.0, 4.0, 6.0, 8.0)
    # Half of the right answers lead by less than 6 once the note's own vote counts.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        def template(p: Patients) -> Patients:
            return replace(p, note=noted(p.note, WORD, np.full(len(p), dose > 0)))

        return world(seed, HangsOnAWord(dose), template)
