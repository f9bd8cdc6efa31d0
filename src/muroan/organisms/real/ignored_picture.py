"""A model that answers questions about pictures without looking."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.vqa import VQA, Changed, drawn, mean_code
from muroan.registry import register


class _Faded(Changed):
    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        picture = torch.lerp(codes["image"], mean_code(self.inner), self.dose)
        return self.inner.fuse({**codes, "image": picture}, present)


@register
class IgnoredPicture(Organism):
    name = "robustness.ignored-picture-vqa"
    place = "robustness/distribution_shift"
    fault = "The picture fades from the fusion: in the end the model answers from the question alone."
    dose = "share of the picture's code that is replaced by the mean picture's"
    doses = (0.5, 0.8, 0.95, 0.99, 1.0)
    matters = 0.99  # 68 % right, no more than from the question alone
    bed = VQA

    def plant(self, dose: float, seed: int) -> World:
        return _Faded(dose), drawn(seed)
