"""What is a defence worth against somebody who knows it? Accuracy before and after, on old examples and on new ones.

A defence that is only tried on examples made for the undefended model looks better than it is (Athalye et al., ICML
2018; Tramèr et al., NeurIPS 2020). So each input alone, and all together, are attacked four times over:

    base      the undefended model, by an attack on it
    static    the defended model, by the examples made on the undefended one
    direct    the defended model, by an attack that optimises through the defence
    random    the defended model, by random changes of the same radii, as many tries as the attack made passes

An adaptive attacker has the old examples too: adaptive accuracy counts samples that stay right under static and direct
ones. Where old examples break what the direct attack does not (`masked`), the defence hides its gradients rather than
its weakness, and the attack was too weak to conclude from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attack
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, bootstrap, paired_difference, proportion, sum_by_cluster
from muroan.interventions.attacks.controls import random_search
from muroan.interventions.attacks.pgd import PGD
from muroan.meter import Metered
from muroan.modality import copy, put
from muroan.model import Model

TOGETHER = "together"
"""The condition in which all inputs are attacked at once."""
Way = Literal["base", "static", "direct", "adaptive", "random"]
WAYS: tuple[Way, ...] = ("base", "static", "direct", "adaptive", "random")


@dataclass(frozen=True)
class Stays:
    """Which of N samples are right and stay so, bool [N] each; see the module for who attacks what."""

    base: Tensor
    static: Tensor
    direct: Tensor
    random: Tensor

    @property
    def adaptive(self) -> Tensor:
        return self.static & self.direct

    def of(self, way: Way) -> Tensor:
        stays: Tensor = getattr(self, way)
        return stays


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Outcomes of N samples, before and after a defence; every figure is a share of all N.

    before, after [N]: right on the sample itself. stays: by condition, each input alone under its name, all at once
    under `TOGETHER`. single: the inputs attacked alone. clusters: which samples are dependent, None: none.
    """

    before: Tensor
    after: Tensor
    stays: Mapping[str, Stays]
    single: tuple[str, ...]
    clusters: Sequence[str] | None = None

    @property
    def clean(self) -> Estimate:
        """Accuracy of the defended model on the samples themselves. 1: all right."""
        return proportion(self.after, self.clusters)

    @property
    def clean_base(self) -> Estimate:
        return proportion(self.before, self.clusters)

    @property
    def clean_change(self) -> Estimate:
        """What the defence costs: accuracy after minus before. Below 0: it costs."""
        return paired_difference(self.after, self.before, self.clusters)

    def accuracy(self, condition: str, way: Way) -> Estimate:
        """Robust accuracy: the share that is right and stays so. 1: nothing turns."""
        return proportion(self.stays[condition].of(way), self.clusters)

    def gain(self, condition: str) -> Estimate:
        """Adaptive robust accuracy of the defended model minus that of the base. Above 0: the defence helps."""
        stays = self.stays[condition]
        return paired_difference(stays.adaptive, stays.base, self.clusters)

    def overstated(self, condition: str) -> Estimate:
        """Static minus adaptive accuracy: how much better old examples make the defence look. 0: not at all."""
        stays = self.stays[condition]
        return paired_difference(stays.static, stays.adaptive, self.clusters)

    def masked(self, condition: str) -> Estimate:
        """Share that old examples break and the attack through the defence does not. 0: gradients are not hidden."""
        stays = self.stays[condition]
        return proportion(stays.direct & ~stays.static, self.clusters)

    def singles(self, way: Way) -> dict[str, Tensor]:
        """Who stays right, by the one input attacked."""
        return {m: self.stays[m].of(way) for m in self.single}

    def weakest(self, way: Way) -> Estimate:
        """Robust accuracy under an attack on the one input where it is lowest."""
        return weakest(self.singles(way), self.clusters)

    @property
    def weakest_gain(self) -> Estimate:
        """The lowest single-input accuracy, adaptive on the defended model, minus that of the base."""
        return weakest_difference(self.singles("adaptive"), self.singles("base"), self.clusters)

    def any_single(self, way: Way) -> Estimate:
        """Share that stays right whichever one input is attacked: the attacker chooses it sample by sample."""
        return proportion(torch.stack(list(self.singles(way).values())).all(dim=0), self.clusters)

    @staticmethod
    def pooled(parts: Sequence[Evaluated], ids: Sequence[Sequence[str]]) -> Evaluated:
        """Several seeds as one: the same sample (`ids` by part) under several seeds is one cluster."""
        if len({tuple(p.stays) for p in parts}) != 1:
            raise AskedWrongly("only evaluations of the same conditions can be pooled")

        def together(condition: str) -> Stays:
            stays = [p.stays[condition] for p in parts]
            return Stays(**{f.name: torch.cat([getattr(s, f.name) for s in stays]) for f in fields(Stays)})

        own = [i if p.clusters is None else p.clusters for p, i in zip(parts, ids, strict=True)]
        return Evaluated(
            before=torch.cat([p.before for p in parts]),
            after=torch.cat([p.after for p in parts]),
            stays={c: together(c) for c in parts[0].stays},
            single=parts[0].single,
            clusters=[cluster for clusters in own for cluster in clusters],
        )


