"""Trains the shipped networks: `python -m muroan.models.watch.train [--out DIR] [--seed 0]`.

Writes weights.safetensors and right_arm.safetensors. The data are the members of `watch` and of `watch-other-arm`; a
few seconds on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from muroan.data.watch import watch, watch_other_arm
from muroan.models import shipped
from muroan.models.watch.network import FILE, NOISE, RIGHT_ARM, SCHEDULE, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and saves."""
    options = shipped.options(__doc__, __file__, arguments, seed=0)
    for file, splits in ((FILE, watch()), (RIGHT_ARM, watch_other_arm())):
        model, done = train(splits.members, seed=options.seed)
        facts = {"seed": options.seed, "schedule": asdict(SCHEDULE), "noise": NOISE, "went": done.note}
        shipped.save(options.out / file, model.trainable(), {"data": splits.audited.name, **facts})


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
