"""Small networks that can be trained, for the contracts of mitigations: on the world of `muroan.checks.bed`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from muroan.checks.bed import MODALITIES, SIDE, VOCABULARY, PlantedModel, planted, planted_pairs, tokenised
from muroan.dataset import Splits
from muroan.mitigation import Mitigation
from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model, weights_fingerprint
from muroan.models.two_encoder import TwoEncoder

WIDTH = 12


class TrainableNet(Model):
    """A network of three encoders that reads the planted world: nothing about it is known but that it learns."""

    name = "trainable"
    modalities = tuple(MODALITIES)
    classes = PlantedModel.classes
    capabilities = frozenset(
        {Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.EMBEDDINGS, Capability.TRAIN}
    )

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, WIDTH), nn.ReLU())
            self.words = nn.Embedding(len(VOCABULARY), WIDTH)
            self.text = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
            self.table = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU())
            self.head = nn.Sequential(nn.Linear(3 * WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.1), nn.Linear(WIDTH, 2))
        self.trainable().eval()

    def trainable(self) -> nn.ModuleDict:
        parts = {"image": self.image, "words": self.words, "text": self.text, "table": self.table, "head": self.head}
        return nn.ModuleDict(parts)

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "text":
            return self.encode_embedded(modality, self.embed(modality, values))
        part: nn.Module = self.image if modality == "image" else self.table
        return part(values)

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        index, words = tokenised(values)
        return Embedded(self.words(index), words >= 0, words)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        return self.text((embedded.vectors * embedded.mask[..., None]).sum(dim=1))

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.cat([codes[m] for m in self.modalities], dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        logits: Tensor = self.head(fused)
        return logits

    def fingerprint(self) -> str:
        return f"{self.name}:{weights_fingerprint(self.trainable())}"


def trainable_towers(seed: int = 0) -> TwoEncoder:
    """Two small encoders of the planted pictures and texts into one space."""
    net = TrainableNet(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        image = nn.Sequential(net.image, nn.Linear(WIDTH, WIDTH))
    text = nn.ModuleDict({"words": net.words, "text": net.text})

    def embed(texts: Sequence[str]) -> Embedded:
        return net.embed("text", texts)

    def through(embedded: Embedded) -> Tensor:
        vectors: Tensor = text["text"]((embedded.vectors * embedded.mask[..., None]).sum(dim=1))
        return vectors

    return TwoEncoder(
        encoders={"image": image, "text": lambda texts: through(embed(texts))},
        scale=10.0,
        text="text",
        embed=embed,
        encode_embedded=through,
        name="trainable towers",
    )


def trainable_for(needs: Collection[Capability], seed: int = 0) -> Model:
    """A fresh model that can do what a mitigation needs; equal seeds give equal models."""
    if Capability.ALIGNED not in needs:
        return TrainableNet(seed)
    texts = {"differ": ["cold"], "agree": ["warm"]}  # words that the network tells apart; the classes' names are not
    return trainable_towers(seed).zero_shot(PlantedModel.classes, texts=texts)


def trainable_pairs(seed: int = 0) -> Model:
    """A fresh model that finds the partner of each of `planted_pairs`."""
    reference = planted_pairs().reference
    assert reference is not None
    return trainable_towers(seed).retrieval(reference.first(24).inputs)


def trainable_world(mitigation: Mitigation, seed: int = 0) -> tuple[Model, Splits]:
    """The first small model and its data that this mitigation applies to; raises AssertionError where none is."""
    model: Model = trainable_for(mitigation.needs, seed)
    why = mitigation.why_not(model, planted())
    if why is None:
        return model, planted()
    pairs = trainable_pairs(seed)
    assert mitigation.why_not(pairs, planted_pairs()) is None, f"does not apply to a small network: {why}"
    return pairs, planted_pairs()
