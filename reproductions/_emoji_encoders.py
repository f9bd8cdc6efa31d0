"""What the reproductions of robust encoders share: the emoji towers, groups of emoji as classes, evaluation by APGD."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.data.emoji import CLASSES, EmojiData, emoji_groups, entries, rows_of
from muroan.dataset import Dataset, Splits
from muroan.interventions.attacks.apgd import APGD
from muroan.mitigations.robust_encoder import RobustEncoder
from muroan.model import Model
from muroan.models.emoji_towers import towers
from muroan.models.emoji_towers.model import group_texts
from muroan.models.two_encoder import ZeroShot
from muroan.randomness import choose
from muroan.robustness.adversarial.adaptive import Evaluated, defended
from muroan.training import Trainer

SEEDS = (0, 1, 2)
RADIUS = 4 / 255
TRAINING = {"radius": RADIUS, "steps": 4, "epochs": 8, "batch": 128, "rate": 1e-3}
ATTACK = APGD(steps=30)
"""More steps than in training, and another attack."""


def halves(seed: int) -> tuple[list[str], list[str]]:
    """Four groups of emoji to tune on and four that tuning never sees."""
    tuned = set(choose(CLASSES, len(CLASSES) // 2, "emoji encoders", seed))
    return [c for k, c in enumerate(CLASSES) if k in tuned], [c for k, c in enumerate(CLASSES) if k not in tuned]


def part(split: Dataset | None, classes: Sequence[str]) -> EmojiData:
    """A split's pictures of these groups."""
    assert split is not None
    everything = entries()
    return EmojiData(
        [n for n in rows_of(split.ids) if everything[n].group in classes], split.name, classes=tuple(classes)
    )


def zero_shot(classes: Sequence[str]) -> ZeroShot:
    """The shipped towers; a group is the mean code of its members' captions."""
    texts = group_texts()
    return towers("conv").zero_shot(tuple(classes), texts={c: texts[c] for c in classes})


def tuned(method: RobustEncoder, seed: int) -> tuple[ZeroShot, ZeroShot, Batch]:
    """(untouched, tuned on four groups, audited pictures of the other four), both models about those four."""
    mine, others = halves(seed)
    splits = emoji_groups()
    model = zero_shot(mine)
    data = Splits(part(splits.audited, mine), members=part(splits.members, mine))
    method.apply(model, data, Trainer(), seed=seed)
    texts = group_texts()
    after = model.towers.zero_shot(tuple(others), texts={c: texts[c] for c in others})
    audited = part(splits.audited, others)
    batch = audited.load(range(len(audited))).batch
    assert batch is not None
    return zero_shot(others), after, batch


def evaluated(base: Model, hardened: Model, batch: Batch) -> Evaluated:
    """Clean, static and adaptive robust accuracy at the radius of training."""
    torch.manual_seed(0)
    return defended(base, hardened, batch, {"image": Budget(radius=RADIUS)}, ATTACK)


def shown(found: Evaluated) -> dict[str, str]:
    """The figures of one input's evaluation as text."""
    ways = {f"robust accuracy, {w}": found.accuracy("image", w) for w in ("base", "static", "adaptive", "random")}
    rest = {"gain": found.gain("image"), "static minus adaptive": found.overstated("image"),
            "masked": found.masked("image")}  # fmt: skip
    clean = {"clean, before": found.clean_base, "clean, after": found.clean, "clean, change": found.clean_change}
    return {k: str(v) for k, v in (clean | ways | rest).items()}
