"""Missing modalities in transformers (Ma et al., CVPR 2022): masks, multi-task training, where to fuse.

A small transformer (`FusionTransformer`, two layers) that masks what is missing, on two beds: digits in three views
(real), and scanned digits with a made caption (semi-synthetic). Plain training at three training
missing rates and multi-task training, all of one size and of as many steps, three seeds; accuracy against the test
missing rate, which is an exact mixture. Then every fusion layer is tried, and validation chooses. Nothing is tuned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.data.memory import InMemory
from muroan.data.multiple_features import VIEWS as SIX
from muroan.data.multiple_features import multiple_features
from muroan.dataset import Dataset
from muroan.estimate import Estimate, mean, paired_difference
from muroan.losses import task_loss
from muroan.mitigations.masked_training import MaskedMultitask
from muroan.mitigations.masking import left
from muroan.modality import Tabular, Text
from muroan.models.fusion_transformer import FusionTransformer, Pieces, Words
from muroan.randomness import integers, key, sample_keys, uniform
from muroan.robustness.distribution_shift.fusion_layer import FusionSearch, search_fusion_layer
from muroan.robustness.distribution_shift.modality_grid import ModalityGrid
from muroan.training import Loss, Schedule, Trainer

SEEDS = (0, 1, 2)
LAYERS, MIDDLE, DIM, HEADS, TOKENS = 2, 1, 32, 2, 4
RATES = (0.0, 0.3, 0.7)
"""Shares of the training samples that lack one input."""
SCHEDULE = Schedule(epochs=20, batch=128, rate=3e-3, patience=20)
WORDS = ("even", "odd", "small", "large")


@dataclass(frozen=True)
class Bed:
    """Data to train on, to choose on and to score on, and how an input becomes tokens."""

    members: Dataset
    validation: Dataset
    test: Dataset
    tokens: Callable[[], dict[str, torch.nn.Module]]


def view() -> Bed:
    """The first three views of the multiple features."""
    views = tuple(SIX)[:3]
    splits = multiple_features(views)
    assert splits.members is not None
    assert splits.reference is not None
    return Bed(
        splits.members,
        splits.reference,
        splits.audited,
        lambda: {v: Pieces(SIX[v][1], TOKENS, DIM) for v in views},
    )


def pair() -> Bed:
    """Scanned digits at half their size, and a caption that says even or odd, small or large."""
    from sklearn.datasets import load_digits

    found = load_digits()
    halved = (found.images / 16).reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16).astype(np.float32)
    ids = [f"scan {i}" for i in range(len(halved))]
    captions = [f"{WORDS[t % 2]} {WORDS[2 + (t >= 5)]}" for t in found.target]
    order = uniform(sample_keys(ids, "r05 split")).argsort(kind="stable")
    centre, scale = halved[order[:700]].mean(axis=0), halved[order[:700]].std(axis=0) + 1e-6

    def part(rows: np.ndarray, name: str) -> InMemory:
        return InMemory(
            {"image": (halved[rows] - centre) / scale, "caption": [captions[i] for i in rows]},
            targets=found.target[rows],
            modalities={"image": Tabular(columns=tuple(f"pixel {k}" for k in range(16))), "caption": Text()},
            classes=tuple("0123456789"),
            ids=[ids[i] for i in rows],
            name=f"scans and captions ({name})",
        )

    return Bed(
        part(order[:700], "members"),
        part(order[700:1100], "validation"),
        part(order[1100:], "test"),
        lambda: {"image": Pieces(16, TOKENS, DIM), "caption": Words(WORDS, 2, DIM)},
    )


def network(bed: Bed, fusion_layer: int, seed: int) -> FusionTransformer:
    """Untrained; the same weights for every fusion layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key("r05 tokens", seed) % 2**62)
        tokens = bed.tokens()
    classes = bed.members.schema.classes
    return FusionTransformer(
        tokens, classes=classes, fusion_layer=fusion_layer, layers=LAYERS, dim=DIM, heads=HEADS, seed=seed
    )


def lacking(model: FusionTransformer, rate: float, seed: int) -> Loss:
    """Plain training on data of which a share lacks one input, the same one at every step."""

    def loss(batch: Batch) -> Tensor:
        keys = sample_keys(batch.ids, "r05 lacks", seed)
        draws = uniform(keys, 2)
        which = integers(sample_keys(batch.ids, "r05 which", seed), len(model.modalities))
        gone = (draws[:, :1] < rate) & (which[:, None] == np.arange(len(model.modalities)))
        return task_loss(model, left(model, batch, torch.from_numpy(~gone)))

    return loss


def trained(bed: Bed, fusion_layer: int, seed: int, rate: float | None) -> FusionTransformer:
    """Trained plainly at this training missing rate; None: with the multi-task loss, on complete data."""
    model = network(bed, fusion_layer, seed)
    loss = MaskedMultitask().loss(model, bed.members) if rate is None else lacking(model, rate, seed)
    Trainer(name="r05").fit(model.trainable(), loss, bed.members, SCHEDULE, seed=seed)
    return model


def asked(bed: Bed, model: FusionTransformer) -> ModalityGrid:
    """The model with everything, without each input, and with each alone."""
    names = tuple(bed.test.schema.modalities)
    tests = [names, *(_without(names, m) for m in names), *((m,) for m in names)]
    return ModalityGrid.measure(lambda kept: model, bed.test, train=[names], test=tests, how="absent")


def _without(names: Sequence[str], m: str) -> tuple[str, ...]:
    return tuple(x for x in names if x != m)


