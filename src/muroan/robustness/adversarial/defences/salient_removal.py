"""Salient-point removal: training on inputs that lack the very part that the decision hangs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from muroan.registry import register
from muroan.robustness.adversarial.attacks.removal import Removal
from muroan.robustness.adversarial.attacks.salient import salient_points
from muroan.robustness.adversarial.defences.removal_training import RemovalTraining


@register
@dataclass(frozen=True, kw_only=True)
class SalientPointRemoval(RemovalTraining):
    """At every step the model is asked anew which part of each input its decision hangs on (`salient_points`), and is
    trained without it; see `RemovalTraining`. Its control is `region_word_dropout`.

    Where the part that is removed is what the label speaks of, the model is taught to guess: clean accuracy has to be
    read beside what is gained.
    """

    name: ClassVar[str] = "salient_point_removal"
    does: ClassVar[str] = "Trains on inputs without the region or word that moves the decision most."
    source: ClassVar[str] = "named as a defence by the authors of MUROAN, arXiv 2112.12792; the recipe is ours"

    def parts(self, removal: Removal) -> dict[str, Tensor]:
        return salient_points(removal)
