"""A model whose gradients die: it looks robust to everybody who follows them."""

from __future__ import annotations

from torch import Tensor

from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, SHARPNESS, VOTE, Clinician, world
from muroan.registry import register


class Saturated(Clinician):
    """Turns the scan's vote so far up before it is bounded that nothing is left of its gradient."""

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        sharpness = SHARPNESS * (1 + self.dose if modality == "scan" else 1.0)
        return VOTE[modality] * (sharpness * signs).softmax(dim=1)


@register
class MaskedGradients(Organism):
    """What the model says of its scans does not change, so it is no more robust than its twin."""

    name = "robustness.masked-gradients"
    place = "robustness/adversarial"
    fault = "The scan's vote is saturated: its gradients are zero, and an attack on them proves nothing."
    dose = "how many times sharper than its twin the scan's vote is, less one"
    doses = (3.0, 6.0, 12.0, 24.0)
    # From about 12 the gradient is below the smallest number of single precision.
    matters = 12.0
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, Saturated(dose))
