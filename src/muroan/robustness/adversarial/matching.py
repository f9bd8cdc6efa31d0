"""Do matching inputs still find each other when somebody changes them a little, and which of them gives way?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.figure import Bars, Figure, share
from muroan.finding import Chart
from muroan.interventions.attacks.co_attack import CoAttack
from muroan.interventions.attacks.controls import random_search
from muroan.interventions.attacks.sga import SGA
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.probe import Observation
from muroan.registry import register
from muroan.robustness.adversarial.attack_probe import NULL, SUCCESS, TURNED, UNNOTICED, AttackProbe, RightAnswers
from muroan.rows import Rows

SEQUENCED, SETS, INDEPENDENT, RANDOM = "one after another", "sets", "found apart", "random"
ALONE = " alone"
"""What the conditions in which one modality is attacked end with."""
SAID = {
    SEQUENCED: "attacking one input after another (Co-Attack)",
    SETS: "attacking with sets of views (SGA)",
    INDEPENDENT: "changes that were found apart, put together",
}
BESIDE = {"random changes of equal size": RANDOM, "no change": NULL}
KEPT = ("loss_first", "loss_best", "words", "calls", "zero_gradient")
"""What of an attack's trace is evidence."""
ROSE = share((pl.col("loss_best") > pl.col("loss_first")) | pl.col("success"))
RISES = 0.95


