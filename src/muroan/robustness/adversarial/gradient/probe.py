"""How easily is the model fooled by somebody who knows it: which input, and which combination, is cheapest to break?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.budget import Budget, usual
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric, Panel
from muroan.interventions.attacks.controls import crude
from muroan.interventions.attacks.joint import Ascent, Joint, Order
from muroan.modality import Text
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import sample_keys, uniform
from muroan.registry import register
from muroan.robustness.adversarial.gradient.cells import NULL, RANDOM, SHARE, UNBOUNDED, named
from muroan.robustness.adversarial.gradient.findings import conclude
from muroan.robustness.adversarial.gradient.grid import Cell, Grid, explore, random_controls, shares_of


@register
@dataclass(frozen=True, kw_only=True)
class Gradient(Probe):
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
    place = "robustness/adversarial"
    source = "survey equation 1; Tian & Xu, CVPR 2021; Madry et al. 2018; health checks: Carlini et al. 2019"
    metrics = (
        Metric(
            name="success",
            says="Share of right answers that the attack turns into another one within its budget. 0: none; 1: all.",
            limit=0.5,
        ),
        Metric(
            name="excess",
            says="Success of the attack minus success of random changes of the same size. 0: only size matters; "
            "1: chosen changes always fool it, random ones never.",
            limit=0.5,
        ),
        Metric(
            name="interaction",
            says="Success of attacking all inputs together minus that of the strongest input alone. 0: one input "
            "decides; above: inputs are weaker together.",
        ),
        Metric(
            name="together_only",
            says="Share of right answers that give way when all inputs are attacked together, and to no input alone, "
            "at the same budgets. 0: testing inputs one at a time misses nothing; 1: it misses everything.",
            limit=0.25,
        ),
        Metric(
            name="beyond_sum",
            says="Success of attacking all inputs together minus the sum of what each alone reaches (at most 1). "
            "0: inputs add up; above: each makes the other weaker; below: they break the same answers.",
        ),
        Metric(
            name="half_budget",
            says="The smallest share of the full budgets, among those tried, at which half of the right answers give "
            "way. Near 0: a trace of a change is enough; 1: it takes all of it.",
            better="higher",
        ),
        Metric(
            name="group_gap",
            says="Largest difference of success between the values of a group. 0: all are as easy to fool; "
            "1: one always, another never.",
        ),
        Metric(
            name="robust_accuracy",
            says="Share of all samples that stay right under the attack. 1: always right, whatever is tried.",
            better="higher",
        ),
        Metric(
            name="unbounded_success",
            says="Of the samples that a crude change without bound fools (blank, black, white, noise), the share that "
            "the attack without bound fools too. 1: it works; below, gradients are masked, success a lower bound.",
            better="higher",
            limit=0.8,
        ),
        Metric(
            name="zero_gradients",
            says="Share of attacked samples whose inputs have no gradient at all. 0: gradients reach the inputs.",
            limit=0.1,
        ),
        Metric(
            name="gradient_kept",
            says="Share of samples whose first step along the gradient raises the loss by at least a tenth of what "
            "the gradient says. 1: gradients can be followed; near 0: they are shattered, success a lower bound.",
            better="higher",
            limit=0.5,
        ),
        Metric(
            name="loss_rise",
            says="Share of samples on which the attack found a higher loss than it began with. 1: it climbs.",
            better="higher",
        ),
        Metric(
            name="search_advantage",
            says="Success of random search with as many passes minus that of the gradient. At most 0: the gradient is "
            "worth following; above 0: it is masked.",
            limit=0.05,
        ),
    )
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS})
    outcomes = {"success": "lower"}
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
    words: int = 1
    """Words that may be replaced in each text."""
    radii: tuple[tuple[str, float], ...] = ()
    """Radius by modality name, in its value space; over the defaults of its kind."""
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

    def full_budget(self, modality: str, kind: str) -> Budget:
        """The most that may change in a modality of this kind; empty where it cannot be attacked."""
        return usual({modality: kind}, radii=self.radii, words=self.words, norm=self.norm).get(modality, Budget())

    def grid(self, modalities: Mapping[str, str]) -> Grid:
        """The budgets of these modalities (name -> kind), those that can be attacked."""
        full = {m: b for m, kind in modalities.items() if not (b := self.full_budget(m, kind)).empty}
        return Grid(full, self.shares or shares_of(len(full)))

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m, _ in self.radii:
            if m not in schema.modalities:
                return f"radii name {m!r}, which is no modality of the data"
        if not self.grid({m: schema.modalities[m].kind for m in model.modalities}).full:
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

    # Observing

    def observe(self, clean: Clean) -> Observation:
        model = clean.model
        grid = self.grid({m: clean.batch.modalities[m].kind for m in model.modalities})
        right = clean.correct.nonzero().flatten().tolist()
        batch = clean.batch.take(right)
        nobody: Cell = (0.0,) * len(grid.names)
        frames = [self._rows(clean, NULL, right, _nothing(clean, right), grid, nobody)]
        found = explore(model, batch, grid, self.together(), seed=clean.seed)
        frames += [self._rows(clean, named(grid.names, c), right, done, grid, c) for c, done in found.items()]
        guessed = random_controls(model, batch, grid, self.together(), seed=clean.seed, purpose=self.name)
        for support, done in guessed.items():
            cell = grid.whole(support)
            frames.append(self._rows(clean, RANDOM + named(grid.names, cell), right, done, grid, cell))
        wide = self._unbounded(clean, batch, right, grid)
        frames += [wide] if wide is not None else []
        shown = self._shown(clean, batch, found[grid.whole(grid.names)])
        return Observation(pl.concat(frames, how="diagonal_relaxed"), shown)

    def _unbounded(self, clean: Clean, batch: Batch, right: list[int], grid: Grid) -> pl.DataFrame | None:
        """Budgets without bound, on a random part of the samples: the gradient must do what crude changes do."""
        wide = {
            m: Budget(radius=float(clean.batch.modalities[m].high - clean.batch.modalities[m].low), norm="inf")
            for m, b in grid.full.items()
            if b.radius and np.isfinite(clean.batch.modalities[m].high - clean.batch.modalities[m].low)
        }
        if not wide:
            return None
        drawn = uniform(clean.keys(self.name, "health"))
        picked = [k for k, i in enumerate(right) if drawn[i] < self.health]
        samples = [right[k] for k in picked]
        if not samples:
            return None
        some = batch.take(picked)
        done = self.together().run(clean.model, some, wide, seed=clean.seed)
        fooled = crude(clean.model, some, tuple(wide), seed=clean.seed)
        return clean.take(samples).rows(UNBOUNDED, attacked=[True] * len(samples), success=done.success, crude=fooled)

    def _rows(
        self, clean: Clean, condition: str, right: list[int], done: Attacked, grid: Grid, cell: Cell
    ) -> pl.DataFrame:
        at = torch.tensor(right, dtype=torch.long)
        attacked = torch.zeros(len(clean), dtype=torch.bool)
        success = torch.zeros(len(clean), dtype=torch.bool)
        attacked[at], success[at] = True, done.success
        columns: dict[str, Any] = {"attacked": attacked, "success": success}
        columns |= {f"{SHARE}{m}": [s] * len(clean) for m, s in zip(grid.names, cell, strict=True)}
        for name, values in done.trace.items():
            column = torch.full((len(clean),), -1.0, dtype=torch.double)
            column[at] = values.double()
            columns[name] = column
        return clean.rows(condition, **columns)

    def _shown(self, clean: Clean, batch: Batch, done: Attacked) -> list[Shown]:
        """The first successes with a picture: before, after, and the difference."""
        pictures = [m for m in clean.model.modalities if batch.modalities[m].kind == "image"]
        out = []
        for i in done.success.nonzero().flatten().tolist()[:2] if pictures else []:
            m = pictures[0]
            old, new = batch.inputs[m][i], done.batch.inputs[m][i]
            said = {k: self._said(batch, done, i, k) for k in batch.inputs if isinstance(batch.modalities[k], Text)}
            answer = clean.model.classes[int(done.logits[i].argmax())]
            truth = clean.model.classes[int(batch.targets[i])]
            panels: list[tuple[Panel, Any]] = [
                (Panel(label=f"{m}, original: {truth}", kind="image"), old),
                (Panel(label=f"{m}, attacked: {answer}", kind="image"), new),
                (Panel(label="difference, 10 times", kind="image"), (0.5 + 10 * (new - old)).clamp(0, 1)),
            ]
            panels += [(Panel(label=k, kind="text", text=text), None) for k, text in said.items()]
            rank = float(uniform(sample_keys([batch.ids[i]], "exhibit"))[0].item())
            title = f"“{truth}” becomes “{answer}”"
            out.append(Shown(sample=batch.ids[i], title=title, panels=panels, rank=rank))
        return out

    @staticmethod
    def _said(batch: Batch, done: Attacked, i: int, m: str) -> str:
        old, new = batch.inputs[m][i], done.batch.inputs[m][i]
        return old if old == new else f"{old} → {new}"

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def _nothing(clean: Clean, right: list[int]) -> Attacked:
    """The null change: the clean batch put to the model again; any flip would be an error of the harness."""
    batch = clean.batch.take(right)
    logits = clean.model.of(batch) if right else torch.zeros(0, len(clean.model.classes))
    return Attacked(batch, logits.argmax(dim=1) != clean.predicted[right], logits)
