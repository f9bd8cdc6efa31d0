"""Does a changed text still say what the original says? Judges by the cosine of two codes.

A judge is a model too: it lets through what it does not notice ("not" often costs little), so a threshold bounds the
damage and proves nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from muroan.content import distinct_texts
from muroan.interventions.language_models import sentence_codes
from muroan.meter import Metered
from muroan.model import Capability


@dataclass(frozen=True, kw_only=True)
class Meaning(ABC):
    """A judge of meaning."""

    @abstractmethod
    def codes(self, model: Metered, modality: str, texts: Sequence[str]) -> Tensor:
        """One vector a text [N, D]."""

    def cosine(self, model: Metered, modality: str, before: Sequence[str], after: Sequence[str]) -> Tensor:
        """Cosine of each text with what it was [N]; distinct texts are encoded once."""
        texts, which = distinct_texts([*before, *after])
        codes = functional.normalize(self.codes(model, modality, texts), dim=1)
        cosine: Tensor = (codes[which[: len(before)]] * codes[which[len(before) :]]).sum(dim=1)
        return cosine


@dataclass(frozen=True, kw_only=True)
class OwnCodes(Meaning):
    """The attacked model's own text codes, where they are vectors of a space with a meaning (aligned towers).

    The judge is then the victim: what the attack moves in it is what the judge would see, so a gate by it is lenient
    where the model is weak.
    """

    def codes(self, model: Metered, modality: str, texts: Sequence[str]) -> Tensor:
        model.require(Capability.ALIGNED, Capability.FUSE)
        codes: Tensor = model.encode(modality, list(texts)).data
        return codes


@dataclass(frozen=True, kw_only=True)
class SentenceEncoder(Meaning):
    """A sentence encoder that the user names, model="hf:folder": the mean of its last layer's tokens."""

    model: str

    def codes(self, model: Metered, modality: str, texts: Sequence[str]) -> Tensor:
        return sentence_codes(self.model, texts)
