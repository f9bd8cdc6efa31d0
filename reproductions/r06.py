"""LeMDA (Liu et al., ICLR 2023): features augmented by a network that learns against the task, with ten labels a class.

T-view: handwritten digits in six views (UCI Multiple Features), one encoder a view, concatenated codes and a head. Of
each digit ten labels, drawn anew by each of six seeds; the 1,340 digits of the two other splits are the test. Three
trainings of the same network, equally long: plain, with LeMDA's defaults, and with Gaussian noise on the features whose
mean square equals that of LeMDA's change at the same step, everything else alike. Nothing is tuned: the verdict is on
the source's weights. Beside it, and without a say in it, stand two larger weights of the reversed gradient, each with
its own Gaussian control, to see whether nothing comes of it because next to nothing is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.multiple_features import multiple_features
from muroan.dataset import Dataset
from muroan.estimate import Estimate, mean, paired_difference
from muroan.losses import task_loss
from muroan.mitigations.lemda import Augmenter, Features, LeMDA, two_sided
from muroan.model import TorchModel
from muroan.models.digit_views import network
from muroan.randomness import choose
from muroan.training import Loss, Schedule, Trainer

SEEDS = (0, 1, 2, 3, 4, 5)
LABELS = 10
METHOD = LeMDA(epochs=60, batch=32)
SCHEDULE = Schedule(epochs=METHOD.epochs, batch=METHOD.batch, rate=METHOD.rate, patience=METHOD.epochs)
LARGER = (1e-2, 1.0)
"""Weights of the reversed gradient that are not the source's (1e-4)."""


def few(seed: int) -> Dataset:
    """Ten members of each digit."""
    members = multiple_features().members
    assert members is not None
    batch = members.load(range(len(members))).batch
    assert batch is not None
    kept = []
    for digit in range(10):
        own = (batch.targets == digit).nonzero().flatten().tolist()
        kept += [own[k] for k in choose([batch.ids[i] for i in own], LABELS, "r06", seed)]
    return members.subset(sorted(kept), "ten of each digit")


def test_part() -> Batch:
    """All digits of the other two splits."""
    splits = multiple_features()
    assert splits.reference is not None
    found = [d.load(range(len(d))).batch for d in (splits.audited, splits.reference)]
    return Batch.concat([b for b in found if b is not None])


def trained(seed: int, loss_of: Callable[[TorchModel], Loss], beside: nn.Module | None = None) -> TorchModel:
    """The network of this seed after a training by this loss."""
    model = network(seed=seed)
    modules = model.trainable() if beside is None else nn.ModuleDict({"model": model.trainable(), "beside": beside})
    Trainer().fit(modules, loss_of(model), few(seed), SCHEDULE, seed=seed, validation=lambda b: task_loss(model, b))
    return model


def lemda(seed: int, sizes: list[float], method: LeMDA) -> TorchModel:
    """With the learnt change; its mean square at every step is left in `sizes`."""
    augmenter: Augmenter = method.augmenter(network(seed=seed), few(seed), seed)

    def loss_of(model: TorchModel) -> Loss:
        def loss(batch: Batch) -> Tensor:
            t = method.terms(model, augmenter, batch)
            sizes.append(float(t.change.detach()))
            kept = method.change * t.change + method.spread * t.spread
            return t.task + kept + method.consistency * t.consistency

        return loss

    return trained(seed, loss_of, augmenter)


def gaussian(seed: int, sizes: list[float]) -> TorchModel:
    """With as much noise at every step, and the consistency that LeMDA has."""
    left = iter(sizes)

    def loss_of(model: TorchModel) -> Loss:
        def loss(batch: Batch) -> Tensor:
            features = Features.of(model, batch)
            known = features.z.detach()
            new = known + next(left) ** 0.5 * torch.randn_like(known)
            task, consistent = two_sided(model, batch, features, new, adversarial=0.0, sure=METHOD.sure)
            return task + METHOD.consistency * consistent

        return loss

    return trained(seed, loss_of)


def run() -> dict[str, Any]:
    """All seeds, and the differences pooled over them."""
    batch = test_part()
    weights = (METHOD.adversarial, *LARGER)
    right: dict[tuple[str, float], list[Tensor]] = {}
    loss: dict[tuple[str, float], list[Tensor]] = {}
    sizes: dict[float, list[float]] = {w: [] for w in weights}
    for seed in SEEDS:
        models: dict[tuple[str, float], TorchModel] = {
            ("plain", 0.0): trained(seed, lambda m: lambda b: task_loss(m, b))
        }
        for w in weights:
            own: list[float] = []
            models["lemda", w] = lemda(seed, own, replace(METHOD, adversarial=w))
            models["gaussian", w] = gaussian(seed, own)
            with torch.no_grad():
                scale = float(Features.of(models["lemda", w], batch).z.square().mean())
            sizes[w].append(float(np.mean(own)) / scale)
        for arm, model in models.items():
            with torch.no_grad():
                said = model.predict(batch.inputs)
            right.setdefault(arm, []).append(said.argmax(dim=1) == batch.targets)
            loss.setdefault(arm, []).append(functional.cross_entropy(said, batch.targets, reduction="none"))
    by = list(batch.ids) * len(SEEDS)
    accuracy = {a: mean(torch.cat(v).double(), by, bounds=(0, 1)) for a, v in right.items()}

    def compared(w: float) -> dict[str, Estimate]:
        own = torch.cat(right["lemda", w])
        others = {"no augmentation": ("plain", 0.0), "Gaussian noise of equal mean square": ("gaussian", w)}
        return {name: paired_difference(own, torch.cat(right[arm]), by) for name, arm in others.items()}

    gain = compared(METHOD.adversarial)
    lower = {
        name: mean(torch.cat(loss["lemda", METHOD.adversarial]) - torch.cat(loss[arm]), by)
        for name, arm in (("no augmentation", ("plain", 0.0)), ("Gaussian", ("gaussian", METHOD.adversarial)))
    }
    not_above = [name for name, g in gain.items() if not g.low > 0]
    return {
        "row": "R06",
        "claim": "At ten labels a class learnt feature augmentation beats none, and Gaussian noise of equal size.",
        "source": "Liu et al., ICLR 2023, arXiv 2212.14453 (as released but for the decoder's last layer)",
        "measured": {
            "accuracy": {a: str(accuracy[a, w]) for a, w in (("plain", 0.0), ("lemda", 1e-4), ("gaussian", 1e-4))},
            "accuracy, lemda minus": {name: str(e) for name, e in gain.items()},
            "loss, lemda minus": {name: str(e) for name, e in lower.items()},
            "mean square of the change over that of the features": f"{np.mean(sizes[METHOD.adversarial]):.2e}",
            "larger weights of the reversed gradient (no part of the verdict)": {
                f"{w:g}": {
                    "accuracy": str(accuracy["lemda", w]),
                    "mean square of the change over that of the features": f"{np.mean(sizes[w]):.2e}",
                    **{f"accuracy, lemda minus {name}": str(e) for name, e in compared(w).items()},
                }
                for w in LARGER
            },
            "labels": f"{LABELS} a class, {len(SEEDS)} seeds (labels and weights), {len(batch)} test digits",
        },
        "verdict": f"does not hold here: not above {' nor above '.join(not_above)}" if not_above else "holds",
        "command": "python reproductions/r06.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
