"""Handwritten digits from two places, as pictures of 8×8: a real shift that a model can know of and forget.

"forms": scikit-learn's copy of the UCI optical digits (1,797, by 43 writers). "maps": the pixel view of the UCI
multiple features (2,000, from Dutch utility maps), averaged from 16×15 to 8×8; strokes are thicker and fill the frame.
A small network is pretrained on 20 of each digit of both, and 60 more of each digit of one of them are there to
fine-tune it on. Tests are what is left of either. Sizes and the recipe were settled before anything was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from muroan import Splits, Tabular, TorchModel
from muroan.data.memory import InMemory
from muroan.data.multiple_features import DIGITS, digits, view
from muroan.dataset import Dataset
from muroan.losses import task_loss
from muroan.randomness import choose, key
from muroan.training import Schedule, Trainer

SOURCES = ("forms", "maps")
PRETRAINED, FINE_TUNED = 20, 60
"""Of each digit: of either source, and of the one that is fine-tuned on."""
WIDTH = 64
PIXELS = {"pixels": Tabular(columns=tuple(f"pixel {k}" for k in range(64)))}


@cache
def source(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures [N, 64] from 0 (paper) to 1 (ink), and their digits [N]."""
    if name == "forms":
        found = load_digits()
        return (found.images.reshape(-1, 64) / 16).astype(np.float32), found.target.astype(np.int64)
    whole = torch.from_numpy(view("pixels").reshape(-1, 1, 16, 15)).float() / 6
    return functional.adaptive_avg_pool2d(whole, 8).flatten(1).numpy(), digits()


@dataclass(frozen=True)
class Bed:
    """start: pretrained on both sources. splits: members of the own source, its test as audited data; shifted: the test
    of the other one, of which nothing but the few of the pretraining was seen."""

    start: TorchModel
    splits: Splits
    shifted: Dataset


def bed(own: str, seed: int) -> Bed:
    """The world in which a model of both is fine-tuned on `own`."""
    (other,) = (s for s in SOURCES if s != own)
    pretrained, left = zip(
        *(_drawn(s, np.arange(len(source(s)[1])), PRETRAINED, seed) for s in (own, other)), strict=True
    )
    members, test = _drawn(own, left[0], FINE_TUNED, seed)
    both = _data([(own, pretrained[0]), (other, pretrained[1])], "both")
    splits = Splits(_data([(own, test)], own), members=_data([(own, members)], f"{own} (members)"))
    return Bed(_pretrained(both, seed), splits, _data([(other, left[1])], other))


def network(seed: int) -> TorchModel:
    """Two hidden layers and a head, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key("two digit sources", seed) % 2**62)
        body = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        head = nn.Linear(WIDTH, len(DIGITS))
    return TorchModel(encoders={"pixels": body}, fusion=_only, head=head, classes=DIGITS, name="digits of two sources")


def _only(codes: dict[str, torch.Tensor]) -> torch.Tensor:
    return codes["pixels"]


def _pretrained(both: Dataset, seed: int) -> TorchModel:
    model = network(seed)
    schedule = Schedule(epochs=60, batch=32, rate=2e-3, patience=10)
    Trainer().fit(model.trainable(), lambda b: task_loss(model, b), both, schedule, seed=seed)
    return model


def _drawn(name: str, rows: NDArray[np.int64], each: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`each` rows of every digit, and the others."""
    y = source(name)[1]
    picked: list[int] = []
    for digit in range(len(DIGITS)):
        own = rows[y[rows] == digit]
        picked += own[choose([f"{name} {i}" for i in own], each, "two digit sources", seed)].tolist()
    taken = np.array(sorted(picked))
    return taken, np.setdiff1d(rows, taken)


def _data(parts: list[tuple[str, NDArray[np.int64]]], name: str) -> InMemory:
    return InMemory(
        {"pixels": np.concatenate([source(s)[0][rows] for s, rows in parts])},
        targets=np.concatenate([source(s)[1][rows] for s, rows in parts]),
        modalities=PIXELS,
        classes=DIGITS,
        ids=[f"{s} {i}" for s, rows in parts for i in rows],
        name=name,
    )
