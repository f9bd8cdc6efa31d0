"""Trains the shipped network: `python -m muroan.models.digit_views.train [--out DIR] [--seed 0]`.

Writes weights.safetensors. The data are the members of `multiple-features`; a few seconds on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from muroan.models import shipped
from muroan.models.digit_views.network import FILE, NOISE, SCHEDULE, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and saves."""
    options = shipped.options(__doc__, __file__, arguments, seed=0)
    model, done = train(seed=options.seed)
    facts = {"seed": options.seed, "schedule": asdict(SCHEDULE), "noise": NOISE, "went": done.note}
    shipped.save(options.out / FILE, model.trainable(), facts)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