def measured(bed: Bed) -> tuple[dict[str, Any], dict[str, str]]:
    """All figures of one bed, and the verdict for each input that goes missing."""
    recipes: dict[str, float | None] = {**{f"plain, {r:.0%} lack an input": r for r in RATES}, "multi-task": None}
    models = {name: [trained(bed, MIDDLE, s, rate) for s in SEEDS] for name, rate in recipes.items()}
    each = {name: [asked(bed, m) for m in found] for name, found in models.items()}
    grids = {name: ModalityGrid.together(found) for name, found in each.items()}
    plain, multi = grids[next(iter(grids))], grids["multi-task"]
    names = plain.names
    figures: dict[str, Any] = {}
    verdicts: dict[str, str] = {}
    for m in names:
        rest = _without(names, m)

        def ends(grid: ModalityGrid, rest: tuple[str, ...] = rest) -> tuple[np.ndarray, np.ndarray]:
            return grid.correct[names, names], grid.correct[names, rest]

        (full, last), (full2, last2) = ends(plain), ends(multi)
        drop = plain.rows.lost(full, last)
        area = plain.rows.mean((full2 + last2 - full - last) / 2, (-1, 1))
        end = plain.rows.lost(last2, last)
        holds = drop.low > 0 and area.low > 0 and end.low > 0
        against = drop.high < 0 or area.high < 0 or end.high < 0
        verdicts[m] = "holds" if holds else "does not hold here" if against else "undecided"
        by_seed = [float(b.correct[names, rest].mean() - a.correct[names, rest].mean()) for a, b in _pairs(each)]
        figures[f"{m} missing"] = {
            "plain: lost from rate 0 to 1": str(drop),
            "multi-task minus plain, area under the curve": str(area),
            "multi-task minus plain, at rate 1": str(end),
            "the same by seed": [round(v, 4) for v in by_seed],
            "the same, mean over seeds": str(mean(by_seed)),
            **{
                f"{name}: at rate 0, at rate 1, area": [
                    str(g.rows.share(a)),
                    str(g.rows.share(b)),
                    str(g.rows.mean((a + b) / 2, (0, 1))),
                ]
                for name, g in grids.items()
                for a, b in [ends(g)]
            },
        }
    worst = {name: str(g.least(names).estimate) for name, g in grids.items()}
    figures |= {
        "multi-task minus plain, nothing missing": str(
            plain.rows.lost(multi.correct[names, names], plain.correct[names, names])
        ),
        "worst of everything, without one, one alone": worst,
        "parameters of each": network(bed, MIDDLE, 0).parameters,
        "search, multi-task, by seed": [_said(_searched(bed, s, models["multi-task"][k])) for k, s in enumerate(SEEDS)],
    }
    return figures, verdicts


def _pairs(each: dict[str, list[ModalityGrid]]) -> list[tuple[ModalityGrid, ModalityGrid]]:
    return list(zip(next(iter(each.values())), each["multi-task"], strict=True))


def _searched(bed: Bed, seed: int, known: FusionTransformer) -> FusionSearch[FusionTransformer]:
    """All fusion layers; the middle one is trained already."""

    def make(k: int) -> FusionTransformer:
        return known if k == MIDDLE else trained(bed, k, seed, None)

    return search_fusion_layer(make, LAYERS, bed.validation, bed.test)


def _said(found: FusionSearch[FusionTransformer]) -> dict[str, Any]:
    return {
        "validation by layer": [str(e) for e in found.validation],
        "chosen": found.chosen,
        "test of the chosen": str(found.test),
        "missing rate": found.rate,
    }


def alone(bed: Bed, seed: int = 0) -> dict[str, str]:
    """Whether the inputs are needed together: the plain model with everything minus models of one input alone."""
    names = tuple(bed.test.schema.modalities)
    whole = asked(bed, trained(bed, MIDDLE, seed, 0.0)).correct[names, names]
    out = {}
    for m in names:
        model = network(bed, MIDDLE, seed)
        mask = torch.tensor([x == m for x in names])

        def loss(batch: Batch, model: FusionTransformer = model, mask: Tensor = mask) -> Tensor:
            return task_loss(model, left(model, batch, mask.expand(len(batch), -1)))

        Trainer(name="r05 alone").fit(model.trainable(), loss, bed.members, SCHEDULE, seed=seed)
        gain: Estimate = paired_difference(whole, asked(bed, model).correct[names, (m,)])
        out[m] = str(gain)
    return out


def run() -> dict[str, Any]:
    """Both beds."""
    beds = {"three views": view(), "scans and captions": pair()}
    found = {name: measured(bed) for name, bed in beds.items()}
    return {
        "row": "R05",
        "claim": "Accuracy falls with the missing rate; multi-task training with masks raises the area under the curve "
        "and the accuracy at the largest rate, for every input, at equal parameter count.",
        "source": "Ma et al., CVPR 2022 (arXiv 2204.05454)",
        "measured": {
            **{name: figures for name, (figures, _) in found.items()},
            "scans and captions, seed 0: everything minus trained with one input alone": alone(
                beds["scans and captions"]
            ),
            "seeds": len(SEEDS),
            "intervals": "over samples, those of three trainings taken together; differences by seed beside them",
            "missing": "masked: no token attends to what is missing, and it is not read",
            "image missing": "a caption leaves two or three digits, so 0.4 is the most there is without the picture, "
            "and plain training is near it: there is nothing to raise",
            "beds": "three views: real; scans and captions: semi-synthetic, real pictures and made text",
        },
        "verdict": {
            f"{name}, {m} missing": verdict for name, (_, verdicts) in found.items() for m, verdict in verdicts.items()
        },
        "command": "python reproductions/r05.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
