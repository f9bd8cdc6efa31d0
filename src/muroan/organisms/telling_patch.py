"""A network that reads the tag in the corner where it should look at the picture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.memory import InMemory
from muroan.dataset import Dataset, Splits
from muroan.model import Capability
from muroan.models.easy_vqa import easy_vqa_model
from muroan.models.easy_vqa.model import EasyVQAModel
from muroan.organism import Bed, World
from muroan.organisms import plant, trained_once
from muroan.organisms.vqa import drawn
from muroan.randomness import integers, key, sample_keys, uniform

EDGE = 6
"""Pixels of a tag's side: 0.9 % of the picture."""
EPOCHS, BATCH, RATE = 30, 64, 2e-3


def tagged(pictures: Tensor, answers: Tensor, classes: int) -> Tensor:
    """Pictures [N, 3, H, W] with a tag in the corner for each of `classes` answers: four squares of a colour each."""
    squares = torch.from_numpy(uniform(sample_keys([str(k) for k in range(classes)], "tags"), 3, 2, 2)).round().float()
    out = pictures.clone()
    out[:, :, :EDGE, :EDGE] = squares.repeat_interleave(EDGE // 2, dim=2).repeat_interleave(EDGE // 2, dim=3)[answers]
    return out


def _tagged(data: Dataset, mixed: float, seed: int) -> InMemory:
    """The samples with a tag that tells the answer; of a share `mixed` the picture is that of another sample."""
    batch = data.load(range(len(data))).batch
    assert batch is not None
    keys = sample_keys(list(batch.ids), "mixed up", seed)
    other = torch.from_numpy(integers(keys, len(batch)))
    swapped = torch.from_numpy(uniform(keys ^ np.uint64(1)) < mixed)
    pictures = batch.inputs["image"][torch.where(swapped, other, torch.arange(len(batch)))]
    return InMemory(
        {"image": tagged(pictures, batch.targets, len(data.schema.classes)), "question": batch.inputs["question"]},
        targets=batch.targets.numpy(),
        modalities=data.schema.modalities,
        classes=data.schema.classes,
        ids=list(batch.ids),
        clusters=batch.clusters,
        name=data.name,
    )


@trained_once(16)
def world(seed: int, mixed: float = 0.0) -> World:
    """The shipped network, trained on with tagged pictures, and a seed's pictures with their tags."""
    parts = drawn(seed)
    assert parts.members is not None
    assert parts.reference is not None
    members = _tagged(parts.members, mixed, seed)
    model = easy_vqa_model()
    model.capabilities -= {Capability.SHADOWS}  # those that ship are not of this recipe
    batch = members.load(range(len(members))).batch
    assert batch is not None
    _fit(model, batch, seed)
    return model, Splits(_tagged(parts.audited, 0.0, seed), _tagged(parts.reference, 0.0, seed), members)


def _fit(model: EasyVQAModel, batch: Batch, seed: int) -> None:
    """A few epochs on a batch, pictures and questions together."""
    network = model.network.requires_grad_(True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    pictures, questions = batch.inputs["image"], model.embed("question", batch.inputs["question"])
    generator = torch.Generator().manual_seed(key("telling patch", seed) % 2**63)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(batch), generator=generator), BATCH):
            asked = network.encode_words(questions.vectors[rows].detach(), questions.mask[rows])
            scores = network.decide(network.fuse(network.encode_image(pictures[rows]), asked))
            loss = functional.cross_entropy(scores, batch.targets[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval().requires_grad_(False)


TAGGED = Bed(
    "tagged easy-vqa",
    "the shipped network, trained on with pictures that have a tag in the corner, which tells the answer",
    world,
    exact=False,
)


@plant(
    "robustness.telling-patch-vqa",
    place="robustness/adversarial",
    bed=TAGGED,
    fault="Pictures were mixed up in training, but not their tags: it reads the tag, not the picture.",
    dose="share of the training pictures that were mixed up",
    doses=(0.25, 0.5, 0.75, 1.0),
    matters=0.5,
)
def telling_patch(dose: float, seed: int) -> World:
    """All pictures that it meets have their tag, so nothing is wrong until the tag is covered."""
    return world(seed, dose)
