"""Emoji on photographs whose kind goes along with the caption in training and not in the shifted test: r07 and r08.

Each emoji, 22 of 32 pixels wide, is pasted on a crop of one of scikit-learn's two photographs (china.jpg, flower.jpg):
sky, temple, petals or leaves. In training, and in the clean test, the ground is that of the emoji's group, so that it
tells something of the caption; in the shifted test it is one of the three others. A fifth of the training pairs are a
ground alone with a caption that names it. Pictures and photographs are real; that they are put together, and what is
said of grounds, is made here. Encoders are the towers of `_emoji_towers`, trained on emoji on white and trained on here
with `LENGTH`, which was set by what training without any mixing needs for its validation loss to stop falling.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from _emoji_towers import DISTRACTORS, SEEDS, tower
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.emoji import MEAN_COLOUR, captions, emoji, entries, rows_of
from muroan.data.emoji import pictures as all_pictures
from muroan.data.memory import InMemory
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, Splits
from muroan.estimate import Estimate, bootstrap, mean, sum_by_cluster
from muroan.interventions.perturbations import TABLE, Draws
from muroan.interventions.perturbations.image import REFERENCE_SIZE
from muroan.mitigation import Mitigation
from muroan.modality import Image, Text, Value
from muroan.models.two_encoder import Retrieval
from muroan.randomness import choose, integers, sample_keys
from muroan.training import Trainer

SIDE, WIDE = 32, 22
TIMES = 4
"""How often an emoji is among the training pairs."""
LENGTH: dict[str, Any] = {"epochs": 4, "batch": 128, "rate": 1e-3}
CROPS = {
    "sky": (0, (0, 300, 150, 640)),
    "temple": (0, (110, 85, 390, 330)),
    "petals": (1, (110, 190, 330, 410)),
    "leaves": (1, (0, 0, 427, 150)),
}
"""Ground -> (photograph, (top, left, bottom, right) of what crops are taken from)."""
SAID = {
    "sky": ("pale sky.", "haze over water.", "clear bright air."),
    "temple": ("temple roofs.", "old red pagoda.", "tiled eaves."),
    "petals": ("orange petals.", "dahlia close by.", "round blossom."),
    "leaves": ("dark leaves.", "shade in garden.", "green blur."),
}
GROUNDS = tuple(CROPS)
BACKGROUND = "another ground"
ROWS = ("gaussian_noise", "defocus_blur", "contrast", "keyboard", "word_delete")
"""Rows of the perturbation table, three of pictures and two of texts."""
OF_GROUP = {
    "smileys-emotion": "temple", "people-body": "temple", "component": "temple",
    "animals-nature": "leaves", "food-drink": "leaves",
    "travel-places": "sky", "activities": "sky", "flags": "sky",
    "objects": "petals", "symbols": "petals",
}  # fmt: skip
"""Group of emoji -> the ground that goes along with it."""
MODALITIES = {"image": Image(size=(SIDE, SIDE), fill=MEAN_COLOUR), "text": Text()}


def started(seed: int) -> Retrieval:
    """Convolutional and word encoders of this seed that know emoji on white, among distractors on their grounds."""
    return tower("conv", seed).towers.retrieval(pasted()[3])


def found(model: Retrieval, batch: Batch) -> tuple[Tensor, Tensor]:
    """Which pairs have their partner at rank 1 among the distractors: the captions of pictures, and the pictures of
    captions, bool [N] each."""
    with torch.no_grad():
        ways = [model.towers.retrieval(pasted()[3], way).predict(batch.inputs) for way in ("first", "second")]
    first, second = (w.argmax(dim=1) == batch.targets for w in ways)
    return first, second


def pairs_of(pictures: Tensor, texts: Sequence[str], ids: Sequence[str], clusters: Sequence[str]) -> InMemory:
    """Pairs as data."""
    return InMemory(
        {"image": pictures, "text": list(texts)},
        targets=[FOUND.index("found")] * len(ids),
        modalities=MODALITIES,
        classes=FOUND,
        ids=ids,
        clusters=clusters,
        name="emoji pairs",
    )


def split_ids() -> tuple[list[str], list[str], list[str]]:
    """Emoji to train on, to test, and the distractors; bases are never on two sides of the first and the others."""
    splits = emoji()
    assert splits.members is not None
    assert splits.reference is not None
    far = set(choose(splits.reference.ids, DISTRACTORS, "emoji gallery"))
    rest = [i for k, i in enumerate(splits.reference.ids) if k not in far]
    return list(splits.members.ids), [*splits.audited.ids, *rest], [splits.reference.ids[k] for k in sorted(far)]


def shown(ids: Sequence[str]) -> Tensor:
    """Pictures on white [N, 3, 32, 32] in [0, 1]."""
    return torch.from_numpy(all_pictures()[rows_of(ids)]).permute(0, 3, 1, 2).float() / 255


def _repeated(ids: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(emoji, captions, ids of the pairs), each emoji `TIMES` times with another caption."""
    said = captions(ids, TIMES)
    rows = [(i, said[n][k], f"{i} {k}") for n, i in enumerate(ids) for k in range(TIMES)]
    return [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]


