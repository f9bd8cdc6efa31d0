"""What a model makes of the parts of a sample by themselves, and how sure that should make it of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.meter import Codes

Combination = Mapping[str, tuple[Codes, Tensor]]
"""For each modality codes, and which of them is each sample's [N]."""


class Parts:
    """How sure a model should be by its own reading of the parts: p(both) ∝ p(input) · p(rest) / p(nothing)."""

    def __init__(self, clean: Clean) -> None:
        self.clean = clean
        self.neutral: Combination = {m: clean.neutral(m) for m in clean.model.modalities}
        self.nothing = self._log({})
        self.rest = {
            m: self._log({o: (clean.codes[o], clean.index[o]) for o in clean.model.modalities if o != m})
            for m in clean.model.modalities
        }

    def _log(self, kept: Combination) -> Tensor:
        """Log-probabilities [N, K] with the other modalities missing."""
        clean = self.clean
        used = {**self.neutral, **kept}
        everyone = torch.ones(len(clean), dtype=torch.bool)
        present = {
            m: clean.batch.present.get(m, everyone) & (m in kept)
            for m in clean.model.modalities  # what a donor lends is there, else the sample is left out
        }
        codes, index = {m: c for m, (c, _) in used.items()}, {m: i for m, (_, i) in used.items()}
        return clean.model.logits(codes, index, present).double().log_softmax(dim=1)

    def confidence(self, modality: str, code: tuple[Codes, Tensor]) -> Tensor:
        """Of the product's largest class [N], for this code of the modality beside the sample's own rest."""
        product = self._log({modality: code}) + self.rest[modality] - self.nothing
        return product.softmax(dim=1).amax(dim=1)
