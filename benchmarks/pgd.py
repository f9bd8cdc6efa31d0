"""Gradient attack on pictures: Muroan's PGD beside foolbox's, on the shipped model, the same pictures in one process.

Both: L∞, 8/255, the same steps, step size and number of random starts, only samples that the model gets right, the
question fixed; the first start is the picture itself, the others are random. foolbox runs its starts one after another
on all samples and looks at where each ends; Muroan drops what is decided and looks at every step. How many rows of
backward passes that saved is counted.

    python benchmarks/pgd.py [--samples 256] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import foolbox
import torch
from torch import Tensor, nn

from muroan import Budget
from muroan.data.easy_vqa import easy_vqa
from muroan.estimate import paired_difference, proportion
from muroan.meter import Metered
from muroan.models.easy_vqa.model import easy_vqa_model
from muroan.robustness.adversarial.pgd import PGD

RADIUS, STEPS, STARTS = 8 / 255, 15, 2


class OfPictures(nn.Module):
    """The shipped model as a function of pictures alone; row k is asked question k."""

    def __init__(self, network: nn.Module, question: Tensor) -> None:
        super().__init__()
        self.network, self.question = network, question

    def forward(self, images: Tensor) -> Tensor:
        return self.network.decide(self.network.fuse(self.network.encode_image(images), self.question))


def timed(work: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """Median seconds, and the result."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


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
    labels = batch.targets
    question = model.encode("question", batch.inputs["question"]).detach()
    # What is fixed is encoded once on both sides, so that only the search is compared.
    wrapped = foolbox.PyTorchModel(OfPictures(model.network, question).eval(), bounds=(0, 1))
    step = 2.5 * RADIUS / STEPS
    attacks = [foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=step, random_start=k > 0) for k in range(STARTS)]

    def by_foolbox() -> Tensor:
        success = torch.zeros(len(labels), dtype=torch.bool)
        for attack in attacks:
            success |= attack(wrapped, batch.inputs["image"], labels, epsilons=RADIUS)[2]
        return success

    budgets = {"image": Budget(radius=RADIUS)}
    ours = PGD(steps=STEPS, restarts=STARTS)

    def by_muroan() -> Tensor:
        return ours.run(metered, batch, budgets).success

    seconds_f, success_f = timed(by_foolbox, options.repeats)
    seconds_m, success_m = timed(by_muroan, options.repeats)
    metered.meter.counts.clear()
    by_muroan()
    rows = metered.meter.counts["backward"]
    found = {
        "benchmark": "pgd",
        "samples": len(labels),
        "settings": {"radius": RADIUS, "steps": STEPS, "starts": STARTS},
        "threads": torch.get_num_threads(),
        "seconds": {"muroan": seconds_m, "foolbox": seconds_f},
        "times_faster": seconds_f / seconds_m,
        "success": {"muroan": str(proportion(success_m)), "foolbox": str(proportion(success_f))},
        "success_difference": str(paired_difference(success_m, success_f)),
        "backward_rows": {"muroan": rows, "without dropping": len(labels) * STEPS * STARTS},
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
