"""Trains the shipped networks: `python -m muroan.models.watch.train [--out DIR] [--seed 0]`.

Writes weights.safetensors and right_arm.safetensors. The data are the members of `watch` and of `watch-other-arm`; a
few seconds on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from muroan.data.watch import watch, watch_other_arm
from muroan.models.shipped import save
from muroan.models.watch.model import FILE, RIGHT_ARM
from muroan.models.watch.recipe import NOISE, SCHEDULE, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for file, splits in ((FILE, watch()), (RIGHT_ARM, watch_other_arm())):
        model, done = train(splits.members, seed=options.seed)
        facts = {"seed": options.seed, "schedule": asdict(SCHEDULE), "noise": NOISE, "went": done.note}
        save(options.out / file, model, {"data": splits.audited.name, **facts})


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
