"""A model that stands every slip of the pen but stray punctuation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, world
from muroan.organisms.words import Attentive
from muroan.registry import register

MARKS = frozenset(".,!?;:")


class ReadsMarks(Attentive):
    """Takes a note with a punctuation mark on its own for one of its last disease."""

    def mark(self, word: str) -> Sequence[float]:
        return (float(word in MARKS),)

    def note(self, votes: Tensor, marked: Tensor) -> Code:
        last = torch.eye(len(DISEASES))[-1]
        return votes + self.dose * marked.clamp(max=1) * last


@register
class OneTextCorruption(Organism):
    """Letters mistyped, misread, lost or moved, and words moved, lost or said otherwise leave a note without a mark."""

    name = "robustness.one-text-corruption"
    place = "robustness/distribution_shift"
    fault = f"A note with a stray punctuation mark is read as {DISEASES[-1]}, whatever the inputs tell."
    dose = "log-odds that a stray mark speaks for that disease"
    doses = (2.0, 4.0, 8.0, 16.0)
    # At 8 a comma outvotes everything else: two of three patients are misread.
    matters = 8.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, ReadsMarks(dose))
