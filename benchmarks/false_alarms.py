"""How often does a probe alarm about a model that has nothing of what it looks for?

One data set a seed; an alarm is a default limit that is broken. The twin adds up two redundant cues that are plain to
see, knows how noisy the labels are, treats groups alike and was never trained on anything.

    python benchmarks/false_alarms.py [--seeds 60]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from muroan import Dataset, Model, Splits, Text, TorchModel, registry
from muroan.checks import false_alarms
from muroan.data.memory import InMemory
from muroan.modality import Image

SIDE, N = 16, 400
CLASSES = ("cold", "warm")


def world(seed: int) -> Splits:
    """Pictures that are bright or dark all over and sentences of five words that say so; the label follows both, with
    noise that nobody can foresee. Groups and membership are drawn at random."""

    def one(name: str) -> Dataset:
        rng = np.random.default_rng([seed, *name.encode()])
        y = rng.integers(0, 2, N)
        image = (0.5 + 0.3 * (2 * y - 1)[:, None, None, None] + rng.uniform(-0.05, 0.05, (N, 3, SIDE, SIDE))).astype(
            "f"
        )
        words = [" ".join(["warm" if v else "cold"] * 5) for v in y]
        flip = rng.random(N) < 0.1
        return InMemory(
            {"image": image, "text": words},
            targets=np.where(flip, 1 - y, y),
            modalities={"image": Image(size=(SIDE, SIDE)), "text": Text()},
            classes=CLASSES,
            groups={"site": rng.choice(["north", "south", "east"], N).tolist()},
            ids=[f"{name}-{i}" for i in range(N)],
            name=name,
        )

    return Splits(one("audited"), one("reference"), one("members"))


def twin() -> Model:
    """Adds up what both inputs say and knows how noisy labels are: log-odds of 0.9, less where an input is missing."""

    def text(values: list[str]) -> Tensor:
        score = [sum((w == "warm") - (w == "cold") for w in v.split()) / 5 for v in values]
        return torch.tensor(score).view(-1, 1)

    def picture(values: Tensor) -> Tensor:
        return (values.mean(dim=(1, 2, 3))[:, None] - 0.5).mul(20).tanh()

    return TorchModel(
        encoders={"image": picture, "text": text},
        fusion=lambda codes: codes["image"] + codes["text"],
        head=lambda z: torch.cat([-z, z], dim=1) * (np.log(9.0) / 4),
        classes=CLASSES,
        name="clean twin",
    )


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--probe", action="append")
    options = parser.parse_args()
    model = twin()
    rates = {}
    make: Callable[[int], tuple[Model, Splits]] = lambda seed: (model, world(seed))  # noqa: E731
    for name, method in registry.methods("probes").items():
        if options.probe and name not in options.probe:
            continue
        probe = method()
        why = probe.applies(model, world(0).audited.schema) or sorted(probe.needs - model.capabilities)
        if why:
            rates[name] = f"not applicable to the twin: {why}"
            continue
        estimate = false_alarms(probe, make, range(options.seeds))
        rates[name] = {"alarms": round(estimate.value * estimate.n), "seeds": estimate.n, "rate": str(estimate)}
        print(name, rates[name], flush=True)
    found = {"benchmark": "false_alarms", "promised": 0.05, "probes": rates}
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
