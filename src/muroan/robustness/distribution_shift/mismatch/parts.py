"""What a model makes of the parts of a sample by themselves, and how sure that should make it of the whole."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from muroan.clean import Clean
from muroan.intervention import Arrived
from muroan.interventions.removals import Removal, others


class Parts:
    """How sure a model should be by its own reading of the parts: p(both) ∝ p(input) · p(rest) / p(nothing)."""

    def __init__(self, clean: Clean) -> None:
        self.clean, self.names = clean, tuple(clean.model.modalities)
        self.nothing = self._log(Removal(self.names).arrives(clean))
        self.rest = {m: self._log(Removal((m,)).arrives(clean)) for m in self.names}

    def _log(self, arrived: Arrived) -> Tensor:
        return arrived.logits(self.clean).double().log_softmax(dim=1)

    def confidence(self, modality: str, arrived: Arrived) -> Tensor:
        """Of the product's largest class [N], for what arrived of the modality beside the sample's own rest."""
        alone = Removal(others(self.names, [modality])).arrives(self.clean)
        codes = {**alone.codes, modality: arrived.codes[modality]}
        index = {**alone.index, modality: arrived.index[modality]}
        # What a donor lends is there, else the sample is left out.
        product = self._log(replace(alone, codes=codes, index=index, done=None)) + self.rest[modality] - self.nothing
        return product.softmax(dim=1).amax(dim=1)
