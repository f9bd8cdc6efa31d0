"""What faults need that hang on single words of the note: a clinician that sees more of a word than its disease."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code, Embedded
from muroan.organisms.clinic import DISEASES, Clinician


def marked(embedded: Embedded, texts: Sequence[str], mark: Callable[[str], Sequence[float]], marks: int) -> Embedded:
    """Embedded texts whose words' vectors go on with `marks` numbers, which `mark` gives for a word."""
    extra = torch.zeros(*embedded.mask.shape, marks)
    for row, text in zip(extra, texts, strict=True):
        words = text.split()
        if words:
            row[: len(words)] = torch.tensor([list(mark(w)) for w in words])
    return replace(embedded, vectors=torch.cat([embedded.vectors, extra], dim=-1))


def with_word(embedded: Embedded, texts: Sequence[str], word: str) -> Embedded:
    """Embedded texts whose vectors have one number more: 1 at the word."""
    return marked(embedded, texts, lambda w: (float(w == word),), 1)


class Attentive(Clinician):
    """A word's vector goes on behind the diseases with `marks` numbers of its own; `note` sees their sum over a note.

    They are part of the embedding, so the model is the same whether it is given words or their vectors.
    """

    marks: int = 1

    @abstractmethod
    def mark(self, word: str) -> Sequence[float]:
        """The `marks` numbers of a word."""

    @abstractmethod
    def note(self, votes: Tensor, marked: Tensor) -> Code:
        """The note's code from its votes [N, 3] and the sums of its words' marks [N, marks]."""

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return marked(super().embed(modality, values), values, self.mark, self.marks)

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "note":
            return self.encode_embedded(modality, self.embed(modality, values))
        return super().encode(modality, values)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        marked = (embedded.vectors[..., len(DISEASES) :] * embedded.mask[..., None]).sum(dim=1)
        return self.note(super().encode_embedded(modality, embedded), marked)

    def _word_signs(self, embedded: Embedded) -> Tensor:
        return super()._word_signs(replace(embedded, vectors=embedded.vectors[..., : len(DISEASES)]))
