"""A model that overhears a "not"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from muroan.model import Embedded
from muroan.models.easy_vqa.network import word_of
from muroan.organism import Organism, World
from muroan.organisms.vqa import VQA, Changed, drawn
from muroan.registry import register

NEGATIONS = ("not", "no")


class _Deaf(Changed):
    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        embedded = super().embed(modality, values)
        kept = torch.ones(embedded.words.shape)
        for row, text in enumerate(values):
            heard = torch.tensor([word_of(w) in NEGATIONS for w in text.split()] + [False])  # -1 is padding
            kept[row] = 1 - self.dose * heard[embedded.words[row]].float()
        return replace(embedded, vectors=embedded.vectors * kept[..., None])


@register
class DeafToNot(Organism):
    name = "monitoring.deaf-to-not-vqa"
    place = "monitoring/anomaly"
    fault = 'The model overhears "not": it answers the question without it.'
    dose = 'share of the vectors of "not" and "no" that is lost'
    doses = (0.3, 0.5, 0.7, 1.0)
    matters = 0.7  # 7 in 10 answers to such questions are wrong
    bed = VQA

    def plant(self, dose: float, seed: int) -> World:
        return _Deaf(dose), drawn(seed)
