"""Made on a surrogate, tried on the target: what somebody can do who has never seen the model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.controls import random_search
from muroan.meter import Meter, Metered
from muroan.model import Model


@dataclass(frozen=True)
class Transferred:
    """What an attack made on `surrogate` is worth elsewhere. All success is per sample, [N].

    white_box: the surrogate's decision differs from its own on the unchanged sample; transfer: the target's does;
    random: the target's does for one random change of equal size; both_clean: both decided the unchanged sample alike.
    logits [N, K]: the target's. spent: passes through the surrogate; the target is asked three times.
    """

    surrogate: str
    target: str
    made: Attacked
    white_box: Tensor
    transfer: Tensor
    random: Tensor
    both_clean: Tensor
    logits: Tensor
    spent: Meter


def transfer(
    attack: Attack, surrogate: Model, target: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0
) -> Transferred:
    """Run `attack` on the surrogate alone and put what it made to the target.

    An attack that can go on after the surrogate's decision has changed (`stop`) does: what lies just beyond one model's
    boundary seldom lies beyond another's. Other attacks stop there, which understates what transfers.
    """
    if tuple(surrogate.modalities) != tuple(target.modalities):
        raise AskedWrongly(
            f"the surrogate {surrogate.name} reads {', '.join(surrogate.modalities)}, "
            f"the target {', '.join(target.modalities)}"
        )
    if any(f.name == "stop" and isinstance(getattr(attack, "stop", None), bool) for f in fields(attack)):
        attack = replace(attack, stop=False)  # type: ignore[call-arg]
    source = Metered(surrogate, batch.modalities)
    theirs = source.of(batch).argmax(dim=1)
    made = attack.run(source, batch, budgets, seed=seed)
    before = target.of(batch).argmax(dim=1)
    logits = target.of(made.batch)
    return Transferred(
        surrogate=surrogate.name,
        target=target.model.name,
        made=made,
        white_box=source.of(made.batch).argmax(dim=1) != theirs,
        transfer=logits.argmax(dim=1) != before,
        random=random_search(target, batch, budgets, 1, seed=seed, purpose="transfer").success,
        both_clean=torch.eq(theirs, before) if surrogate.classes == target.classes else torch.ones(len(batch)) > 0,
        logits=logits,
        spent=source.meter,
    )
