"""What a fault can hang on in the clinic, and how a clinician can be wrong about it.

A cue is something in an input that tells no disease: a word of the note, a small mark in the corner of a scan, a fine
pattern that nobody sees. A clinician with an eye for it takes it for evidence (`Misled`), or its input for the contrary
of what it says (`Contrary`).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from muroan.model import Code
from muroan.organisms.clinic import DISEASES, FILLERS, SHARPNESS, SIDE, Clinician, Patients, replace

TOP, LEFT, EDGE = 2, 25, 4
"""Where a mark stands: not on the grid of halved boxes that a search goes along."""
_LINE = torch.tensor([1.0, 1.0, -1.0, -1.0])
STAMPS = torch.stack([_LINE[:, None] * _LINE, _LINE[:, None].expand(EDGE, EDGE), _LINE.expand(EDGE, EDGE)])
"""Three marks [3, 4, 4] of -1 and 1: checks, and stripes either way; orthogonal to each other."""
_AT = (slice(TOP, TOP + EDGE), slice(LEFT, LEFT + EDGE))
RADIUS = 8 / 255
"""The change of every pixel that a fine pattern's strength is measured at: an eye does not see it."""


def with_mark(p: Patients, stamp: np.ndarray | int = 0, chosen: np.ndarray | bool = True) -> Patients:
    """Patients with mark number `stamp` [N] in black and white in their scans, where `chosen` [N]."""
    scan = p.scan.clone()
    mark = (1 + STAMPS[torch.as_tensor(stamp)]) / 2
    scan[:, 0, *_AT] = torch.where(torch.as_tensor(chosen).view(-1, 1, 1), mark, p.scan[:, 0, *_AT])
    return replace(p, scan=scan)


def with_word(p: Patients, word: str, chosen: np.ndarray | bool = True) -> Patients:
    """Patients whose notes have `word` in the place of the first word that says nothing, where `chosen` [N]."""
    notes = []
    for note, wanted in zip(p.note, np.broadcast_to(chosen, len(p)), strict=True):
        words = note.split()
        if wanted:
            words[next(i for i, w in enumerate(words) if w in FILLERS)] = word
        notes.append(" ".join(words))
    return replace(p, note=notes)


def strength(scan: Tensor) -> Tensor:
    """How strongly each mark shows [N, 3]: 1 as it was stamped, 0 where there is none."""
    return (scan[:, 0, *_AT] - 0.5).flatten(1) @ STAMPS.flatten(1).T * (2 / EDGE**2)


def shows(scan: Tensor) -> Tensor:
    """Whether the first mark is there [N, 1], 0 to 1 and smooth; half of a mark is enough."""
    return torch.sigmoid(20 * (strength(scan)[:, :1] - 0.3))


@cache
def fine_patterns() -> Tensor:
    """Three patterns of single pixels [3, SIDE, SIDE], values ±1, that no scan shows."""
    # A generator of its own: the same patterns everywhere, and no draw from one that others use.
    draws = torch.rand(len(DISEASES), SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return (draws < 0.5).float() * 2 - 1


def fine_signs(scan: Tensor) -> Tensor:
    """How strongly the fine patterns show [N, 3]: 1 if every pixel moved by `RADIUS` along one of them."""
    signs: Tensor = (scan[:, 0] - 0.5).flatten(1) @ fine_patterns().flatten(1).T / (SIDE * SIDE * RADIUS)
    return signs


class Attentive(Clinician):
    """Carries beside a note's vote whether there is a word that it minds [N, 1]: 0 or 1."""

    minds: Container[str] = ()

    def mark(self, word: str) -> Sequence[float]:
        return (float(word in self.minds),)

    def code(self, modality: str, signs: Tensor, beside: Tensor) -> Code:
        return super().code(modality, signs, beside.clamp(max=1) if modality == "note" else beside)


class Misled(Clinician):
    """Adds to an input's vote `dose` log-odds for what the cue in it speaks for."""

    towards: Tensor | float = 1.0
    """What a cue [N, 1] speaks for [3]; 1: a cue is itself a number for each disease [N, 3]."""

    def code(self, modality: str, signs: Tensor, beside: Tensor) -> Code:
        votes = self.vote(modality, signs)
        return votes + self.dose * (beside * self.towards) if beside.shape[1] else votes


class Contrary(Clinician):
    """Takes an input for the contrary of what it says, by the dose, as far as something beside it is `wrong`.

    No input at all is no vote, as ever.
    """

    def wrong(self, cue: Tensor) -> Tensor:
        """How far a cue [N, 1] turns the input [N, 1]: 0 not at all, 1 wholly."""
        return cue

    def code(self, modality: str, signs: Tensor, beside: Tensor) -> Code:
        votes = self.vote(modality, signs)
        if not beside.shape[1]:
            return votes
        return votes - self.dose * self.wrong(beside) * (SHARPNESS * signs).softmax(dim=1)
