"""How easily is the model fooled by somebody who knows it: which input, and which combination, is cheapest to break?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from muroan.attack import Attacked
from muroan.budget import Budget, usual
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.figure import Figure, silent
from muroan.finding import Conclusion
from muroan.interventions.attacks.controls import crude
from muroan.interventions.attacks.joint import Ascent, Joint, Order
from muroan.modality import Text
from muroan.model import Capability
from muroan.probe import Observation
from muroan.registry import register
from muroan.robustness.adversarial.attack_probe import NULL, AttackProbe, RightAnswers, stays_right, without_bound
from muroan.robustness.adversarial.gradient.cells import JOINT, RANDOM, SHARE, UNBOUNDED, Cells, named
from muroan.robustness.adversarial.gradient.findings import HEADLINE, conclude
from muroan.robustness.adversarial.gradient.frontier import charts
from muroan.robustness.adversarial.gradient.grid import Cell, Grid, explore, random_controls, shares_of
from muroan.robustness.adversarial.gradient.health import HEALTH
from muroan.say import Say


@register
@dataclass(frozen=True, kw_only=True)
class Gradient(AttackProbe):
    """Attacks each input alone and in combination, over a grid of budgets, with everything that the model shows.

    Continuous inputs are moved by projected gradient descent in a ball (picture: 8/255 in every pixel unless set),
    texts by replacing words with words of the same meaning or with a slip of the keyboard. Together: the text attack on
    the attacked picture and the picture attack on the attacked text; whatever succeeds counts. Only samples that the
    model gets right are attacked; a success changes the decision.

    Every attackable input is tried at shares of its full budget, in all combinations (with more than three inputs:
    each alone and all alike). Budgets are nested: what gave way in a cell of this grid counts in every larger one and
    is not attacked there again, so success never falls as a budget grows and together is never weaker than alone, by
    construction. That gives the smallest budget at which each sample gives way, and the cheapest combinations.

    A small figure can mean a robust model or a weak attack, so the attack's health is measured beside it: does the
    loss rise, does an unbounded budget succeed, are gradients zero, does a step along them do what they say, does
    random search do better? Where one of these fails, gradients are masked, the success is a lower bound, and no limit
    is called kept.

    Known trade-offs (accepted): first-order attacks underestimate what a stronger one would reach; random controls are
    drawn at full budgets alone, with as many draws as the ascents over the same inputs make passes in all cells; one
    draw where only words change, since the word attack tries all candidates and equally many random ones are the same.
    """

    name = "robustness.gradient"
    question = "How easily is the model fooled by small changes chosen by somebody who knows it?"
    source = "survey equation 1; Tian & Xu, CVPR 2021; Madry et al. 2018; health checks: Carlini et al. 2019"
    figures = (
        Figure(
            "success",
            HEADLINE,
            says="Share of right answers that the attack turns into another one within its budget. 0: none; 1: all.",
            limit=0.5,
        ),
        Figure(
            "excess",
            says="Success of the attack minus success of random changes of the same size. 0: only size matters; "
            "1: chosen changes always fool it, random ones never.",
            limit=0.5,
        ),
        Figure(
            "interaction",
            says="Success of attacking all inputs together minus that of the strongest input alone. 0: one input "
            "decides; above: inputs are weaker together.",
        ),
        Figure(
            "together_only",
            says="Share of right answers that give way when all inputs are attacked together, and to no input alone, "
            "at the same budgets. 0: testing inputs one at a time misses nothing; 1: it misses everything.",
            limit=0.25,
        ),
        Figure(
            "beyond_sum",
            says="Success of attacking all inputs together minus the sum of what each alone reaches (at most 1). "
            "0: inputs add up; above: each makes the other weaker; below: they break the same answers.",
        ),
        Figure(
            "half_budget",
            says="The smallest share of the full budgets, among those tried, at which half of the right answers give "
            "way. Near 0: a trace of a change is enough; 1: it takes all of it.",
            better="higher",
        ),
        Figure(
            "group_gap",
            says="Largest difference of success between the values of a group. 0: all are as easy to fool; "
            "1: one always, another never.",
        ),
        Figure(
            "robust_accuracy",
            says="Share of all samples that stay right under the attack. 1: always right, whatever is tried.",
            better="higher",
        ),
        *HEALTH,
    )
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS})
    finds = {
        "robustness.small-perturbation": ("success", "excess"),
        "robustness.masked-gradients": ("zero_gradients",),
        "robustness.shattered-gradients": ("gradient_kept",),
        "robustness.weak-together": ("together_only",),
        "robustness.frail-tower-digits": ("success",),
    }

    limit: int | None = 300
    attack: Ascent = "pgd"
    """How continuous inputs are moved."""
    steps: int = 0
    """Of an ascent; 0: as many as the attack takes by itself (pgd: 15). fgsm takes one."""
    restarts: int = 0
    """Starts at full budgets; smaller ones have one. 0: as many as the attack takes by itself (pgd: 2)."""
    joint: Order = "both"
    """Order of words and the rest when both are attacked."""
    shares: tuple[float, ...] = ()
    """Shares of the full budgets that are tried, up to 1; none: a quarter, a half, all; with three inputs or more a
    half and all."""
    norm: str = "inf"
    health: float = 0.2
    """Share of the samples on which an unbounded budget is tried."""

    def __post_init__(self) -> None:
        if not 0 <= self.health <= 1:
            raise AskedWrongly(f"health is a share of samples, between 0 and 1, not {self.health}")
        rising = all(0 < a < b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if self.shares and not (rising and self.shares[0] > 0 and self.shares[-1] == 1):
            raise AskedWrongly(f"shares rise from above 0 to 1, such as [0.25, 0.5, 1.0]; got {list(self.shares)}")
        self.together()

    def together(self) -> Joint:
        """The attack that is run in every cell."""
        return Joint(ascent=self.attack, steps=self.steps, restarts=self.restarts, order=self.joint)

    def budgets(self, kinds: Mapping[str, str]) -> dict[str, Budget]:
        return usual(kinds, radii=self.radii, words=self.words, norm=self.norm)

    def grid(self, modalities: Mapping[str, str]) -> Grid:
        """Shares of the full budgets of these modalities (name -> kind), those that can be attacked."""
        full = self.budgets(modalities)
        return Grid(full, self.shares or shares_of(len(full)))

    def observe(self, clean: Clean) -> Observation:
        model, right = clean.model, RightAnswers.of(clean)
        grid = self.grid({m: clean.batch.modalities[m].kind for m in model.modalities})
        nobody: Cell = (0.0,) * len(grid.names)
        tried = explore(model, right.batch, grid, self.together(), seed=clean.seed)
        guessed = random_controls(model, right.batch, grid, self.together(), seed=clean.seed, purpose=self.name)
        frames = [
            _rows(right, NULL, right.untouched(), grid, nobody),
            *(_rows(right, named(grid.names, cell), done, grid, cell) for cell, done in tried.items()),
        ]
        for support, done in guessed.items():
            cell = grid.whole(support)
            frames.append(_rows(right, RANDOM + named(grid.names, cell), done, grid, cell))
        # Budgets without bound, on a random part of the samples: the gradient must do what crude changes do.
        wide, part = without_bound(grid.full, clean.batch.modalities), right.part(self.health, self.name, "health")
        if wide and len(part):
            done = self.together().run(model, part.batch, wide, seed=clean.seed)
            fooled = crude(model, part.batch, tuple(wide), seed=clean.seed)
            frames.append(part.rows(UNBOUNDED, done, crude=fooled))
        return Observation(pl.concat(frames, how="diagonal_relaxed"), right.shown(tried[grid.whole(grid.names)]))

    def conclude(self, evidence: Evidence) -> Conclusion:
        """Success with its controls and its health, then what is cheapest, then the details."""
        kinds = evidence.about.modalities
        cells, say, climb = Cells.of(evidence, self.budgets(kinds)), Say(self.name), self.together().climb()
        if not len(cells.attacked):
            return silent(self.name, self.figures[0], self.nobody)
        notes = conclude(say, cells, *stays_right(evidence, JOINT))
        budgets = "; ".join(f"{m}: {_full(cells, m, kind)}" for m, kind in kinds.items())
        notes += [
            f"Full budgets: {budgets}; {climb.name}, {climb.steps} steps, {climb.restarts} starts at full budgets.",
            "Budgets are nested: an answer that gave way to a smaller budget counts at every larger one and is not "
            "attacked there again, so success never falls as a budget grows, by construction.",
            "Random changes: at full budgets, in as many draws as the ascents over the same inputs make passes at all "
            "budgets; one where only words change.",
        ]
        return Conclusion(findings=say.findings, charts=charts(cells), notes=notes)


def _rows(right: RightAnswers, condition: str, done: Attacked, grid: Grid, cell: Cell) -> pl.DataFrame:
    """share.<input>: which share of its full budget each input may use; the rest is the trace of what was done."""
    n = len(right.clean)
    shares: dict[str, Any] = {f"{SHARE}{m}": [s] * n for m, s in zip(grid.names, cell, strict=True)}
    return right.rows(condition, done, tuple(done.trace), **shares)


def _full(cells: Cells, m: str, kind: str) -> str:
    """All that may change in an input, in words."""
    if m not in cells.budgets:
        return f"not attacked (no {'words' if kind == Text.kind else 'radius'} given)"
    budget, said = cells.budgets[m], cells.worded(m, 1.0)
    return f"{said} (same meaning, or two letters swapped)" if budget.words else f"L{budget.norm} {said}"