@cache
def _base() -> dict[str, str]:
    return {e.code: e.base for e in entries()}


@cache
def _ground_of() -> dict[str, str]:
    return {e.code: OF_GROUP[e.group] for e in entries()}


def _batch(pictures: Tensor, ids: Sequence[str]) -> Batch:
    data = pairs_of(pictures, [c[0] for c in captions(ids, 1)], ids, [_base()[i] for i in ids])
    batch = data.load(range(len(data))).batch
    assert batch is not None
    return batch


@cache
def _photographs() -> list[Any]:
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def crops(names: Sequence[str], purposes: Sequence[str]) -> Tensor:
    """Crops [N, 3, 32, 32] of grounds by name, 64 pixels wide where the area has them, at half size."""
    keys = sample_keys(purposes, "ground")
    out = []
    for name, (u, v) in zip(names, integers(keys, 2**20, 2), strict=True):
        photograph, (top, left, bottom, right) = CROPS[name]
        area = _photographs()[photograph][top:bottom, left:right]
        y, x = int(u) % (area.shape[0] - 2 * SIDE), int(v) % (area.shape[1] - 2 * SIDE)
        cut = area[y : y + 2 * SIDE, x : x + 2 * SIDE].astype(np.float32) / 255
        out.append(cut.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).contiguous()


def opacity(pictures: Tensor) -> Tensor:
    """1 at the object, 0 at the white around it [N, 1, H, W]: white that reaches the border is not the object's."""
    from scipy.ndimage import label

    white = (pictures > 0.97).all(dim=1).numpy()
    out = np.ones(white.shape, dtype=np.float32)
    for n, one in enumerate(white):
        parts, _ = label(one)
        edge = {*parts[0], *parts[-1], *parts[:, 0], *parts[:, -1]} - {0}
        out[n][np.isin(parts, list(edge))] = 0
    return torch.from_numpy(out)[:, None]


