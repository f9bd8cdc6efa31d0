"""Gradient attacks on pictures: Muroan's PGD and APGD beside foolbox's and ART's, on the shipped model, in one process.

All: L∞, 8/255, the same pictures, only such as the model gets right, the question fixed and encoded once. PGD: the same
steps, step length and starts, the first at the picture itself, the others random. foolbox and ART run their starts one
after another on all samples and look at where each ends; Muroan drops what is decided and looks at every step. APGD:
one start, at the picture itself for Muroan and at random for ART, on the odds and on cross-entropy, whose gradients
point the same way. Repeats of all contenders are interleaved; times are medians, ratios medians of each repeat's ratio.

Beside that: what dropping decided samples and stacking starts save or cost, in rows of backward passes and seconds; and
how much longer Muroan's loop takes than the bare forward and backward passes that it makes, with nothing dropped.

    python benchmarks/pgd.py [--samples 256] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import foolbox
import numpy as np
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from muroan import Budget
from muroan.batch import Batch
from muroan.data.easy_vqa import easy_vqa
from muroan.estimate import paired_difference, proportion
from muroan.interventions.attacks.apgd import APGD
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.pgd import PGD
from muroan.meter import Metered
from muroan.models.easy_vqa.model import easy_vqa_model

RADIUS, STEPS, STARTS, ADAPTIVE_STEPS = 8 / 255, 15, 2, 50
STEP = 2.5 * RADIUS / STEPS


class OfPictures(nn.Module):
    """The shipped model as a function of pictures alone; row k is asked question k."""

    def __init__(self, network: nn.Module, question: Tensor) -> None:
        super().__init__()
        self.network, self.question = network, question

    def forward(self, images: Tensor) -> Tensor:
        if len(images) not in (1, len(self.question)):  # a part of the rows would be asked the questions of others
            raise ValueError(f"{len(images)} pictures for {len(self.question)} questions")
        # One alone: ART puts a picture of ones to a model to see whether it gives probabilities.
        question = self.question[: len(images)]
        return self.network.decide(self.network.fuse(self.network.encode_image(images), question))


@dataclass(frozen=True, kw_only=True)
class Undropped(PGD):
    """PGD that goes on with what is decided: what every attack costs that drops nothing."""

    def _objective(self, *given: Any) -> Any:
        objective = super()._objective(*given)

        def never_decided(x: Any, sample: Tensor) -> Any:
            seen = objective(x, sample)
            return replace(seen, decided=torch.zeros_like(seen.decided))

        return never_decided


def interleaved(
    work: Mapping[str, Callable[[], Tensor]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of every contender by repeat, after one warm-up of each; and what each returned last."""
    results = {name: do() for name, do in work.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, do in work.items():
            start = time.perf_counter()
            results[name] = do()
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def ratio(seconds: Mapping[str, list[float]], one: str, other: str) -> float:
    """How many times longer `one` takes than `other`: the median over repeats."""
    return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def by_muroan(attack: GradientAttack, model: Metered, batch: Batch) -> Callable[[], Tensor]:
    def run() -> Tensor:
        done = attack.run(model, batch, {"image": Budget(radius=RADIUS)})
        return done.logits.argmax(dim=1) != batch.targets

    return run


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    model, data = easy_vqa_model(), easy_vqa().audited
    loaded = data.load(range(0, len(data), len(data) // (options.samples + 20))).batch
    assert loaded is not None
    metered = Metered(model, data.schema.modalities)
    right = (metered.of(loaded).argmax(dim=1) == loaded.targets).nonzero().flatten()[: options.samples]
    batch = loaded.take(right)
    images, labels, n = batch.inputs["image"], batch.targets, len(batch)
    question = model.encode("question", batch.inputs["question"]).detach()
    # What is fixed is encoded once on all sides, so that only the search is compared.
    pictures = OfPictures(model.network, question).eval()
    wrapped = foolbox.PyTorchModel(pictures, bounds=(0, 1))
    shape = tuple(images.shape[1:])
    classifier = PyTorchClassifier(
        pictures, nn.CrossEntropyLoss(), shape, len(model.classes), clip_values=(0.0, 1.0), device_type="cpu"
    )
    plain = images.numpy().astype(np.float32)

    def of_foolbox() -> Tensor:
        success = torch.zeros(n, dtype=torch.bool)
        for k in range(STARTS):
            attack = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=STEP, random_start=k > 0)
            success |= attack(wrapped, images, labels, epsilons=RADIUS)[2]
        return success

    @torch.no_grad()
    def fooled(changed: Any) -> Tensor:
        return pictures(torch.from_numpy(changed)).argmax(dim=1) != labels

    def of_art() -> Tensor:
        success = torch.zeros(n, dtype=torch.bool)
        for k in range(STARTS):
            attack = ProjectedGradientDescentPyTorch(
                classifier, eps=RADIUS, eps_step=STEP, max_iter=STEPS, num_random_init=int(k > 0), batch_size=n,
                verbose=False,
            )  # fmt: skip
            success |= fooled(attack.generate(plain, labels.numpy()))
        return success

    def adaptive_of_art() -> Tensor:
        attack = AutoProjectedGradientDescent(
            classifier, eps=RADIUS, eps_step=2 * RADIUS, max_iter=ADAPTIVE_STEPS, nb_random_init=1, batch_size=n,
            loss_type="cross_entropy", verbose=False,
        )  # fmt: skip
        # It makes a classifier of its own, which predicts 128 rows at a time: the others' questions would be asked.
        attack.estimator.predict = partial(attack.estimator.predict, batch_size=n)
        return fooled(attack.generate(plain, labels.numpy()))

    def bare() -> Tensor:
        with torch.no_grad():  # the decision itself, and where each start ends
            for _ in range(1 + STARTS):
                pictures(images)
        for _ in range(STEPS * STARTS):
            leaf = images.detach().requires_grad_()
            torch.autograd.grad(loss_of(pictures(leaf), labels).sum(), leaf)
        return torch.zeros(n, dtype=torch.bool)

    ours: dict[str, GradientAttack] = {
        "muroan PGD": PGD(steps=STEPS, restarts=STARTS),
        "muroan PGD, starts stacked": PGD(steps=STEPS, restarts=STARTS, stacked=True),
        "muroan PGD, nothing dropped": Undropped(steps=STEPS, restarts=STARTS),
        "muroan APGD": APGD(steps=ADAPTIVE_STEPS),
    }
    work: dict[str, Callable[[], Tensor]] = {name: by_muroan(attack, metered, batch) for name, attack in ours.items()}
    work |= {"foolbox PGD": of_foolbox, "ART PGD": of_art, "ART APGD": adaptive_of_art, "bare passes": bare}
    seconds, success = interleaved(work, options.repeats)
    rows = {}
    for name in ours:
        metered.meter.counts.clear()
        work[name]()
        rows[name] = metered.meter.counts["backward"]
    pairs = [("foolbox PGD", "muroan PGD"), ("ART PGD", "muroan PGD"), ("ART APGD", "muroan APGD")]
    found = {
        "benchmark": "pgd",
        "samples": n,
        "settings": {"radius": RADIUS, "steps": STEPS, "starts": STARTS, "APGD's steps": ADAPTIVE_STEPS},
        "threads": torch.get_num_threads(),
        "seconds": {name: statistics.median(s) for name, s in seconds.items()},
        "times_faster": {f"{ours_}, than {peer}": ratio(seconds, peer, ours_) for peer, ours_ in pairs},
        "success": {name: str(proportion(s)) for name, s in success.items() if name != "bare passes"},
        "success_difference": {
            f"{ours_} minus {peer}": str(paired_difference(success[ours_], success[peer])) for peer, ours_ in pairs
        },
        "backward_rows": rows | {"without dropping": n * STEPS * STARTS},
        "dropping": {
            "times faster than nothing dropped": ratio(seconds, "muroan PGD, nothing dropped", "muroan PGD"),
            "stacked starts, times faster": ratio(seconds, "muroan PGD", "muroan PGD, starts stacked"),
        },
        "overhead": {
            "nothing dropped, over bare passes": ratio(seconds, "muroan PGD, nothing dropped", "bare passes") - 1,
        },
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
