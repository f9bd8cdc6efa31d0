"""Towers for emoji, on disk and as the models made of them.

One safetensors file an architecture, float16, with how it was trained as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from muroan.data.emoji import CLASSES, emoji, emoji_groups, rows_of
from muroan.data.emoji import captions as captions_of
from muroan.data.emoji import pictures as all_pictures
from muroan.dataset import Dataset
from muroan.modality import Value
from muroan.models import shipped
from muroan.models.emoji_towers.network import Architecture, Towers
from muroan.models.emoji_towers.recipe import Recipe, train
from muroan.models.two_encoder import Retrieval, TwoEncoder, ZeroShot
from muroan.randomness import choose

GALLERY = 100
"""Distractors of `emoji_model`."""
CAPTIONS = 8
"""Captions of each emoji that towers are trained on."""


def file_of(architecture: Architecture) -> str:
    """The name of an architecture's file."""
    return f"{architecture}.safetensors"


def save(folder: Path, net: Towers, facts: Mapping[str, Any]) -> None:
    """Writes towers with `facts` (anything JSON has) as metadata."""
    shipped.save(folder / file_of(net.architecture), net, facts)


def load(architecture: Architecture, folder: Path | None = None) -> Towers:
    """The shipped towers, or those that the training script wrote into `folder`."""
    net = Towers(architecture)
    shipped.load(net, "muroan.models.emoji_towers", file_of(architecture), folder)
    return net.eval()


def as_encoders(net: Towers) -> TwoEncoder:
    """Towers as encoders of "image" and "text"."""
    return TwoEncoder(
        encoders={"image": net.image, "text": net.text},
        scale=float(net.log_scale.detach().exp()),
        text="text",
        embed=net.text.embed,
        encode_embedded=net.text.encode_embedded,
        name=f"emoji towers ({net.architecture})",
    )


def towers(architecture: Architecture = "conv", seed: int = 0) -> TwoEncoder:
    """The shipped towers (seed 0), or others of the same recipe, trained on the spot. Each call gives new modules."""
    return as_encoders(load(architecture)) if seed == 0 else trained(architecture, seed)


def trained(
    architecture: Architecture = "conv",
    seed: object = 0,
    *,
    steps: int = Recipe.steps,
    ids: Sequence[str] | None = None,
    pictures: Tensor | None = None,
    captions: Sequence[Sequence[str]] | None = None,
) -> TwoEncoder:
    """Towers trained on the spot, on all members or on the emoji `ids`; about 20 seconds on one core.

    pictures [N, 3, 32, 32], captions (some of each picture): what stands in for those of the ids, one or both.
    """
    own = pairs_of(ids)
    shown = own[0] if pictures is None else pictures
    said = own[1] if captions is None else captions
    return as_encoders(train(shown, said, architecture, seed=seed, recipe=Recipe(steps=steps)))


def pairs_of(ids: Sequence[str] | None = None) -> tuple[Tensor, list[list[str]]]:
    """What towers are trained on: pictures, bytes [N, 3, 32, 32], and captions of emoji (of all members)."""
    chosen = list(_members(emoji().members).ids if ids is None else ids)
    shown = torch.from_numpy(all_pictures()[rows_of(chosen)]).permute(0, 3, 1, 2).contiguous()
    return shown, captions_of(chosen, CAPTIONS)


def _members(data: Dataset | None) -> Dataset:
    assert data is not None
    return data


def gallery(n: int = GALLERY) -> dict[str, Value]:
    """Pictures and captions of `n` emoji of the reference split, by modality."""
    reference = emoji().reference
    assert reference is not None
    return dict(reference.subset(choose(reference.ids, n, "emoji gallery")).first(n).inputs)


def group_texts(each: int | None = None) -> dict[str, list[str]]:
    """For each group of emoji the captions of its members (`each`: of so many of them, drawn)."""
    members = _members(emoji_groups().members)
    groups = members.first(len(members))
    said = [row[0] for row in captions_of(groups.ids, 1)]
    texts = {}
    for c in CLASSES:
        own = [i for i, group in enumerate(groups.groups["group"]) if group == c]
        drawn = range(len(own)) if each is None else choose([groups.ids[i] for i in own], each, "emoji group texts")
        texts[c] = [said[own[k]] for k in drawn]
    return texts


def emoji_model(architecture: Architecture = "conv", seed: int = 0) -> Retrieval:
    """Does an emoji's picture find its caption, and the caption its picture, among 100 distractors?"""
    return towers(architecture, seed).retrieval(gallery())


def emoji_groups_model(architecture: Architecture = "conv", seed: int = 0) -> ZeroShot:
    """Which group is an emoji of, by its picture? Zero-shot: a group is the mean code of its members' captions.

    The groups' names alone are below the most frequent group: "smileys-emotion" is no word of any caption.
    """
    return towers(architecture, seed).zero_shot(CLASSES, texts=group_texts())