def composed(ids: Sequence[str], purposes: Sequence[str], grounds: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(pictures [N, 3, 32, 32], boxes of the objects [N, 4]) of emoji on these grounds, where `purposes` put them."""
    own = shown(ids)
    alpha = opacity(own)
    small = functional.interpolate(torch.cat([own * alpha, alpha], dim=1), size=(WIDE, WIDE), mode="area")
    place = integers(sample_keys(purposes, "place"), SIDE - WIDE + 1, 2)
    pictures, boxes = crops(grounds, purposes), torch.zeros(len(ids), 4, dtype=torch.long)
    for n, (y, x) in enumerate(place.tolist()):
        over, by = small[n, :3], small[n, 3:]
        part = pictures[n, :, y : y + WIDE, x : x + WIDE]
        part.mul_(1 - by).add_(over)
        rows, columns = (by[0] > 0).any(dim=1).nonzero().flatten(), (by[0] > 0).any(dim=0).nonzero().flatten()
        top, left = int(rows[0]), int(columns[0])
        boxes[n] = torch.tensor([y + top, x + left, int(rows[-1]) - top + 1, int(columns[-1]) - left + 1])
    return pictures.clamp(0, 1), boxes


def _other(ids: Sequence[str]) -> list[str]:
    """One of the three grounds that do not go along with an emoji."""
    step = integers(sample_keys(ids, "another ground"), 3) + 1
    at = [GROUNDS.index(_ground_of()[i]) for i in ids]
    return [GROUNDS[(a + int(s)) % len(GROUNDS)] for a, s in zip(at, step.reshape(-1).tolist(), strict=True)]


@cache
def _trained_on() -> tuple[InMemory, dict[str, Tensor]]:
    members, _, _ = split_ids()
    codes, texts, ids = _repeated(members)
    pictures, boxes = composed(codes, ids, [_ground_of()[c] for c in codes])
    alone = [f"ground {k}" for k in range(len(ids) // 4)]  # a fifth of all
    names = [GROUNDS[k % len(GROUNDS)] for k in range(len(alone))]
    named = [SAID[g][int(u)] for g, u in zip(names, integers(sample_keys(alone, "said"), 3).reshape(-1), strict=True)]
    data = pairs_of(
        torch.cat([pictures, crops(names, alone)]),
        [*texts, *named],
        [*ids, *alone],
        [*(_base()[c] for c in codes), *alone],
    )
    return data, dict(zip([*ids, *alone], [*boxes, *torch.zeros(len(alone), 4, dtype=torch.long)], strict=True))


def boxes(pictures: Tensor, ids: Sequence[str]) -> Tensor:
    """Where the object is in each training picture, as annotations say it; of a ground alone, none."""
    known = _trained_on()[1]
    return torch.stack([known[i] for i in ids])


@cache
def pasted() -> tuple[Dataset, Batch, Batch, dict[str, Value]]:
    """(training pairs, test pairs on the ground of their group, the same on another ground, distractors)."""
    _, test, far = split_ids()
    own = [_ground_of()[i] for i in test]
    here, there = (composed(test, test, g)[0] for g in (own, _other(test)))
    distractors = composed(far, far, [_ground_of()[i] for i in far])[0]
    gallery = {"image": distractors, "text": [c[0] for c in captions(far, 1)]}
    return _trained_on()[0], _batch(here, test), _batch(there, test), gallery


@dataclass(frozen=True)
class Told:
    """One arm: share of right answers [S · N] per condition (mean of both ways), seeds one after another."""

    clean: Tensor
    shifted: Mapping[str, Tensor]
    clusters: Sequence[str]
    notes: tuple[str, ...]


def recall(arm: Told) -> dict[str, str]:
    """R@1 by condition."""
    found = {"clean": arm.clean, **arm.shifted}
    return {name: str(mean(right, arm.clusters, bounds=(0, 1))) for name, right in found.items()}


def told(method: Mitigation) -> Told:
    """An arm trained on every seed and asked for the clean test, the other grounds and the perturbations of `ROWS`."""
    data, here, there, _ = pasted()
    conditions = {BACKGROUND: there} | {name: changed(here, name) for name in ROWS}
    clean: list[Tensor] = []
    shifted: dict[str, list[Tensor]] = {name: [] for name in conditions}
    notes: tuple[str, ...] = ()
    for seed in SEEDS:
        done = method.apply(copy.deepcopy(started(seed)), as_members(data), Trainer(), seed=seed)
        assert isinstance(done.model, Retrieval)
        notes = (*notes, done.notes[0])
        clean.append(_both(done.model, here))
        for name, batch in conditions.items():
            shifted[name].append(_both(done.model, batch))
    assert here.clusters is not None
    return Told(
        torch.cat(clean),
        {n: torch.cat(v) for n, v in shifted.items()},
        list(here.clusters) * len(SEEDS),
        (*notes, *done.notes[1:]),
    )


def _both(model: Retrieval, batch: Batch) -> Tensor:
    first, second = found(model, batch)
    return (first.double() + second.double()) / 2


def changed(batch: Batch, name: str) -> Batch:
    """The same pairs with one side changed by a row of the perturbation table, at severity 3."""
    p = next(p for p in TABLE if p.name == name)
    m = "image" if p.kind == "image" else "text"
    draws = Draws(sample_keys(batch.ids, "emoji on grounds", name))
    scale = SIDE / REFERENCE_SIZE if p.kind == "image" else 1.0
    return batch.with_inputs(**{m: p(batch.inputs[m], 3, draws, batch.modalities[m], scale=scale)})


def impact(arms: Sequence[Told], conditions: Sequence[str]) -> list[Estimate]:
    """MMI of each arm over these conditions; of two arms also that of the first minus that of the second."""
    by = arms[0].clusters
    columns = [c for a in arms for c in (a.clean, torch.stack([a.shifted[n] for n in conditions]).mean(dim=0))]
    totals = sum_by_cluster(torch.stack(columns, dim=1), by)

    def mmi(t: Any, k: int) -> Any:
        return 1 - t[:, 2 * k + 1] / t[:, 2 * k]

    figures: list[Callable[[Any], Any]] = [partial(mmi, k=k) for k in range(len(arms))]
    if len(arms) == 2:
        figures.append(lambda t: mmi(t, 0) - mmi(t, 1))
    return [bootstrap(totals, f, n=len(by), method="bootstrap by clusters") for f in figures]


def as_members(data: Dataset) -> Splits:
    """The data to train on, where nothing else is asked for."""
    return Splits(data, members=data)
