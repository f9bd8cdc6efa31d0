"""What targeted attacks on codes share: whose code an input is to take on, and the models whose gradients say how."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budgets, movable
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.code_attack import CodeAttack, Goal, Plan
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.surrogates import Surrogates
from muroan.meter import Metered
from muroan.model import Capability, Model


@dataclass(frozen=True, kw_only=True)
class TargetedCodes(CodeAttack):
    """Moves a continuous input until its code looks like a target's. A success is a changed decision, as everywhere.

    target: what it is to be taken for, one value for all samples or sample id -> value, in the value space of its
    modality (a picture [C, H, W] in [0, 1]); taken from the user, never generated. surrogates: models whose gradients
    are followed in place of the attacked model's own; of that one only decisions are then asked, all steps are taken,
    and the surrogates' passes are counted apart, as "surrogate ...". start: at the sample: cosines are not flat there.

    `trace`: loss_first and loss_best are cosines with the target's code, on the surrogates if there are any.
    """

    needs = CodeAttack.needs | {Capability.ALIGNED}

    start: Literal["ball", "positive", "sample"] = "sample"
    target: Any = field(default=None, compare=False)
    surrogates: tuple[Model, ...] = field(default=(), compare=False)

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        moving = movable(model.modalities, budgets)
        if len(moving) > 1:
            raise AskedWrongly(f"{self.name} moves one input towards a target; give a budget to one of {list(moving)}")
        if moving and self.target is None:
            raise AskedWrongly(f"{self.name} needs a target: a value of {next(iter(moving))}, or sample id -> value")
        # Words are none of its business, and counting them would be noise.
        if not self.surrogates:
            return super().run(model, batch, moving, seed=seed)
        model.require(Capability.SCORES)
        guides = self.surrogates
        guide = Metered(guides[0] if len(guides) == 1 else Surrogates(guides), batch.modalities)
        done = replace(self, surrogates=(), stop=False).run(guide, batch, moving, seed=seed)
        for what, n in guide.meter.counts.items():
            model.meter.add(f"surrogate {what}", n)
        labels, logits = model.of(batch).argmax(dim=1), model.of(done.batch)
        return Attacked(done.batch, logits.argmax(dim=1) != labels, logits, done.trace)

    def plan(self, clean: Stage, moving: Budgets, words: Budgets, seed: int) -> Plan:
        return Plan(lambda stage: self._goal(stage, next(iter(moving)), seed) if moving else _none)

    @abstractmethod
    def _goal(self, clean: Stage, m: str, seed: int) -> Goal:
        """The cosine of modality m's codes with the target's."""


def values_of(target: Any, batch: Batch, m: str) -> Any:
    """The targets of a batch's samples as a batch value of modality m, [N, ...]; one row if all have the same."""
    modality = batch.modalities[m]
    if not isinstance(target, Mapping):
        return modality.collate([modality.check(target)])
    lacking = [i for i in batch.ids if i not in target]
    if lacking:
        raise AskedWrongly(f"no target for {len(lacking)} of {len(batch)} samples, such as {lacking[0]!r}")
    return modality.collate([modality.check(target[i]) for i in batch.ids])


def spread(value: Tensor, n: int) -> Tensor:
    """One row a sample."""
    return value if len(value) == n else value.expand(n, *value.shape[1:])


def _none(x: dict[str, Tensor], sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    raise AssertionError("nothing moves")
