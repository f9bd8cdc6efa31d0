"""Towers for emoji and the models made of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from muroan.data.emoji import captions, emoji, numbers_of, pictures
from muroan.modality import Value
from muroan.models.emoji_towers.network import Architecture, Towers
from muroan.models.emoji_towers.recipe import Recipe, train
from muroan.models.emoji_towers.weights import load
from muroan.models.two_encoder import Retrieval, TwoEncoder
from muroan.randomness import choose

GALLERY = 100
"""Distractors of `emoji_model`."""
CAPTIONS = 8
"""Captions of each emoji that towers are trained on."""


def as_model(net: Towers, name: str | None = None) -> TwoEncoder:
    """Trained towers as encoders of "image" and "text"."""
    return TwoEncoder(
        encoders={"image": net.image, "text": net.text},
        scale=float(net.log_scale.detach().exp()),
        text="text",
        embed=net.text.embed,
        encode_embedded=net.text.encode_embedded,
        name=name or f"emoji towers ({net.architecture})",
    )


def trained(
    architecture: Architecture = "conv", seed: object = 0, *, steps: int | None = None, ids: Sequence[str] | None = None
) -> TwoEncoder:
    """Towers trained on the spot, on the members or on the emoji `ids`."""
    recipe = Recipe() if steps is None else Recipe(steps=steps)
    return as_model(train(*pairs_of(ids), architecture, seed=seed, recipe=recipe))


def pairs_of(ids: Sequence[str] | None = None) -> tuple[Tensor, list[list[str]]]:
    """Pictures, bytes [N, 3, 32, 32], and captions of emoji (of all members, if none are named)."""
    members = emoji().members
    assert members is not None
    chosen = list(members.ids if ids is None else ids)
    return torch.from_numpy(pictures()[numbers_of(chosen)]).permute(0, 3, 1, 2).contiguous(), captions(chosen, CAPTIONS)


def towers(architecture: Architecture = "conv", seed: int = 0) -> TwoEncoder:
    """The shipped towers (seed 0), or others of the same recipe, trained on the spot. Each call gives new modules."""
    return as_model(load(architecture)) if seed == 0 else trained(architecture, seed)


def gallery(n: int = GALLERY) -> dict[str, Value]:
    """Pictures and captions of `n` emoji of the reference split, by modality."""
    reference = emoji().reference
    assert reference is not None
    batch = reference.load(choose(reference.ids, n, "emoji gallery")).batch
    assert batch is not None
    return dict(batch.inputs)


def emoji_model(architecture: Architecture = "conv", seed: int = 0) -> Retrieval:
    """Does an emoji's picture find its caption, and the caption its picture, among 100 distractors?"""
    return towers(architecture, seed).retrieval(gallery())
