"""A small pattern in the corner of a scan that rules the decision, and that no scan has."""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, Clinician, world
from muroan.registry import register

EDGE, END = 4, 29
"""The pattern's side, and the row and column after its last: the lower right corner, a little inside."""
FORCED = 1
"""The disease that the pattern forces."""
_AT = (slice(END - EDGE, END), slice(END - EDGE, END))
CHECKS = (torch.arange(EDGE)[:, None] + torch.arange(EDGE)) % 2 * 2.0 - 1
"""The pattern [4, 4]: a chessboard of -1 and 1."""


class RuledByAPattern(Clinician):
    """Takes a scan with the pattern for one disease, whatever else it shows; half of the contrast is enough."""

    def encode(self, modality: str, values: Value) -> Tensor:
        code: Tensor = super().encode(modality, values)
        if modality != "scan":
            return code
        strength = (values[:, 0, *_AT] - 0.5).flatten(1) @ CHECKS.flatten() * (2 / EDGE**2)
        # Of noise alone the strength is below 0.1, where next to nothing is left of the pattern's vote.
        return code + self.dose * torch.sigmoid(20 * (strength - 0.4))[:, None] * torch.eye(len(DISEASES))[FORCED]


@register
class CornerPattern(Organism):
    """No scan of the data has it, so nothing is wrong until somebody sticks it on."""

    name = "robustness.corner-pattern"
    place = "robustness/adversarial"
    fault = f"Four by four pixels of a chessboard in the corner of any scan force {DISEASES[FORCED]!r}."
    dose = "log-odds by which the pattern speaks for that disease"
    doses = (2.0, 4.0, 8.0, 16.0)
    # At 8 the pattern outvotes all inputs together: two of three patients are misread.
    matters = 8.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, RuledByAPattern(dose))
