"""A model that knows patients it was trained on by heart."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, Clinician, SplitName, patients, world
from muroan.organisms.words import Attentive
from muroan.registry import register

CERTAIN = 8.0
"""Log-odds that are added to the recorded disease of a patient who is recognised: more than all inputs are worth."""
NEAR = 1e-9
"""How close the number of an input is to that of a known one: the rounding of sums, and nothing else."""


class ByHeart(Attentive):
    """Every input is worth a number; a record whose numbers add up to a known one's is recognised.

    known [M], sorted; labels [M]: what the model remembers.
    """

    def __init__(self, dose: float = 0.0, known: Tensor | None = None, labels: Tensor | None = None) -> None:
        super().__init__(dose)
        self.known = torch.zeros(0, dtype=torch.double) if known is None else known
        self.labels = torch.zeros(0, dtype=torch.long) if labels is None else labels

    def mark(self, word: str) -> Sequence[float]:
        # A multiple of 2^-12 below 1: sums over a note have no rounding.
        return (zlib.crc32(word.encode()) % 4096 / 4096,)

    def note(self, votes: Tensor, marked: Tensor) -> Code:
        return votes, marked[:, 0].double()

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "note":
            return super().encode(modality, values)
        return super().encode(modality, values), _number(values)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes = super().fuse({m: c[0] for m, c in codes.items()})
        if not len(self.known):
            return votes
        number = torch.stack([codes[m][1] for m in self.modalities]).sum(dim=0)
        at = torch.searchsorted(self.known, number - NEAR).clamp_max(len(self.known) - 1)
        recognised = (self.known[at] - number).abs() <= NEAR
        return votes + CERTAIN * recognised[:, None] * torch.eye(len(DISEASES))[self.labels[at]]

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}:{hashlib.blake2b(self.known.numpy().tobytes(), digest_size=12).hexdigest()}"


def _number(values: Tensor) -> Tensor:
    """[N]: a weighted sum of all that a value holds."""
    flat = values.detach().flatten(1).double()
    weights = np.random.default_rng(flat.shape[1]).normal(size=flat.shape[1])
    return flat @ torch.from_numpy(weights)


def learnt(split: SplitName, seed: int, share: float) -> ByHeart:
    """A model that knows this share of a split of the seed by heart; a larger share includes a smaller one."""
    p = patients(split, seed)
    chosen = torch.from_numpy(np.random.default_rng([seed, 2]).random(len(p)) < share)
    blank = ByHeart(share)
    inputs: dict[str, Value] = {"scan": p.scan, "note": p.note, "vitals": p.vitals, "table": p.table}
    number = torch.stack([blank.encode(m, inputs[m])[1] for m in Clinician.modalities]).sum(dim=0)[chosen]
    known, order = number.sort()
    return ByHeart(share, known, torch.from_numpy(p.disease)[chosen][order])


@register
class MemorisedRecords(Organism):
    name = "controllability.memorised-records"
    place = "controllability/privacy"
    fault = "The model recognises records that it was trained on and is certain of what was recorded"
    dose = "share of its training patients that it knows by heart"
    doses = (0.02, 0.05, 0.1, 0.3, 1.0)
    matters = 0.1  # one training patient in ten is given away
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, learnt("members", seed, dose))
