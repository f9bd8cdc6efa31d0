"""Do matching inputs still find each other when somebody changes them a little, and which of them gives way?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.budget import Budget, usual
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric, Panel
from muroan.interventions.attacks.co_attack import CoAttack
from muroan.interventions.attacks.controls import random_search
from muroan.interventions.attacks.sga import SGA
from muroan.meter import Metered
from muroan.modality import Text
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import sample_keys, uniform
from muroan.registry import register
from muroan.robustness.adversarial.matching.findings import (
    INDEPENDENT,
    NULL,
    RADII,
    RANDOM,
    SEQUENCED,
    SETS,
    alone,
    conclude,
)

KEPT = ("loss_first", "loss_best", "words", "calls", "zero_gradient")
"""What of an attack's trace is evidence."""


@register
@dataclass(frozen=True, kw_only=True)
class Matching(Probe):
    """Attacks the codes of a model whose encoders share a space, within a budget that nobody notices.

    Co-Attack replaces a word and then moves the picture against both; SGA does so guided by copies of the picture at
    several scales. Beside them each input alone, both attacked apart and put together ("1 + 1 < 1", since they can
    cancel), and random changes of equal size, the best of as many as the ascent takes points. All are judged by the
    decision alone, of samples that the model gets right (asr.flip_of_correct). The model is known to the attacker.
    """

    name = "robustness.matching"
    question = "Do matching inputs still find each other when somebody changes them a little?"
    place = "robustness/adversarial"
    source = "Co-Attack: Zhang et al., ACM MM 2022; SGA: Lu et al., ICCV 2023"
    metrics = (
        Metric(
            name="success",
            says="Share of right answers (found pairs, where the task is retrieval) that the attack turns "
            "(asr.flip_of_correct). 0: none; 1: all.",
            limit=0.5,
        ),
        Metric(
            name="excess",
            says="Success of the attack minus success of random changes of the same size. 0: only size matters; "
            "1: chosen changes always succeed, random ones never.",
            limit=0.5,
        ),
        Metric(
            name="interaction",
            says="Success of the attack on all inputs, one after another, minus that on the weakest input alone. "
            "0: one input decides; above: inputs are weaker together.",
        ),
        Metric(
            name="sequencing",
            says="Success of the attack one input after another minus that of the same changes found apart and put "
            "together. 0: order does not matter; above: apart they cancel.",
        ),
        Metric(
            name="loss_rise",
            says="Share of samples on which the attack raised what it climbs, or succeeded. 1: it climbs; below 0.95 "
            "its success is a lower bound.",
            better="higher",
        ),
    )
    needs = CoAttack.needs | {Capability.ALIGNED}
    outcomes = {"success": "lower"}
    finds = {"robustness.fragile-match": ("success", "excess")}

    limit: int | None = 300
    steps: int = 10
    words: int = 1
    """Words that may be replaced in each text."""
    radii: tuple[tuple[str, float], ...] = ()
    """Radius by modality name, in its value space; over the defaults of its kind."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.words < 0:
            raise AskedWrongly(f"robustness.matching: {self.steps} steps and {self.words} words make no attack")

    def budgets(self, kinds: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Budget]:
        """Modality -> its budget, those that can be attacked."""
        return budgets_of(kinds, modalities, dict(self.radii), self.words)

    def applies(self, model: Model, schema: Schema) -> str | None:
        if len(model.modalities) < 2:
            return f"asks about pairs; {model.name} reads {model.modalities[0]} alone"
        unknown = [m for m, _ in self.radii if m not in schema.modalities]
        if unknown:
            return f"radii name {unknown[0]!r}, which is no modality of the data"
        if not self.budgets(schema.modalities, model.modalities):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

    def observe(self, clean: Clean) -> Observation:
        model, seed = clean.model, clean.seed
        budgets = self.budgets(clean.batch.modalities, tuple(model.modalities))
        right = clean.correct.nonzero().flatten().tolist()
        batch = clean.batch.take(right)
        labels = clean.predicted[right]
        attack = CoAttack(steps=self.steps, step=1.25 / self.steps)
        again = model.of(batch) if right else torch.zeros(0, len(model.classes))
        found = {NULL: Attacked(batch, again.argmax(dim=1) != labels, again)}
        if right:
            # An input alone is only moved away from its own code: nothing is known of what becomes of the other.
            apart = CoAttack(steps=self.steps, step=1.25 / self.steps, alpha=0.0, stop=False)
            singles = {m: apart.run(model, batch, {m: b}, seed=seed) for m, b in budgets.items()}
            found |= {alone(m): done for m, done in singles.items()}
            found[SEQUENCED] = attack.run(model, batch, budgets, seed=seed)
            found[SETS] = SGA(steps=self.steps, step=2.5 / self.steps).run(model, batch, budgets, seed=seed)
            if len(budgets) > 1:
                found[INDEPENDENT] = together(model, batch, singles, labels)
            tries = self.steps + 1 if any(b.radius for b in budgets.values()) else 1
            found[RANDOM] = random_search(model, batch, budgets, tries, seed=seed, purpose=self.name)
        frames = [self._rows(clean, name, right, done) for name, done in found.items()]
        shown = self._shown(clean, batch, found[SEQUENCED]) if right else []
        return Observation(pl.concat(frames, how="diagonal_relaxed"), shown)

    def _rows(self, clean: Clean, condition: str, right: list[int], done: Attacked) -> pl.DataFrame:
        at = torch.tensor(right, dtype=torch.long)
        columns: dict[str, Tensor] = {}
        for name, values in {"attacked": torch.ones(len(right)) > 0, "success": done.success}.items():
            columns[name] = torch.zeros(len(clean), dtype=torch.bool)
            columns[name][at] = values
        for name in KEPT:
            if name in done.trace:
                columns[name] = torch.full((len(clean),), -1.0, dtype=torch.double)
                columns[name][at] = done.trace[name].double()
        return clean.rows(condition, **columns)

    def _shown(self, clean: Clean, batch: Batch, done: Attacked) -> list[Shown]:
        """The first successes: before, after, and the difference."""
        out = []
        for i in done.success.nonzero().flatten().tolist()[:2]:
            panels: list[tuple[Panel, Any]] = []
            for m in clean.model.modalities:
                old, new = batch.inputs[m][i], done.batch.inputs[m][i]
                if batch.modalities[m].kind == "image":
                    panels += [
                        (Panel(label=f"{m}, original", kind="image"), old),
                        (Panel(label=f"{m}, attacked", kind="image"), new),
                        (Panel(label="difference, 10 times", kind="image"), (0.5 + 10 * (new - old)).clamp(0, 1)),
                    ]
                elif isinstance(batch.modalities[m], Text):
                    panels.append((Panel(label=m, kind="text", text=old if old == new else f"{old} → {new}"), None))
            truth = clean.model.classes[int(batch.targets[i])]
            title = f"“{truth}” becomes “{clean.model.classes[int(done.logits[i].argmax())]}”"
            rank = float(uniform(sample_keys([batch.ids[i]], "exhibit"))[0].item())
            out.append(Shown(sample=batch.ids[i], title=title, panels=panels, rank=rank))
        return out

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def budgets_of(
    kinds: Mapping[str, Any], modalities: Sequence[str], radii: Mapping[str, float], words: int
) -> dict[str, Budget]:
    """What may change by default: a word of each text, each continuous input by the radius of the papers."""
    return usual({m: kinds[m].kind for m in modalities}, radii=radii.items(), words=words, by_kind=RADII)


def together(model: Metered, batch: Batch, singles: Mapping[str, Attacked], labels: Tensor) -> Attacked:
    """Changes that were found apart, put together."""
    mixed = batch.with_inputs(**{m: done.batch.inputs[m] for m, done in singles.items()})
    logits = model.of(mixed)
    return Attacked(mixed, logits.argmax(dim=1) != labels, logits)
