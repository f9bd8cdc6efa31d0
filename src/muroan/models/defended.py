"""A model behind a defence: the same inputs and answers, another way to them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from muroan.modality import Value
from muroan.model import Capability, Model

APART = frozenset({Capability.FUSE, Capability.EMBEDDINGS, Capability.ALIGNED, Capability.SHADOWS})
"""What a model that is only asked as a whole cannot show."""


class Defended(Model):
    """Subclasses override `predict`. It must stay differentiable where the model behind it is, so that an attacker who
    knows the defence can optimise through it: what only hides gradients is no defence.

    inner: the model behind. It is asked as a whole unless a subclass overrides `encode`, `fuse` and `decide` too and
    declares so.
    """

    def __init__(self, inner: Model, defence: str) -> None:
        self.inner, self.defence = inner, defence
        self.name = f"{inner.name}, {defence}"
        self.modalities, self.classes = inner.modalities, inner.classes
        self.capabilities = inner.capabilities - APART

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.ask(inputs, present)

    def ask(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits [N, K] of the model behind."""
        if Capability.ABSENT in self.inner.capabilities:
            return self.inner.predict(inputs, present)
        return self.inner.predict(inputs)

    def trainable(self) -> nn.ModuleDict:
        return self.inner.trainable()

    def fingerprint(self) -> str:
        return f"{self.defence} over {self.inner.fingerprint()}"
