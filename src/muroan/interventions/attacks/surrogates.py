"""Several aligned models as one: what fools all of them is more likely to fool one that nobody has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from muroan.errors import AskedWrongly
from muroan.modality import Value
from muroan.model import Capability, Code, Model


class Surrogates(Model):
    """Aligned models side by side. A code [N, sum of D] holds theirs one after another, divided by the root of their
    number, so that a cosine of two codes is the mean of the models' cosines; logits are the models' mean logits.

        surrogate = Surrogates([first.retrieval(gallery), second.retrieval(gallery)])
        MAttack(surrogates=(first.retrieval(gallery), second.retrieval(gallery)), target=picture)
    """

    def __init__(self, models: Sequence[Model]) -> None:
        if not models:
            raise AskedWrongly("surrogates: name at least one model")
        head = models[0]
        for model in models:
            lacking = {Capability.ALIGNED, Capability.GRADIENTS, Capability.FUSE} - model.capabilities
            if lacking:
                raise AskedWrongly(
                    f"{model.name} cannot be a surrogate of codes: it lacks {', '.join(sorted(lacking))}"
                )
            if (model.modalities, model.classes) != (head.modalities, head.classes):
                raise AskedWrongly(f"{model.name} has other modalities or classes than {head.name}")
        self.models = tuple(models)
        self.name = " + ".join(m.name for m in models)
        self.modalities, self.classes = head.modalities, head.classes
        self.capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.ALIGNED})
        self._widths: list[int] = []

    def encode(self, modality: str, values: Value) -> Code:
        codes = [m.encode(modality, values) for m in self.models]
        self._widths = [c.shape[1] for c in codes]
        return torch.cat(codes, dim=1) / len(codes) ** 0.5

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """The models' logits [N, models * classes]: what each makes of its own part of the codes."""
        apart = {m: (c * len(self.models) ** 0.5).split(self._widths, dim=1) for m, c in codes.items()}
        logits = [model.decide(model.fuse({m: c[k] for m, c in apart.items()})) for k, model in enumerate(self.models)]
        return torch.cat(logits, dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        return fused.view(len(fused), len(self.models), len(self.classes)).mean(dim=1)

    def fingerprint(self) -> str:
        return f"surrogates:{'+'.join(m.fingerprint() for m in self.models)}"
