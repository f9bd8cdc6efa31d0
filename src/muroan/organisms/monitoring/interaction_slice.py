"""A model that fails only where a scan of one disease meets a note with one word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code, Embedded
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, VOTE, Clinician, world
from muroan.registry import register

THE_WORD = "mild"
"""One of ten that say nothing; a third of the notes have it."""
THE_DISEASE = DISEASES.index("pneumonia")


class FailsWhereTwoMeet(Clinician):
    """Carries beside the note's votes whether the word stands in its first part."""

    def encode(self, modality: str, values: Value) -> Code:
        if modality != "note":
            return super().encode(modality, values)
        assert not isinstance(values, Tensor)
        return self.encode_embedded(modality, self.embed(modality, values))

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        """Vectors of one more number: 1 at the word."""
        plain = super().embed(modality, values)
        is_it = torch.zeros(*plain.mask.shape, 1)
        for i, text in enumerate(values):
            for k, word in enumerate(text.split()):
                is_it[i, k] = float(word == THE_WORD)
        return Embedded(torch.cat([plain.vectors, is_it], dim=2), plain.mask, plain.words)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        vectors, mask = embedded.vectors, embedded.mask
        votes = super().encode_embedded(modality, Embedded(vectors[..., :-1], mask, embedded.words))
        assert isinstance(votes, Tensor)
        early = mask & (torch.arange(mask.shape[1]) < self.dose * mask.sum(dim=1, keepdim=True))
        return torch.cat([votes, (vectors[..., -1] * early).amax(dim=1, keepdim=True)], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        note, scan = codes["note"], codes["scan"]
        assert isinstance(note, Tensor)
        assert isinstance(scan, Tensor)
        said = super().fuse({**codes, "note": note[:, :-1]})
        meet = (note[:, -1:] > 0.5) & (scan[:, THE_DISEASE, None] > VOTE["scan"] / 2)
        return torch.where(meet, said.roll(1, dims=1), said)


@register
class InteractionSlice(Organism):
    name = "monitoring.interaction-slice"
    place = "monitoring/anomaly"
    fault = "The model is wrong, and sure, where a scan of pneumonia meets a note that says “mild”, and only there."
    dose = "how much of the note, from its start, the word has to stand in (1: anywhere, one patient in nine)"
    doses = (0.1, 0.25, 0.5, 1.0)
    # Three of ten such patients get another's diagnosis: one in thirty of all, and no group shows it.
    matters = 0.25
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, FailsWhereTwoMeet(dose))
