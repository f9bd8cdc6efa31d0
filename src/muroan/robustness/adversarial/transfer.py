"""Is the model fooled by changes that were made for another one?"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.attack import Attack
from muroan.batch import Schema
from muroan.clean import Clean
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, NotApplicable, unknown
from muroan.estimate import Estimate, paired_difference, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Conclusion, Finding, Metric
from muroan.interventions.attacks.transfer import transfer
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe
from muroan.registry import methods, open_model, register
from muroan.robustness.adversarial.matching.probe import budgets_of

TRANSFER, WHITE, RANDOM = "transfer", "on the surrogate", "random"


@register
@dataclass(frozen=True, kw_only=True)
class Transfer(Probe):
    """Attacks a surrogate that somebody without access to the audited model would use, and tries the result on it.

    Of the audited model nothing but decisions is asked, three a sample, so it may be a black box. The surrogate should
    share neither weights nor training with it: one that does says more about itself. White-box success on the surrogate
    stands beside transfer: where that is low, the attack failed, not the transfer.

    Known trade-off: attacks without a setting `stop` leave a sample alone once the surrogate is fooled, which
    understates what transfers; sga and co_attack go on.
    """

    name = "robustness.transfer"
    question = "Is the model fooled by changes that were made for another one?"
    place = "robustness/adversarial"
    source = "SGA: Lu et al., ICCV 2023; MIM: Dong et al., CVPR 2018"
    metrics = (
        Metric(
            name="transfer",
            says="Share of right answers turned by changes made on the surrogate (asr.flip_of_correct). 0: none; "
            "1: all.",
            limit=0.5,
        ),
        Metric(
            name="excess",
            says="Transfer minus success of one random change of equal size. 0: only size matters; 1: it always "
            "transfers, random changes never succeed.",
            limit=0.5,
        ),
        Metric(
            name="white_box",
            says="Share of the surrogate's own right answers that the attack turns there. 1: the attack works; near 0: "
            "nothing was there to transfer.",
            better="higher",
        ),
    )
    outcomes = {"success": "lower"}
    finds = {"robustness.fragile-match": ("transfer", "excess")}

    limit: int | None = 300
    surrogate: str = ""
    """A reference to a model, as on the command line; there is none by default."""
    attack: str = ""
    """The attack's name; if empty, sga where the surrogate's codes share a space, else mim."""
    steps: int | None = None
    words: int = 1
    radii: tuple[tuple[str, float], ...] = ()
    """Radius by modality name, in its value space; over the defaults of its kind."""

    def applies(self, model: Model, schema: Schema) -> str | None:
        if not self.surrogate:
            return "name a surrogate: surrogate=REF"
        if not budgets_of(schema.modalities, model.modalities, dict(self.radii), self.words):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

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
        surrogate, batch = clean.prepared[self.name], clean.batch
        budgets = budgets_of(batch.modalities, tuple(clean.model.modalities), dict(self.radii), self.words)
        done = transfer(self._attack(surrogate), surrogate, clean.model, batch, budgets, seed=clean.seed)
        theirs = clean.correct & done.both_clean
        frames = [
            _rows(clean, TRANSFER, done.transfer, clean.correct),
            _rows(clean, RANDOM, done.random, clean.correct),
            _rows(clean, WHITE, done.white_box, theirs),
        ]
        return Observation(pl.concat(frames))

    def conclude(self, evidence: Evidence) -> Conclusion:
        level = evidence.about.level
        by = {c: evidence.of(AUDITED, c).filter(pl.col("attacked")).sort("sample") for c in (TRANSFER, RANDOM, WHITE)}
        if not len(by[TRANSFER]):
            reason = "the model got no sample right, so there was nothing to attack"
            return Conclusion(findings=[self._finding("transfer", "", None, reason=reason)], notes=[reason])
        rates = {c: proportion(r["success"], clusters(r), level=level) for c, r in by.items() if len(r)}
        controls = {"one random change of equal size": rates[RANDOM]}
        controls |= {"white-box, on the surrogate": rates[WHITE]} if WHITE in rates else {}
        more = paired_difference(by[TRANSFER]["success"], by[RANDOM]["success"], clusters(by[TRANSFER]), level=level)
        findings = [
            self._finding(
                "transfer", "Right answers turned by changes made on the surrogate", rates[TRANSFER], controls=controls
            ),
            self._finding("excess", "What changes made on the surrogate add over random ones", more, controls=controls),
        ]
        if WHITE in rates:
            title = "Right answers of both models that the attack turns on the surrogate"
            findings.append(self._finding("white_box", title, rates[WHITE], judged=False))
        findings += self._groups(by[TRANSFER], evidence)
        bars = [
            Bar(label=c, estimate=e, of="random" if c == RANDOM else "attack", control=c == RANDOM)
            for c, e in rates.items()
        ]
        chart = BarChart(
            title="How much of the attack transfers?",
            y_label="share of right answers turned",
            bars=bars,
            y_range=(0, 1),
        )
        notes = [
            f"Surrogate: {self.surrogate}; attack: {self.attack or 'sga or mim, by what the surrogate can do'}.",
            "The random change is one, as the attack on the target is: the target is not asked while it is made.",
        ]
        return Conclusion(findings=findings, charts=[chart], notes=notes)

    def _finding(self, metric: str, title: str, estimate: Estimate | None, **more: Any) -> Finding:
        return Finding(probe=self.name, metric=metric, title=title or "Transfer", estimate=estimate, **more)

    def _groups(self, rows: pl.DataFrame, evidence: Evidence) -> list[Finding]:
        out = []
        for name, values in evidence.about.groups.items():
            for value in values:
                some = rows.filter(pl.col(f"group.{name}") == value)
                if len(some) >= 10:
                    estimate = proportion(some["success"], clusters(some), level=evidence.about.level)
                    title = f"Transfer, {name} {value}"
                    out.append(self._finding("transfer", title, estimate, group=f"{name}={value}", judged=False))
        return out


def _rows(clean: Clean, condition: str, success: Tensor, attacked: Tensor) -> pl.DataFrame:
    return clean.rows(condition, attacked=attacked, success=torch.logical_and(success, attacked))
