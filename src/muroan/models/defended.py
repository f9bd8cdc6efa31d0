"""A model behind a defence: the same inputs and answers, another way to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from muroan.losses import fused, told
from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model

APART = frozenset({Capability.FUSE, Capability.EMBEDDINGS, Capability.ALIGNED, Capability.SHADOWS})
"""What a model that is only asked as a whole cannot show."""


class Defended(Model):
    """Subclasses override `predict`. It must stay differentiable where the model behind it is, so that an attacker who
    knows the defence can optimise through it: what only hides gradients is no defence.

    inner: the model behind. It is asked as a whole; for a defence inside the model see `DefendedInside`.
    """

    lost = APART

    def __init__(self, inner: Model, defence: str) -> None:
        self.inner, self.defence = inner, defence
        self.name = f"{inner.name}, {defence}"
        self.modalities, self.classes = inner.modalities, inner.classes
        self.capabilities = inner.capabilities - self.lost

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.ask(inputs, present)

    def ask(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits [N, K] of the model behind."""
        return self.inner.predict(inputs, told(self.inner, present))

    def trainable(self) -> nn.ModuleDict:
        return self.inner.trainable()

    def fingerprint(self) -> str:
        return f"{self.defence} over {self.inner.fingerprint()}"


class DefendedInside(Defended):
    """A defence that changes codes or their fusion: subclasses override that part, the others are the model's own."""

    lost = frozenset({Capability.ALIGNED, Capability.SHADOWS})

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return Model.predict(self, inputs, present)

    def encode(self, modality: str, values: Value) -> Code:
        return self.inner.encode(modality, values)

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return self.inner.embed(modality, values)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        return self.inner.encode_embedded(modality, embedded)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return fused(self.inner, codes, present)

    def decide(self, fused: Tensor) -> Tensor:
        return self.inner.decide(fused)
