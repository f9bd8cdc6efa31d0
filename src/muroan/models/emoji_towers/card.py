"""Measures the towers as they were saved, and writes the model card from nothing but those figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import torch

from muroan.batch import Batch
from muroan.data.emoji import MEAN_COLOUR, emoji, emoji_groups
from muroan.dataset import Dataset
from muroan.estimate import Estimate, proportion
from muroan.model import Model
from muroan.models.emoji_towers.model import CAPTIONS, GALLERY, as_encoders, gallery, group_texts, load
from muroan.models.emoji_towers.network import CODE, Architecture, Towers
from muroan.models.two_encoder import TwoEncoder, Way

WAYS: dict[Way, str] = {"both": "both ways", "first": "picture → caption", "second": "caption → picture"}
SIDES = {"members": "members, which it was trained on", "audited": "others (audited split)"}


def batch_of(data: Dataset | None) -> Batch:
    """All samples."""
    assert data is not None
    return data.first(len(data))


@torch.no_grad()
def right(model: Model, batch: Batch) -> Estimate:
    """Share of right answers, with an interval that resamples bases."""
    return proportion((model.predict(batch.inputs).argmax(dim=1) == batch.targets).numpy(), batch.clusters)


def recall(encoders: TwoEncoder, batch: Batch, way: Way = "both") -> Estimate:
    """R@1: share of pairs that find each other among the gallery's distractors."""
    return right(encoders.retrieval(gallery(), way), batch)


def rows(architecture: Architecture, net: Towers) -> list[tuple[str, Estimate]]:
    """Every figure of one architecture."""
    encoders, splits, groups = as_encoders(net), emoji(), emoji_groups()
    found = []
    for side, said in SIDES.items():
        batch = batch_of(dict(splits.items())[side])
        found += [(f"{architecture}: R@1 of {said}, {how}", recall(encoders, batch, way)) for way, how in WAYS.items()]
        # Where all pictures are one and the same, what captions alone give away is left.
        alike = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).expand_as(batch.inputs["image"])
        blind = recall(encoders, batch.with_inputs(image=alike), "first")
        found.append((f"{architecture}: R@1 of {said}, pictures all alike", blind))
    audited = batch_of(groups.audited)
    zero_shot = encoders.zero_shot(groups.audited.schema.classes, texts=group_texts())
    found.append((f"{architecture}: group of others, by captions of members", right(zero_shot, audited)))
    named = encoders.zero_shot(groups.audited.schema.classes)
    found.append((f"{architecture}: group of others, by its name alone", right(named, audited)))
    return found


def most_frequent() -> Estimate:
    """Share of the others that are of the members' most frequent group."""
    members, audited = batch_of(emoji_groups().members), batch_of(emoji_groups().audited)
    guess = members.targets.bincount().argmax()
    return proportion((audited.targets == guess).numpy(), audited.clusters)


def write(folder: Path, architectures: Sequence[Architecture], facts: Mapping[str, Any]) -> None:
    """CARD.md beside the weights of `folder`."""
    nets = {a: load(a, folder) for a in architectures}
    figures = [row for a, net in nets.items() for row in rows(a, net)]
    figures.append(("group of others, always the members' most frequent", most_frequent()))
    sizes = ", ".join(f"{a} {sum(p.numel() for p in net.parameters()):,}" for a, net in nets.items())
    text = PAGE.substitute(
        figures="\n".join(f"| {said} | {estimate} |" for said, estimate in figures),
        sizes=sizes,
        gallery=GALLERY,
        captions=CAPTIONS,
        code=CODE,
        **facts,
    )
    (folder / "CARD.md").write_text(text, encoding="utf-8")


PAGE = Template("""\
# Model card: emoji towers

Two pairs of encoders, "conv" and "patch", that put pictures of emoji and English captions into one space of $code
numbers. They ship with Muroan so that attacks on and defences of two-encoder models have a real, small one.

This page is written by `python -m muroan.models.emoji_towers.train`; every figure is measured on the saved weights.

## Figures

R@1: the partner is nearer than each of $gallery distractors, which are the same for all and of the reference split.
95 % intervals count bases, not emoji, as independent.

| what | share |
|---|---|
$figures

What was not trained on is found rarely: 937 pairs teach names of what they show and little more. Attack and defend on
members where a decision has to be right first, and say so.

## Networks

- conv: three strided convolutions; words and character trigrams hashed into 1,024 rows, added up (order is not seen).
- patch: patches of 8×8 and an MLP-mixer; whole words hashed into 1,536 rows, one layer of attention that knows order.
- They share no layer and no table. Parameters: $sizes; stored as float16, calculated as float32. Nothing depends
  on the batch.

## Data

npm packages `emojibase-data` 17.0.0 (MIT) and `emoji-datasource-google` 16.0.0 (MIT; pictures Apache-2.0): 1,911 pairs.
Trained on $pairs members, each with $captions captions (its name and draws of its keywords). Women's, men's
and persons' variants of one emoji are on one side. The towers' recipe
was settled on a quarter of the members' bases, left out at the time. How groups are told (by captions of members,
rather than by names or a linear probe) was chosen with the audited split in view: read `emoji-groups` as such.

## Training

Symmetric InfoNCE with a learnt temperature, AdamW with one cycle of the learning rate. Seed $seed; $recipe.

## Use and limits

Meant for demonstrations, tests and benchmarks of Muroan. Figures on them say how a method behaves on a small model
that remembers most of its training pairs, and nothing about large ones. Not hardened. Skin tones are left out; gender
variants are in the data as their makers name them.
""")
