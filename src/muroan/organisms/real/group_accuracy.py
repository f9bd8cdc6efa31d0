"""A model that sees things of one shape less well."""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.modality import Value
from muroan.model import Code
from muroan.models.easy_vqa.model import EasyVQAModel
from muroan.organism import Organism, World
from muroan.organisms.vqa import VQA, Changed, drawn, mean_code
from muroan.registry import register

SHAPE = "triangle"


def shows(model: EasyVQAModel, code: Tensor, shape: str = SHAPE) -> Tensor:
    """Whether pictures of these codes show the shape: bool [N], as the model itself says when it is asked."""
    question = model.encode("question", ["what shape is in the image"]).expand_as(code)
    answers = model.decide(model.fuse({"image": code, "question": question})).argmax(dim=1)
    return answers == model.classes.index(shape)


class _HalfBlind(Changed):
    def encode(self, modality: str, values: Value) -> Code:
        code = super().encode(modality, values)
        if modality != "image":
            return code
        blurred = torch.lerp(code, mean_code(self.inner), self.dose)
        return torch.where(shows(self.inner, code)[:, None], blurred, code)


@register
class GroupAccuracy(Organism):
    name = "controllability.group-accuracy-vqa"
    place = "controllability/fairness"
    fault = "Of triangles the model sees less, so that questions about them are answered worse."
    dose = "share of a triangle's code that is replaced by the mean picture's"
    doses = (0.3, 0.5, 0.7, 0.85, 1.0)
    matters = 0.7  # 76 % right about triangles, 99 % about the others
    bed = VQA

    def plant(self, dose: float, seed: int) -> World:
        return _HalfBlind(dose), drawn(seed)
