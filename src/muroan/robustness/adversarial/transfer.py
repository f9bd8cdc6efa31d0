"""Is the model fooled by changes that were made for another one?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import polars as pl

from muroan.attack import Attack
from muroan.batch import Schema
from muroan.clean import Clean
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, NotApplicable, unknown
from muroan.figure import Bars, Figure
from muroan.interventions.attacks.transfer import transfer
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.probe import Observation
from muroan.registry import methods, open_model, register
from muroan.robustness.adversarial.attack_probe import SUCCESS, TURNED, UNNOTICED, AttackProbe
from muroan.rows import Rows

TRANSFER, WHITE, RANDOM = "transfer", "on the surrogate", "random"
BESIDE = {"one random change of equal size": RANDOM, "white-box, on the surrogate": WHITE}


@register
@dataclass(frozen=True, kw_only=True)
class Transfer(AttackProbe):
    """Attacks a surrogate that somebody without access to the audited model would use, and tries the result on it.

    Of the audited model nothing but decisions is asked, three a sample, so it may be a black box. The surrogate should
    share neither weights nor training with it: one that does says more about itself. White-box success on the surrogate
    stands beside transfer: where that is low, the attack failed, not the transfer.

    Known trade-off: attacks without a setting `stop` leave a sample alone once the surrogate is fooled, which
    understates what transfers; sga and co_attack go on.
    """

    name = "robustness.transfer"
    question = "Is the model fooled by changes that were made for another one?"
    source = "SGA: Lu et al., ICCV 2023; MIM: Dong et al., CVPR 2018"
    usual_radii = UNNOTICED
    figures = (
        Figure(
            "transfer",
            "Right answers turned by changes made on the surrogate",
            SUCCESS,
            at=TRANSFER,
            beside=BESIDE,
            by_group="Transfer",
            limit=0.5,
            says="Share of right answers turned by changes made on the surrogate (asr.flip_of_correct). 0: none; "
            "1: all.",
        ),
        Figure(
            "excess",
            "What changes made on the surrogate add over random ones",
            SUCCESS,
            at=TRANSFER,
            minus=RANDOM,
            beside=BESIDE,
            limit=0.5,
            says="Transfer minus success of one random change of equal size. 0: only size matters; 1: it always "
            "transfers, random changes never succeed.",
        ),
        Figure(
            "white_box",
            "Right answers of both models that the attack turns on the surrogate",
            SUCCESS,
            at=WHITE,
            judged=False,
            better="higher",
            says="Share of the surrogate's own right answers that the attack turns there. 1: the attack works; near 0: "
            "nothing was there to transfer.",
        ),
    )
    bars = (
        Bars(
            "How much of the attack transfers?",
            TURNED,
            SUCCESS,
            {TRANSFER: "attack", RANDOM: "random", WHITE: "attack"},
            controls=("random",),
        ),
    )
    finds = {"robustness.fragile-match": ("transfer", "excess")}

    limit: int | None = 300
    surrogate: str = ""
    """A reference to a model, as on the command line; there is none by default."""
    attack: str = ""
    """The attack's name; if empty, sga where the surrogate's codes share a space, else mim."""
    steps: int | None = None

    def applies(self, model: Model, schema: Schema) -> str | None:
        return super().applies(model, schema) if self.surrogate else "name a surrogate: surrogate=REF"

    def _attack(self, surrogate: Model) -> Attack:
        name = self.attack or ("sga" if Capability.ALIGNED in surrogate.capabilities else "mim")
        known = methods("attacks")
        if name not in known:
            raise unknown("attack", name, known)
        attack: Attack = known[name]()
        if self.steps is not None:
            if "steps" not in {f.name for f in fields(attack)}:
                raise AskedWrongly(f"{name} takes no steps")
            attack = replace(attack, steps=self.steps)  # type: ignore[call-arg]
        return attack

    def prepare(self, model: Metered, reference: Dataset, seed: int) -> Model:
        """The surrogate; one that takes its task from the data (its classes, a gallery) takes it from the reference."""
        other = open_model(self.surrogate, Splits(reference, reference))
        if tuple(other.modalities) != tuple(model.modalities):
            theirs, ours = ", ".join(other.modalities), ", ".join(model.modalities)
            raise NotApplicable(f"the surrogate reads {theirs}, the model {ours}")
        attack = self._attack(other)
        missing = sorted(c.value for c in attack.needs - other.capabilities)
        if missing:
            raise NotApplicable(f"{attack.name} needs {', '.join(missing)} of the surrogate, which it does not have")
        return other

    def observe(self, clean: Clean) -> Observation:
        surrogate = clean.prepared[self.name]
        budgets = self.budgets_of(clean)
        done = transfer(self._attack(surrogate), surrogate, clean.model, clean.batch, budgets, seed=clean.seed)
        outcomes = {
            TRANSFER: (done.transfer, clean.correct),
            RANDOM: (done.random, clean.correct),
            WHITE: (done.white_box, clean.correct & done.both_clean),
        }
        return Observation(
            pl.concat([clean.rows(c, attacked=among, success=hit & among) for c, (hit, among) in outcomes.items()])
        )

    def notes(self, rows: Mapping[str, Rows]) -> list[str]:
        return [
            f"Surrogate: {self.surrogate}; attack: {self.attack or 'sga or mim, by what the surrogate can do'}.",
            "The random change is one, as the attack on the target is: the target is not asked while it is made.",
        ]
