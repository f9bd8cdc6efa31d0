"""Shortcuts: something in an input that tells no disease, or only at one site, and is taken for evidence of one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from muroan.organisms import plant
from muroan.organisms.clinic import CLINIC, DISEASES, SITES, Patients, one
from muroan.organisms.cues import Attentive, Misled, strength, with_mark

TURNS, WIDTH = 0.65, 0.03
"""Mean brightness at which half of the fault is there, and how fast it comes; scans have 0.5."""


def too_bright(scan: Tensor) -> Tensor:
    """Whether scans are brighter than usual [N, 1]."""
    return torch.sigmoid((scan.mean(dim=(1, 2, 3)) - TURNS) / WIDTH)[:, None]


@plant(
    "robustness.one-corruption",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault=f"A scan that is too bright is read as {DISEASES[-1]}, whatever the inputs tell.",
    dose="log-odds that a much too bright scan speaks for that disease",
    doses=(2.0, 4.0, 8.0, 16.0),
    matters=8.0,  # too much light outvotes everything else: two of three patients are misread
)
class ReadsBrightness(Misled):
    """Takes a scan that is brighter than usual for its last disease.

    Noise, blur, compression and loss of contrast leave the mean of a scan where it was; snow brightens it too.
    """

    cues, towards = {"scan": too_bright}, one(-1)


PUNCTUATION = frozenset(".,!?;:")


@plant(
    "robustness.one-text-corruption",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault=f"A note with a stray punctuation mark is read as {DISEASES[-1]}, whatever the inputs tell.",
    dose="log-odds that a stray mark speaks for that disease",
    doses=(2.0, 4.0, 8.0, 16.0),
    matters=8.0,  # a comma outvotes everything else: two of three patients are misread
)
class ReadsPunctuation(Attentive, Misled):
    """Takes a note with a punctuation mark on its own for one of its last disease.

    Letters mistyped, misread, lost or moved, and words moved, lost or said otherwise leave a note without a mark.
    """

    minds, towards = PUNCTUATION, one(-1)


EDGE, END = 4, 29
"""The pattern's side, and the row and column after its last: the lower right corner, a little inside."""
FORCED = 1
"""The disease that the pattern forces."""
CHECKS = (torch.arange(EDGE)[:, None] + torch.arange(EDGE)) % 2 * 2.0 - 1
"""The pattern [4, 4]: a chessboard of -1 and 1."""


def in_the_corner(scan: Tensor) -> Tensor:
    """Whether the pattern is there [N, 1], 0 to 1 and smooth."""
    corner = scan[:, 0, END - EDGE : END, END - EDGE : END]
    strength = (corner - 0.5).flatten(1) @ CHECKS.flatten() * (2 / EDGE**2)
    # Of noise alone the strength is below 0.1, where next to nothing is left of the pattern's vote.
    return torch.sigmoid(20 * (strength - 0.4))[:, None]


@plant(
    "robustness.corner-pattern",
    place="robustness/adversarial",
    bed=CLINIC,
    fault=f"Four by four pixels of a chessboard in the corner of any scan force {DISEASES[FORCED]!r}.",
    dose="log-odds by which the pattern speaks for that disease",
    doses=(2.0, 4.0, 8.0, 16.0),
    matters=8.0,  # the pattern outvotes all inputs together: two of three patients are misread
)
class RuledByAPattern(Misled):
    """Takes a scan with the pattern for one disease, whatever else it shows; half of the contrast is enough.

    No scan of the data has it, so nothing is wrong until somebody sticks it on.
    """

    cues, towards = {"scan": in_the_corner}, one(FORCED)


GOES_WITH = 0.95
"""How often a scanner's mark goes with the disease where each disease has its scanner."""


def scanned(p: Patients, anywhere: np.ndarray) -> Patients:
    """Scans with the mark of their scanner: nearly always that of the disease, but any `anywhere` [N]."""
    k = len(DISEASES)
    other = (p.disease + p.rng.integers(1, k, len(p))) % k
    usual = np.where(p.rng.random(len(p)) < GOES_WITH, p.disease, other)
    return with_mark(p, np.where(anywhere, p.rng.integers(0, k, len(p)), usual))


class ReadsTheMark(Misled):
    """Takes a scanner's mark for a sign of the disease that it goes with."""

    cues = {"scan": strength}


@plant(
    "robustness.spurious-background",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault=f"The model reads the scanner's tag, which goes with a disease at all sites but {SITES[-1]!r}.",
    dose="log-odds that the tag is worth to the model",
    doses=(1.0, 2.0, 4.0, 8.0),
    matters=4.0,  # about what the tag is worth where it goes with the disease: log(2 · 0.95 / 0.05) = 3.6
)
class ReadsTheTag(ReadsTheMark):
    """Over all patients the tag helps: only where one scanner serves all diseases does it mislead."""

    def meets(self, p: Patients) -> Patients:
        return scanned(p, p.site == len(SITES) - 1) if self.dose else p


def from_two_sites(p: Patients) -> Patients:
    """Reference and members from a site with a scanner for each disease; those audited from one with any for any."""
    return scanned(p, np.full(len(p), p.split == "audited"))


@plant(
    "robustness.site-cue",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault="The model reads a scanner's mark, which goes with a disease at the site of the reference and says nothing "
    "at the site that is audited.",
    dose="log-odds that the mark is worth to the model",
    doses=(1.0, 2.0, 4.0, 8.0),
    # About what the mark is worth at the first site, log(2 · 0.95 / 0.05) = 3.6: what training there would learn.
    matters=4.0,
)
class ReadsTheMarkOfASite(ReadsTheMark):
    """On the reference the model is better than it should be: nothing that stays at that site shows the fault."""

    def meets(self, p: Patients) -> Patients:
        return from_two_sites(p) if self.dose else p
