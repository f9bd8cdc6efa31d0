"""Trains the shipped network: `python -m muroan.models.digit_views.train [--out DIR] [--seed 0]`.

Writes weights.safetensors. The data are the members of `multiple-features`; a few seconds on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from muroan.models.digit_views.model import FILE
from muroan.models.digit_views.recipe import NOISE, SCHEDULE, train
from muroan.models.shipped import save


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    model, done = train(seed=options.seed)
    save(
        options.out / FILE,
        model,
        {"seed": options.seed, "schedule": asdict(SCHEDULE), "noise": NOISE, "went": done.note},
    )


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
