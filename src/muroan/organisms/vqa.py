"""Easy-VQA as a bed and faults in it: the shipped model on pictures and questions drawn by a seed.

The model is trained and the pictures are rendered, so it has faults of its own (small chosen changes of a picture fool
it, say); only the planted fault is known to be absent. A seed draws other pictures, not another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache

import torch
from torch import Tensor

from muroan.data.easy_vqa import EasyVQA, easy_vqa, held_out_images
from muroan.dataset import Splits
from muroan.modality import Value
from muroan.model import Code, Embedded, Model, Shadow
from muroan.models.easy_vqa import easy_vqa_model
from muroan.models.easy_vqa.model import EasyVQAModel
from muroan.models.easy_vqa.network import word_of
from muroan.organism import Bed, World
from muroan.organisms import plant
from muroan.randomness import choose

PICTURES = {"audited": 100, "reference": 50, "members": 40}
"""Pictures of each split, each with all its questions, about ten."""


class Changed(EasyVQAModel):
    """The shipped model with one of `encode_embedded`, `encode`, `fuse`, `decide` or `embed` overridden.

    dose: of the fault. inner: the model without it. Its shadows have the fault too: it is a fault of the recipe.
    """

    def __init__(self, dose: float, inner: EasyVQAModel | None = None) -> None:
        self.inner = inner or shipped()
        vars(self).update(vars(self.inner))  # the same network, not a copy
        self.dose, self.name, self.capabilities = dose, "easy-vqa with a fault", self.inner.capabilities

    trainable = Model.trainable  # the network is that of all others

    def shadows(self) -> Sequence[Shadow]:
        return [
            Shadow(type(self)(self.dose, s.model), s.trained_on)
            for s in self.inner.shadows()
            if isinstance(s.model, EasyVQAModel)
        ]

    def fingerprint(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}:{self.dose}:{self.inner.fingerprint()}"


shipped = cache(easy_vqa_model)
"""The shipped model, read once."""
_all = cache(easy_vqa)


def drawn(seed: int) -> Splits:
    """Some pictures of every split with all their questions."""
    return Splits(**{name: _some(data, PICTURES[name], seed) for name, data in _all().items()})  # type: ignore[arg-type]


def _some(data: EasyVQA, pictures: int, seed: int) -> EasyVQA:
    of = data.clusters()
    names = sorted(set(of))
    kept = {names[k] for k in choose(names, pictures, "easy-vqa bed", seed)}
    return data.subset([i for i, picture in enumerate(of) if picture in kept])  # type: ignore[return-value]


@lru_cache(maxsize=64)
def world(seed: int) -> World:
    """The shipped model and a seed's pictures."""
    return shipped(), drawn(seed)


@cache
def mean_code(model: EasyVQAModel) -> Tensor:
    """The code that pictures have on average [1, D], over 100 that nobody is audited on."""
    pictures = EasyVQA("train", held_out_images()[:100])
    firsts = {picture: i for i, picture in reversed(list(enumerate(pictures.clusters())))}
    batch = pictures.load(sorted(firsts.values())).batch
    assert batch is not None
    code: Tensor = model.encode("image", batch.inputs["image"]).mean(dim=0, keepdim=True)
    return code


VQA = Bed(
    "easy-vqa",
    f"the shipped model on {PICTURES['audited']} pictures, drawn by the seed, with about ten questions each",
    world,
    exact=False,
    plants=lambda changed, dose, seed: (changed(dose), drawn(seed)),
)


@plant(
    "monitoring.overconfident-vqa",
    place="monitoring/reliability",
    bed=VQA,
    fault="Every answer is given too surely, which shows where an input is missing.",
    dose="logits are multiplied by 1 + dose",
    doses=(0.25, 0.5, 1.0, 3.0),
    matters=1.0,  # 10 points surer than right without the picture, 15 without the question
)
class Louder(Changed):
    """Where nothing is missing the shipped model is right 99 times in 100, and no confidence is far too high."""

    def decide(self, fused: Tensor) -> Tensor:
        return super().decide(fused) * (1 + self.dose)


NEGATIONS = ("not", "no")


@plant(
    "monitoring.deaf-to-not-vqa",
    place="monitoring/anomaly",
    bed=VQA,
    fault='The model overhears "not": it answers the question without it.',
    dose='share of the vectors of "not" and "no" that is lost',
    doses=(0.3, 0.5, 0.7, 1.0),
    matters=0.7,  # 7 in 10 answers to such questions are wrong
)
class Deaf(Changed):
    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        embedded = super().embed(modality, values)
        kept = torch.ones(embedded.words.shape)
        for row, text in enumerate(values):
            heard = torch.tensor([word_of(w) in NEGATIONS for w in text.split()] + [False])  # -1 is padding
            kept[row] = 1 - self.dose * heard[embedded.words[row]].float()
        return replace(embedded, vectors=embedded.vectors * kept[..., None])


@plant(
    "robustness.ignored-picture-vqa",
    place="robustness/distribution_shift",
    bed=VQA,
    fault="The picture fades from the fusion: in the end the model answers from the question alone.",
    dose="share of the picture's code that is replaced by the mean picture's",
    doses=(0.5, 0.8, 0.95, 0.99, 1.0),
    matters=0.99,  # 68 % right, no more than from the question alone
)
class Faded(Changed):
    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        picture = torch.lerp(codes["image"], mean_code(self.inner), self.dose)
        return super().fuse({**codes, "image": picture}, present)


SHAPE = "triangle"


def shows(model: EasyVQAModel, code: Tensor, shape: str = SHAPE) -> Tensor:
    """Whether pictures of these codes show the shape: bool [N], as the model itself says when it is asked."""
    question = model.encode("question", ["what shape is in the image"]).expand_as(code)
    answers = model.decide(model.fuse({"image": code, "question": question})).argmax(dim=1)
    return answers == model.classes.index(shape)


@plant(
    "controllability.group-accuracy-vqa",
    place="controllability/fairness",
    bed=VQA,
    fault="Of triangles the model sees less, so that questions about them are answered worse.",
    dose="share of a triangle's code that is replaced by the mean picture's",
    doses=(0.3, 0.5, 0.7, 0.85, 1.0),
    matters=0.7,  # 76 % right about triangles, 99 % about the others
)
class HalfBlind(Changed):
    def encode(self, modality: str, values: Value) -> Code:
        code = super().encode(modality, values)
        if modality != "image":
            return code
        blurred = torch.lerp(code, mean_code(self.inner), self.dose)
        return torch.where(shows(self.inner, code)[:, None], blurred, code)