def defended(
    base: Model,
    hardened: Model,
    batch: Batch,
    budgets: Budgets,
    attack: Attack | None = None,
    *,
    seed: int = 0,
) -> Evaluated:
    """Attack both models on `batch`, each input of `budgets` alone and all together.

    attack: what is used on either, PGD of 20 steps from 3 starts if None. Only samples that a model gets right are
    attacked. `base` must still be what it was before the defence: a defence may train the model it is given.
    """
    attack = attack or PGD(steps=20, restarts=3)
    moving = {m: b for m, b in budgets.items() if m in base.modalities and not b.empty}
    if not moving or tuple(base.modalities) != tuple(hardened.modalities):
        raise AskedWrongly(f"there is nothing to attack in both models: budgets are for {', '.join(budgets) or 'none'}")
    before, after = (right(m, batch) for m in (base, hardened))
    conditions: dict[str, dict[str, Budget]] = {m: {m: b} for m, b in moving.items()}
    conditions |= {TOGETHER: moving} if len(moving) > 1 else {}
    stays = {}
    for name, allowed in conditions.items():
        old = _attacked(base, batch, before, allowed, attack, seed)
        new = _attacked(hardened, batch, after, allowed, attack, seed)
        guessed = _guessed(hardened, batch, after, allowed, new.tries, seed, name)
        stays[name] = Stays(old.stays, after & right(hardened, old.batch), new.stays, guessed)
    return Evaluated(before=before, after=after, stays=stays, single=tuple(moving), clusters=batch.clusters)


@torch.no_grad()
def right(model: Model, batch: Batch) -> Tensor:
    """Whether the decision is the target, bool [N]."""
    return Metered(model, batch.modalities).of(batch).argmax(dim=1) == batch.targets


@dataclass(frozen=True)
class _Tried:
    """The batch that an attack left behind, who stays right [N], and passes a sample attacked."""

    batch: Batch
    stays: Tensor
    tries: int


def _attacked(model: Model, batch: Batch, at: Tensor, allowed: Budgets, attack: Attack, seed: int) -> _Tried:
    """Attack the samples where `at` [N]; the others stay as they are."""
    rows, stays, metered = at.nonzero().flatten(), at.clone(), Metered(model, batch.modalities)
    if not len(rows):
        return _Tried(batch, stays, 1)
    done = attack.run(metered, batch.take(rows), allowed, seed=seed)
    stays[rows] = ~done.success
    changed = {m: copy(batch.inputs[m]) for m in allowed}
    for m, values in changed.items():
        put(values, rows, done.batch.inputs[m])
    return _Tried(batch.with_inputs(**changed), stays, max(1, math.ceil(metered.meter.passes / len(rows))))


def _guessed(model: Model, batch: Batch, at: Tensor, allowed: Budgets, tries: int, seed: int, name: str) -> Tensor:
    """Who stays right [N] under the best of `tries` random changes of the same radii."""
    rows, stays, metered = at.nonzero().flatten(), at.clone(), Metered(model, batch.modalities)
    done = random_search(metered, batch.take(rows), allowed, tries, seed=seed, purpose=f"adaptive {name}")
    stays[rows] = ~done.success
    return stays


def weakest(stays: Mapping[str, Tensor], clusters: Sequence[str] | None = None) -> Estimate:
    """The least of several accuracies on the same samples, by the bootstrap; stays[m]: bool [N]."""
    return weakest_difference(stays, None, clusters)


def weakest_difference(
    stays: Mapping[str, Tensor], others: Mapping[str, Tensor] | None, clusters: Sequence[str] | None = None
) -> Estimate:
    """The least accuracy of one table minus the least of another, on the same samples and resamples."""
    columns = [t.double().numpy() for t in (*stays.values(), *(others or {}).values())]
    n, k = len(columns[0]), len(stays)
    totals = sum_by_cluster(np.column_stack([np.ones(n), *columns]), clusters)

    def least(drawn: Any) -> Any:
        shares = drawn[:, 1:] / drawn[:, :1]
        first = shares[:, :k].min(axis=1)
        return first - shares[:, k:].min(axis=1) if others else first

    return bootstrap(totals, least, n=n, method="bootstrap of the least")
