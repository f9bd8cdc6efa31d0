"""How many answers stay right, whatever attack is tried: the figure that a claim of robustness is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.budget import Budget, usual
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.interventions.attacks.ensemble import MEMBERS, Ensemble
from muroan.interventions.attacks.gradient_attack import attackable
from muroan.modality import Modality
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe
from muroan.randomness import uniform
from muroan.registry import register
from muroan.robustness.adversarial.worst_case.control import random_changes
from muroan.robustness.adversarial.worst_case.findings import ENSEMBLE, NULL, RANDOM, UNBOUNDED, conclude


@register
@dataclass(frozen=True, kw_only=True)
class WorstCase(Probe):
    """Attacks every right answer with an ensemble, member after member on what is left, and counts what stays right.

    APGD, targeted APGD and Square move continuous inputs (picture: 8/255 in every pixel unless set), words are
    replaced, and APGD moves on beside the replaced words. Each member says what it adds to those before it and what it
    costs. Square follows no gradient; what it turns and the attacks by gradients do not is the sign of a model that
    hides its gradients, within the budget and, on a part of the samples, without bound. There, robust accuracy is no
    more than an upper bound.

    A quick look by default. AutoAttack's effort is steps: 100, targets: 9, queries: 5000.

    Known trade-offs (accepted): with few queries Square is much weaker than the gradient of an honest model, so a small
    `gradients_hide` does not prove that nothing is hidden; robust accuracy is an upper bound whatever is tried.
    """

    name = "robustness.worst_case"
    question = "How many answers stay right, whatever attack is tried within the budget?"
    place = "robustness/adversarial"
    source = "Croce & Hein, ICML 2020 (AutoAttack); Andriushchenko et al., ECCV 2020; Carlini et al. 2019"
    metrics = (
        Metric(
            name="robust_accuracy",
            says="Share of all samples that are right and stay right under every attack. 1: always right, whatever is "
            "tried; 0: every answer can be turned.",
            better="higher",
        ),
        Metric(
            name="success",
            says="Share of right answers that one of the attacks turns within the budget (asr.flip_of_correct). "
            "0: none; 1: all.",
            limit=0.5,
        ),
        Metric(
            name="excess",
            says="Success of the attacks minus success of random changes of the same size, as many as the attacks make "
            "passes. 0: only size matters; 1: chosen changes always fool it, random ones never.",
        ),
        Metric(
            name="adds",
            says="Share of right answers that one attack turns and none of those before it did. 0: it adds nothing; "
            "1: it alone turns every answer.",
        ),
        Metric(
            name="gradients_hide",
            says="Share of right answers that a search by scores alone turns and attacks by gradients do not. 0: "
            "gradients can be trusted; above: they are masked, and robust accuracy is an upper bound.",
            limit=0.05,
        ),
        Metric(
            name="passes",
            says="Forward and backward passes that the attacks spend on a right answer, on average. 0: there was "
            "nothing to attack; 1 is the cost of one answer.",
            unit="number",
        ),
    )
    needs = frozenset({Capability.SCORES})
    outcomes = {"success": "lower"}
    finds = {
        "robustness.masked-gradients": ("gradients_hide",),
        "robustness.shattered-gradients": ("gradients_hide",),
        "robustness.small-perturbation": ("success",),
        "robustness.frail-tower-digits": ("success",),
    }

    limit: int | None = 200
    steps: int = 20
    targets: int = 2
    queries: int = 200
    words: int = 1
    """Words that may be replaced in each text."""
    radii: tuple[tuple[str, float], ...] = ()
    """L∞ radius by modality name, in its value space; over the defaults of its kind."""
    health: float = 0.4
    """Share of the right answers that are also attacked without bound."""

    def __post_init__(self) -> None:
        if not 0 <= self.health <= 1:
            raise AskedWrongly(f"health is a share of samples, between 0 and 1, not {self.health}")
        self.attack()

    def attack(self) -> Ensemble:
        """The ensemble."""
        return Ensemble(steps=self.steps, targets=self.targets, queries=self.queries)

    def budgets(self, schema: Mapping[str, Modality], modalities: Sequence[str]) -> dict[str, Budget]:
        """Modality -> its budget, those that can be attacked."""
        return usual({m: schema[m].kind for m in modalities}, radii=self.radii, words=self.words)

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m, _ in self.radii:
            if m not in schema.modalities:
                return f"radii name {m!r}, which is no modality of the data"
        if not self.budgets(schema.modalities, model.modalities):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

    def observe(self, clean: Clean) -> Observation:
        modalities = clean.batch.modalities
        budgets = self.budgets(modalities, tuple(clean.model.modalities))
        right = clean.correct.nonzero().flatten().tolist()
        batch = clean.batch.take(right)
        logits = clean.model.of(batch) if right else torch.zeros(0, len(clean.model.classes))
        same = Attacked(batch, logits.argmax(dim=1) != clean.predicted[right], logits)
        frames = [_rows(clean, NULL, right, same)]
        if right:
            moves = bool(attackable(clean.model, batch, budgets))
            done = self.attack().run(clean.model, batch, budgets, seed=clean.seed)
            tries = self.attack().most(len(clean.model.classes)) if moves else 1
            guess = random_changes(clean.model, batch, budgets, tries, seed=clean.seed)
            frames += [_rows(clean, ENSEMBLE, right, done), _rows(clean, RANDOM, right, guess)]
            wide = self._unbounded(clean, batch, right, budgets)
            frames += [wide] if wide is not None else []
        return Observation(pl.concat(frames, how="diagonal_relaxed"))

    def _unbounded(
        self, clean: Clean, batch: Batch, right: list[int], budgets: Mapping[str, Budget]
    ) -> pl.DataFrame | None:
        """Continuous inputs attacked without bound, on a random part of the right answers."""
        spans = {m: batch.modalities[m].high - batch.modalities[m].low for m, b in budgets.items() if b.radius}
        wide = {m: Budget(radius=span) for m, span in spans.items() if span < float("inf")}
        drawn = uniform(clean.keys(self.name, "health"))
        picked = [k for k, i in enumerate(right) if drawn[i] < self.health]
        if not wide or not picked:
            return None
        done = self.attack().run(clean.model, batch.take(picked), wide, seed=clean.seed)
        at = [right[k] for k in picked]
        return _rows(clean.take(at), UNBOUNDED, list(range(len(at))), done)

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def _rows(clean: Clean, condition: str, right: list[int], done: Attacked) -> pl.DataFrame:
    """attacked: the answer was right, so it was; answer: the decision afterwards; member: who turned it; passes."""
    at = torch.tensor(right, dtype=torch.long)
    attacked, success = torch.zeros(len(clean), dtype=torch.bool), torch.zeros(len(clean), dtype=torch.bool)
    answer = clean.predicted.clone()
    attacked[at], success[at], answer[at] = True, done.success, done.logits.argmax(dim=1)
    columns: dict[str, Any] = {"attacked": attacked, "success": success, "answer": answer}
    if "member" in done.trace:
        named = [""] * len(clean)
        passes = torch.zeros(len(clean), len(MEMBERS), dtype=torch.double)
        passes[at] = done.trace["passes"]
        for i, k in zip(right, done.trace["member"].tolist(), strict=True):
            named[i] = MEMBERS[k] if k >= 0 else ""
        columns |= {"member": named} | {f"passes.{m}": passes[:, k] for k, m in enumerate(MEMBERS)}
    return clean.rows(condition, **columns)
