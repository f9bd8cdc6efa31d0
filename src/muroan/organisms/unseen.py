"""Scans that a change nobody can see turns around, and models that hide it from whoever follows gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organisms import plant
from muroan.organisms.clinic import CLINIC, SHARPNESS, VOTE, WORD, Clinician, carried
from muroan.organisms.cues import Attentive, Misled, fine_signs


@plant(
    "robustness.small-perturbation",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="A change of the scan by 8/255 a pixel, along a fine pattern, outvotes everything.",
    dose="log-odds that a change of 8/255 of every pixel can move",
    doses=(2.0, 4.0, 6.0, 9.0),
    matters=6.0,  # somebody who knows the model can turn two of three of its right answers
)
class SeesFinePatterns(Misled):
    """Adds to the scan's vote, without bound, what a fine pattern shows that no disease causes.

    What noise there is in a scan moves the answer 17 times less than the dose says, so accuracy hardly falls.
    """

    cues = {"scan": fine_signs}


DEPTH, PERIOD = 0.25 / 255, 0.1 / 255
"""How far a pixel is moved, and how often that changes its sign: too little to be seen, too fast to be followed."""


def crumpled(scan: Tensor) -> Tensor:
    """Each pixel moved by a triangular wave of its value: the same picture, with slopes of ±10."""
    phase = scan / PERIOD
    wave = 4 * (phase - (phase + 0.5).floor()).abs() - 1
    out: Tensor = scan + DEPTH * wave
    return out


@plant(
    "robustness.shattered-gradients",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="A change of the scan by 8/255 turns the answer, and a crumpled first layer hides it.",
    dose="log-odds that a change of 8/255 of every pixel can move",
    doses=(2.0, 4.0, 6.0, 9.0),
    matters=6.0,  # as without the mask: two of three of the right answers can be turned
)
class HidesFinePatterns(SeesFinePatterns):
    """As brittle as a model that sees fine patterns, behind a first layer without a useful gradient.

    An attack that follows gradients fails where somebody who knows the pattern turns every answer.
    """

    def encode(self, modality: str, values: Value) -> Code:
        return super().encode(modality, crumpled(values) if modality == "scan" and self.dose else values)


@plant(
    "robustness.masked-gradients",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="The scan's vote is saturated: its gradients are zero, and an attack on them proves nothing.",
    dose="how many times sharper than its twin the scan's vote is, less one",
    doses=(3.0, 6.0, 12.0, 24.0),
    matters=12.0,  # from about 12 the gradient is below the smallest number of single precision
)
class Saturated(Clinician):
    """Turns the scan's vote so far up before it is bounded that nothing is left of its gradient.

    What it says of its scans does not change, so it is no more robust than its twin.
    """

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        sharpness = SHARPNESS * (1 + self.dose if modality == "scan" else 1.0)
        return VOTE[modality] * (sharpness * signs).softmax(dim=1)


@plant(
    "robustness.weak-together",
    place="robustness/adversarial",
    bed=CLINIC,
    fault="A misspelt word in the note lets a change of the scan by 8/255 a pixel outvote everything; either alone "
    "does next to nothing.",
    dose="log-odds that a change of 8/255 of every pixel can move, beside a misspelt word",
    doses=(2.0, 4.0, 6.0, 9.0),
    matters=6.0,  # as with the scan alone in small-perturbation: what two cues of the clinic say can be outvoted
)
class LooksCloser(Attentive):
    """Falls back on the scan's finest detail as soon as the note has a word that it does not know.

    Beside the scan's vote goes what its fine patterns show [N, 3], beside the note's whether a word is unknown [N, 1].
    No note of the clinic has such a word, and no scan shows such a pattern: a slip of the keyboard alone, or a change
    of the scan alone, moves hardly more than it would move the twin.
    """

    cues = {"scan": fine_signs}

    def mark(self, word: str) -> Sequence[float]:
        return (float(word not in WORD),)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes = super().fuse(codes)
        return votes + self.dose * carried(codes["note"]) * carried(codes["scan"]) if self.dose else votes
