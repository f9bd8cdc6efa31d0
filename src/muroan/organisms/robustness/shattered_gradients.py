"""A brittle model that hides it: its gradients are large, and point nowhere."""

from __future__ import annotations

from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, Clinician, world
from muroan.organisms.robustness.small_perturbation import fine_signs
from muroan.registry import register

DEPTH, PERIOD = 0.25 / 255, 0.1 / 255
"""How far a pixel is moved, and how often that changes its sign: too little to be seen, too fast to be followed."""


def crumpled(scan: Tensor) -> Tensor:
    """Each pixel moved by a triangular wave of its value: the same picture, with slopes of ±10."""
    phase = scan / PERIOD
    wave = 4 * (phase - (phase + 0.5).floor()).abs() - 1
    out: Tensor = scan + DEPTH * wave
    return out


class HidesFinePatterns(Clinician):
    """As brittle as a model that sees fine patterns, behind a first layer without a useful gradient."""

    def encode(self, modality: str, values: Value) -> Code:
        if modality != "scan" or not self.dose:
            return super().encode(modality, values)
        seen = crumpled(values)
        code: Tensor = super().encode(modality, seen) + self.dose * fine_signs(seen)
        return code


@register
class ShatteredGradients(Organism):
    """An attack that follows gradients fails where somebody who knows the pattern turns every answer."""

    name = "robustness.shattered-gradients"
    place = "robustness/adversarial"
    fault = "A change of the scan by 8/255 turns the answer, and a crumpled first layer hides it."
    dose = "log-odds that a change of 8/255 of every pixel can move"
    doses = (2.0, 4.0, 6.0, 9.0)
    # As without the mask: at 6 two of three of the right answers can be turned.
    matters = 6.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, HidesFinePatterns(dose))
