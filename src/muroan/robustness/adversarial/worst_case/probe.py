"""How many answers stay right, whatever attack is tried: the figure that a claim of robustness is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from muroan.attack import Attacked
from muroan.budget import movable
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.estimate.asr import ASR
from muroan.evidence import Evidence
from muroan.figure import Figure, conditions, silent
from muroan.finding import Bar, BarChart, Conclusion
from muroan.interventions.attacks.ensemble import GRADIENT, MEMBERS, Ensemble
from muroan.model import Capability
from muroan.probe import Observation
from muroan.registry import register
from muroan.robustness.adversarial.attack_probe import (
    NULL,
    SUCCESS,
    TURNED,
    AttackProbe,
    RightAnswers,
    stays_right,
    without_bound,
)
from muroan.robustness.adversarial.worst_case.control import random_changes
from muroan.rows import Rows
from muroan.say import Say

ENSEMBLE, RANDOM, UNBOUNDED = "ensemble", "random", "without bound"
MASKED = 0.05
"""Share of right answers that a search by scores turns and gradients do not, from which gradients are not trusted."""


@register
@dataclass(frozen=True, kw_only=True)
class WorstCase(AttackProbe):
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
    source = "Croce & Hein, ICML 2020 (AutoAttack); Andriushchenko et al., ECCV 2020; Carlini et al. 2019"
    figures = (
        Figure(
            "robust_accuracy",
            better="higher",
            says="Share of all samples that are right and stay right under every attack. 1: always right, whatever is "
            "tried; 0: every answer can be turned.",
        ),
        Figure(
            "success",
            limit=0.5,
            says="Share of right answers that one of the attacks turns within the budget (asr.flip_of_correct). "
            "0: none; 1: all.",
        ),
        Figure(
            "excess",
            says="Success of the attacks minus success of random changes of the same size, as many as the attacks make "
            "passes. 0: only size matters; 1: chosen changes always fool it, random ones never.",
        ),
        Figure(
            "adds",
            says="Share of right answers that one attack turns and none of those before it did. 0: it adds nothing; "
            "1: it alone turns every answer.",
        ),
        Figure(
            "gradients_hide",
            limit=MASKED,
            says="Share of right answers that a search by scores alone turns and attacks by gradients do not. 0: "
            "gradients can be trusted; above: they are masked, and robust accuracy is an upper bound.",
        ),
        Figure(
            "passes",
            unit="number",
            says="Forward and backward passes that the attacks spend on a right answer, on average. 0: there was "
            "nothing to attack; 1 is the cost of one answer.",
        ),
    )
    needs = frozenset({Capability.SCORES})
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
    health: float = 0.4
    """Share of the right answers that are also attacked without bound."""

    def __post_init__(self) -> None:
        if not 0 <= self.health <= 1:
            raise AskedWrongly(f"health is a share of samples, between 0 and 1, not {self.health}")
        self.attack()

    def attack(self) -> Ensemble:
        """The ensemble."""
        return Ensemble(steps=self.steps, targets=self.targets, queries=self.queries)

    def observe(self, clean: Clean) -> Observation:
        budgets, right = self.budgets_of(clean), RightAnswers.of(clean)
        frames = [_rows(right, NULL, right.untouched())]
        if len(right):
            done = self.attack().run(clean.model, right.batch, budgets, seed=clean.seed)
            moves = bool(movable(clean.model.modalities, budgets))
            tries = self.attack().most(len(clean.model.classes)) if moves else 1
            guess = random_changes(clean.model, right.batch, budgets, tries, seed=clean.seed)
            frames += [_rows(right, ENSEMBLE, done), _rows(right, RANDOM, guess)]
        wide, part = without_bound(budgets, clean.batch.modalities), right.part(self.health, self.name, "health")
        if wide and len(part):
            frames.append(_rows(part, UNBOUNDED, self.attack().run(clean.model, part.batch, wide, seed=clean.seed)))
        return Observation(pl.concat(frames, how="diagonal_relaxed"))

    def conclude(self, evidence: Evidence) -> Conclusion:
        """What stays right and what does not; whether gradients hide; what each member adds, and the cost."""
        rows, say, hidden = conditions(evidence, self.among), Say(self.name), Say(self.name)
        if not len(rows[NULL]):
            return silent(self.name, Figure("success", "Right answers turned"), self.nobody)
        attacked = rows[ENSEMBLE]
        used = [m for m in MEMBERS if attacked[f"passes.{m}"].sum() > 0]
        doubt = _hidden(hidden, rows, used)
        stays, untouched = stays_right(evidence, ENSEMBLE)
        say.detail(
            "robust_accuracy",
            "Samples that stay right, whatever is tried",
            stays,
            controls={"untouched": untouched},
            note=f"Of {stays.n} samples, right or wrong.{doubt}",
        )
        controls = {"random changes of equal size": SUCCESS(rows[RANDOM]), "no change": SUCCESS(rows[NULL])}
        rate = ASR(
            kind="asr.flip_of_correct",
            denominator="clean_correct",
            success="the right answer became wrong",
            estimate=SUCCESS(attacked),
            attempts=1,
        )
        say("success", "Right answers turned by one of the attacks", rate.estimate, controls=controls, note=str(rate))
        more = attacked.gained_over(rows[RANDOM], "success")
        say.detail("excess", "What choosing the changes adds over random ones", more, controls=controls)
        say.findings += hidden.findings
        adds = {m: attacked.share(pl.col("member") == m) for m in used}
        for m, estimate in adds.items():
            note = f"{attacked[f'passes.{m}'].sum() / len(attacked):.0f} passes per right answer."
            say.detail("adds", f"Right answers turned by {m}, and by none before it", estimate, condition=m, note=note)
        say.detail(
            "passes",
            "Passes that the attacks spend on a right answer",
            attacked.mean(pl.sum_horizontal([f"passes.{m}" for m in MEMBERS])),
            note=f"By {', '.join(used)}." if used else "",
        )
        say.by_group("success", "Right answers turned", attacked, SUCCESS)
        bars = [Bar(label=m, estimate=e, of="adds") for m, e in adds.items()]
        bars.append(Bar(label="all together", estimate=rate.estimate, of="attacks"))
        bars += [Bar(label=k, estimate=e, of="control", control=True) for k, e in controls.items()]
        chart = BarChart(title="Who turns the answers?", y_label=TURNED, bars=bars, y_range=(0, 1))
        notes = [
            f"Effort: {self.steps} steps, {self.targets} targets, {self.queries} queries of Square; random changes: as "
            "many draws as all members make passes on a sample that none of them turns.",
        ]
        return Conclusion(findings=say.findings, charts=[chart], notes=notes)


def _rows(right: RightAnswers, condition: str, done: Attacked) -> pl.DataFrame:
    """answer: the decision afterwards; member: who turned it; passes.<member>: what each spent on it."""
    answer = right.among_all(done.logits.argmax(dim=1), right.clean.predicted)
    if "member" not in done.trace:
        return right.rows(condition, done, answer=answer)
    member = [MEMBERS[k] if k >= 0 else "" for k in right.among_all(done.trace["member"], -1).tolist()]
    passes = right.among_all(done.trace["passes"], 0).double()
    spent: dict[str, Any] = {f"passes.{m}": passes[:, k] for k, m in enumerate(MEMBERS)}
    return right.rows(condition, done, answer=answer, member=member, **spent)


def _hidden(say: Say, rows: Mapping[str, Rows], used: Sequence[str]) -> str:
    """Does a search by scores turn what gradients do not? Within the budget and without bound; and what that means."""
    title = "Right answers that only a search by scores turns"
    if GRADIENT[0] not in used:
        reason = "no attack by gradients was possible: the model shows none, or no continuous input has a budget"
        say("gradients_hide", title, None, reason=reason)
        return ""
    doubts = ""
    for condition, where in ((ENSEMBLE, ""), (UNBOUNDED, " without bound")):
        if not len(rows.get(condition, ())):
            continue
        estimate = rows[condition].share(pl.col("member") == "square")
        if estimate.value > MASKED:
            doubts += f" Gradients hide{where}: {estimate.value:.0%} are turned by scores alone."
        say(
            "gradients_hide",
            f"{title},{where}" if where else title,
            estimate,
            condition=condition if where else None,
            controls={"turned by gradients": rows[condition].share(pl.col("member").is_in(GRADIENT))},
        )
    return f"{doubts} Robust accuracy is an upper bound." if doubts else ""
