"""The shipped model as Muroan audits it: everything that a model can show is shown.

A real network on real data that is small enough for every method to run on it within seconds. Its card,
CARD.md, says what it is good for and what not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model, Shadow, weights_fingerprint
from muroan.models import shipped
from muroan.models.easy_vqa.network import Network, tokenise, word_index
from muroan.models.easy_vqa.weights import Trained, load

TARGET, SHADOWS = "target.safetensors", "shadows.safetensors"


class EasyVQAModel(Model):
    """Answers questions (modality "question") about pictures of 64×64 (modality "image").

    A word outside the vocabulary is seen as unknown, an empty question is answered from the picture alone.
    folder: where the weights came from, and those of the shadow models lie.
    """

    modalities = ("image", "question")
    capabilities = frozenset(
        {
            Capability.SCORES,
            Capability.FUSE,
            Capability.GRADIENTS,
            Capability.EMBEDDINGS,
            Capability.TRAIN,
            Capability.SHADOWS,
        }
    )

    def __init__(
        self,
        trained: Trained,
        *,
        vocabulary: Sequence[str],
        classes: Sequence[str],
        name: str = "easy-vqa",
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.classes = tuple(classes)
        self.vocabulary = tuple(vocabulary)
        self.pictures = trained.pictures
        self._index = word_index(self.vocabulary)
        self._folder = folder
        network = Network(len(self.vocabulary), len(self.classes))
        network.load_state_dict(dict(trained.state))
        self.network = network.eval().requires_grad_(False)

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "image":
            return self.network.encode_image(values)
        # Texts with some words removed repeat a lot; reading a text costs more than encoding it.
        distinct = {text: n for n, text in enumerate(dict.fromkeys(values))}
        codes = self.encode_embedded(modality, self.embed(modality, list(distinct)))
        return codes[torch.tensor([distinct[text] for text in values], dtype=torch.long)]

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        self._needs_question(modality)
        tokens, words = tokenise(values, self._index)
        return Embedded(vectors=self.network.words(tokens), mask=words >= 0, words=words)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        self._needs_question(modality)
        return self.network.encode_words(embedded.vectors, embedded.mask)

    def _needs_question(self, modality: str) -> None:
        if modality != "question":
            raise ValueError(f"{self.name} has no text modality {modality!r}; it has 'question'")

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.network.fuse(codes["image"], codes["question"])

    def decide(self, fused: Tensor) -> Tensor:
        return self.network.decide(fused)

    def trainable(self) -> nn.ModuleDict:
        return nn.ModuleDict({"network": self.network})

    def shadows(self) -> Sequence[Shadow]:
        """Models of the same recipe, each trained on a half of the member and test pictures.

        Every picture is in half of them. Pictures of the reference are in none.
        """
        networks, facts = _read(self._folder, SHADOWS)
        return [
            Shadow(
                model=_ShadowModel(
                    trained, vocabulary=facts["vocabulary"], classes=facts["classes"], name=f"{self.name} shadow {k}"
                ),
                trained_on=partial(was_trained_on, trained.pictures),
            )
            for k, trained in enumerate(networks)
        ]

    def fingerprint(self) -> str:
        return f"{self.name}:{weights_fingerprint(self.network)}"


class _ShadowModel(EasyVQAModel):
    """The same without shadows of its own."""

    capabilities = EasyVQAModel.capabilities - {Capability.SHADOWS}

    shadows = Model.shadows


def was_trained_on(pictures: frozenset[str], ids: Sequence[str]) -> np.ndarray:
    """Was the picture of each sample among `pictures`? bool [N]; "train-12-105" is question 105, on picture 12."""
    return np.array([i.rsplit("-", 1)[0] in pictures for i in ids], dtype=bool)


def easy_vqa_model(folder: Path | None = None) -> EasyVQAModel:
    """The shipped model, or the one that the training script wrote into `folder`."""
    networks, facts = _read(folder, TARGET)
    return EasyVQAModel(networks[0], vocabulary=facts["vocabulary"], classes=facts["classes"], folder=folder)


def _read(folder: Path | None, name: str) -> tuple[list[Trained], dict[str, list[str]]]:
    with shipped.found("muroan.models.easy_vqa", name, folder) as path:
        return load(path)
