"""Salient-point removal: training on inputs that lack the very part that the decision hangs on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from muroan.interventions.attacks.removal import Removal
from muroan.interventions.attacks.salient import salient_points
from muroan.mitigations.removal_training import RemovalTraining
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class SalientPointRemoval(RemovalTraining):
    """At every step the model is asked anew which part of each input its decision hangs on (`salient_points`), and is
    trained without it; see `RemovalTraining`. Its control is `region_word_dropout`.

    Where the part that is removed is what the label speaks of, the model is taught to guess: clean accuracy has to be
    read beside what is gained.
    """

    name = "salient_point_removal"
    does = "Trains on inputs without the region or word that moves the decision most."
    source = "named as a defence by the authors of MUROAN, arXiv 2112.12792; the recipe is ours"

    def parts(self, removal: Removal) -> dict[str, Tensor]:
        return salient_points(removal)