@register
@dataclass(frozen=True, kw_only=True)
class Matching(AttackProbe):
    """Attacks the codes of a model whose encoders share a space, within a budget that nobody notices.

    Co-Attack replaces a word and then moves the picture against both; SGA does so guided by copies of the picture at
    several scales. Beside them each input alone, both attacked apart and put together ("1 + 1 < 1", since they can
    cancel), and random changes of equal size, the best of as many as the ascent takes points. All are judged by the
    decision alone, of samples that the model gets right (asr.flip_of_correct). The model is known to the attacker.
    """

    name = "robustness.matching"
    question = "Do matching inputs still find each other when somebody changes them a little?"
    source = "Co-Attack: Zhang et al., ACM MM 2022; SGA: Lu et al., ICCV 2023"
    usual_radii = UNNOTICED
    figures = (
        Figure(
            "success",
            f"Right answers turned by {SAID[SEQUENCED]}",
            limit=0.5,
            says="Share of right answers (found pairs, where the task is retrieval) that the attack turns "
            "(asr.flip_of_correct). 0: none; 1: all.",
        ),
        Figure(
            "excess",
            limit=0.5,
            says="Success of the attack minus success of random changes of the same size. 0: only size matters; "
            "1: chosen changes always succeed, random ones never.",
        ),
        Figure(
            "interaction",
            says="Success of the attack on all inputs, one after another, minus that on the weakest input alone. "
            "0: one input decides; above: inputs are weaker together.",
        ),
        Figure(
            "sequencing",
            says="Success of the attack one input after another minus that of the same changes found apart and put "
            "together. 0: order does not matter; above: apart they cancel.",
        ),
        Figure(
            "loss_rise",
            better="higher",
            says="Share of samples on which the attack raised what it climbs, or succeeded. 1: it climbs; below 0.95 "
            "its success is a lower bound.",
        ),
    )
    needs = CoAttack.needs | {Capability.ALIGNED}
    finds = {"robustness.fragile-match": ("success", "excess")}

    limit: int | None = 300
    steps: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or self.words < 0:
            raise AskedWrongly(f"robustness.matching: {self.steps} steps and {self.words} words make no attack")

    def applies(self, model: Model, schema: Schema) -> str | None:
        if len(model.modalities) < 2:
            return f"asks about pairs; {model.name} reads {model.modalities[0]} alone"
        return super().applies(model, schema)

    def observe(self, clean: Clean) -> Observation:
        model, seed, budgets, right = clean.model, clean.seed, self.budgets_of(clean), RightAnswers.of(clean)
        batch, done = right.batch, {NULL: right.untouched()}
        if len(right):
            # An input alone is only moved away from its own code: nothing is known of what becomes of the other.
            apart = CoAttack(steps=self.steps, step=1.25 / self.steps, alpha=0.0, stop=False)
            singles = {m: apart.run(model, batch, {m: b}, seed=seed) for m, b in budgets.items()}
            done |= {m + ALONE: attacked for m, attacked in singles.items()}
            joint = CoAttack(steps=self.steps, step=1.25 / self.steps)
            done[SEQUENCED] = joint.run(model, batch, budgets, seed=seed)
            done[SETS] = SGA(steps=self.steps, step=2.5 / self.steps).run(model, batch, budgets, seed=seed)
            if len(budgets) > 1:
                done[INDEPENDENT] = together(model, batch, singles, clean.predicted[right.at])
            tries = self.steps + 1 if any(b.radius for b in budgets.values()) else 1
            done[RANDOM] = random_search(model, batch, budgets, tries, seed=seed, purpose=self.name)
        frames = [right.rows(c, attacked, KEPT) for c, attacked in done.items()]
        return Observation(
            pl.concat(frames, how="diagonal_relaxed"), right.shown(done[SEQUENCED]) if len(right) else []
        )

    def lines(self, rows: Mapping[str, Rows]) -> Iterable[Figure]:
        singles = [c for c in rows if c.endswith(ALONE)]
        for c in (SEQUENCED, SETS):
            asked = f"on average {rows[c]['calls'].mean():.0f} codes a sample"
            yield Figure(
                "success",
                f"Right answers turned by {SAID[c]}",
                SUCCESS,
                at=c,
                named=True,
                beside=BESIDE,
                by_group="Right answers turned" if c == SEQUENCED else "",
                note=f"Of {len(rows[c])} right answers among {rows[NULL].seen} samples; {asked}.",
            )
            title = f"What choosing the changes adds over random ones, {SAID[c]}"
            yield Figure("excess", title, SUCCESS, at=c, minus=RANDOM, named=True, beside=BESIDE)
        detail = partial(Figure, named=True, judged=False)
        if len(singles) > 1:
            weakest = max(singles, key=lambda c: SUCCESS(rows[c]).value)
            title = f"What {SAID[SEQUENCED]} adds over the weakest input alone"
            note = f"The weakest is {weakest.removesuffix(ALONE)}, chosen on the same samples: understated."
            yield detail("interaction", title, SUCCESS, at=SEQUENCED, minus=weakest, note=note)
        title = f"What {SAID[SEQUENCED]} adds over the same changes found apart"
        yield detail("sequencing", title, SUCCESS, at=SEQUENCED, minus=INDEPENDENT)
        for c in (*singles, INDEPENDENT):
            title = f"Right answers turned by {SAID.get(c, f'attacking {c}')}"
            yield detail("success", title, SUCCESS, at=c, beside=BESIDE)
        for c in (SEQUENCED, SETS):
            yield detail("loss_rise", f"Samples on which the goal was made to rise, {SAID[c]}", ROSE, at=c)

    def notes(self, rows: Mapping[str, Rows]) -> list[str]:
        rises = {c: ROSE(rows[c]).value for c in (SEQUENCED, SETS)}
        return [
            "Success: the decision changes, of samples that the model gets right (asr.flip_of_correct).",
            "Random changes: the best of as many draws as the ascent has points.",
            *(
                f"Success is a lower bound. {c}: what is climbed rose on {rise:.0%} only."
                for c, rise in rises.items()
                if rise < RISES
            ),
        ]

    def charts(self, rows: Mapping[str, Rows]) -> list[Chart]:
        attacks = (SEQUENCED, SETS, *(c for c in rows if c.endswith(ALONE)), INDEPENDENT)
        bars = {**dict.fromkeys(attacks, "attack"), RANDOM: "random, equal size"}
        return [Bars("What makes pairs lose each other?", TURNED, SUCCESS, bars, controls=(RANDOM,)).chart(rows)]


def together(model: Metered, batch: Batch, singles: Mapping[str, Attacked], labels: Tensor) -> Attacked:
    """Changes that were found apart, put together."""
    mixed = batch.with_inputs(**{m: done.batch.inputs[m] for m, done in singles.items()})
    logits = model.of(mixed)
    return Attacked(mixed, logits.argmax(dim=1) != labels, logits)
