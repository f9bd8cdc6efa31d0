"""What probes that attack share: whom they attack, within which budgets, what is evidence of it, and what is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import polars as pl
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.budget import RADII, Budget, Budgets, usual
from muroan.clean import Clean
from muroan.estimate import Estimate
from muroan.evidence import AUDITED, Evidence
from muroan.figure import share
from muroan.finding import Panel
from muroan.interventions.attacks.results import nothing
from muroan.modality import Modality
from muroan.model import Model
from muroan.probe import Probe, Shown
from muroan.randomness import sample_keys, uniform
from muroan.rows import Rows

NULL = "null"
"""The condition in which nothing is changed and the model is asked again."""
UNNOTICED: Mapping[str, float] = {"image": 2 / 255, "audio": 0.0025}
"""Radius per kind that attacks on matching take in the papers, a quarter of what attacks on classifiers take."""
SUCCESS = share("success")
TURNED = "share of right answers turned"


@dataclass(frozen=True, kw_only=True)
class AttackProbe(Probe):
    """Attacks answers that are right, within a budget for each input; a success changes the decision.

    usual_radii: the radius of each kind of continuous input; a kind without one is attacked where `radii` names it.
    """

    place = "robustness/adversarial"
    outcomes = {"success": "lower"}
    among = pl.col("attacked")
    nobody = "the model got no sample right, so there was nothing to attack"
    usual_radii: ClassVar[Mapping[str, float]] = RADII

    words: int = 1
    """Words that may be replaced in each text."""
    radii: tuple[tuple[str, float], ...] = ()
    """Radius by modality name, in its value space; over the defaults of its kind."""

    def budgets(self, kinds: Mapping[str, str]) -> dict[str, Budget]:
        """Modality -> the most that may change in it, of those (name -> kind) that can be attacked."""
        return usual(kinds, radii=self.radii, words=self.words, by_kind=self.usual_radii)

    def budgets_of(self, clean: Clean) -> dict[str, Budget]:
        """The budgets of what the model reads."""
        return self.budgets({m: clean.batch.modalities[m].kind for m in clean.model.modalities})

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m, _ in self.radii:
            if m not in schema.modalities:
                return f"radii name {m!r}, which is no modality of the data"
        if not self.budgets({m: schema.modalities[m].kind for m in model.modalities}):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None


@dataclass(frozen=True)
class RightAnswers:
    """The samples of a clean pass over N that the model gets right [R], in order: those that are attacked."""

    clean: Clean
    at: Tensor

    @staticmethod
    def of(clean: Clean) -> RightAnswers:
        return RightAnswers(clean, clean.correct.nonzero().flatten())

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def batch(self) -> Batch:
        return self.clean.batch.take(self.at)

    def untouched(self) -> Attacked:
        """The null change: the samples themselves, asked again. A decision that differs is an error of the harness."""
        again = nothing(self.clean.model, self.batch)
        return Attacked(self.batch, again.logits.argmax(dim=1) != self.clean.predicted[self.at], again.logits)

    def part(self, share: float, *purpose: object) -> RightAnswers:
        """That share of them, drawn at random, with nobody beside them."""
        drawn = torch.from_numpy(uniform(self.clean.keys(*purpose)))[self.at]
        return RightAnswers.of(self.clean.take(self.at[drawn < share].tolist()))

    def among_all(self, values: Tensor, rest: Tensor | float) -> Tensor:
        """values [R, ...] at their samples, [N, ...]; the others have `rest`."""
        whole = torch.as_tensor(rest, dtype=values.dtype).expand(len(self.clean), *values.shape[1:]).clone()
        whole[self.at] = values
        return whole

    def rows(self, condition: str, done: Attacked, kept: Sequence[str] = (), **columns: Any) -> pl.DataFrame:
        """One row for each of the N samples.

        attacked: the answer was right, so it was; success: the decision changed; kept: what of the attack's trace is a
        column, −1 where nothing was attacked; columns: others, [N] each.
        """
        attacked = self.among_all(torch.ones(len(self), dtype=torch.bool), False)
        trace = {k: self.among_all(done.trace[k].double(), -1.0) for k in kept if k in done.trace}
        return self.clean.rows(
            condition, attacked=attacked, success=self.among_all(done.success, False), **trace, **columns
        )

    def shown(self, done: Attacked, most: int = 2) -> list[Shown]:
        """The first successes: pictures before, after, and their difference; words that became others."""
        model, batch, shown = self.clean.model, self.batch, []
        for i in done.success.nonzero().flatten().tolist()[:most]:
            panels: list[tuple[Panel, Any]] = []
            for m in model.modalities:
                panels += _changed(m, batch.modalities[m].kind, batch.inputs[m][i], done.batch.inputs[m][i])
            truth, answer = model.classes[int(batch.targets[i])], model.classes[int(done.logits[i].argmax())]
            rank = float(uniform(sample_keys([batch.ids[i]], "exhibit"))[0].item())
            shown.append(Shown(batch.ids[i], f"“{truth}” becomes “{answer}”", panels, rank=rank))
        return shown


def _changed(m: str, kind: str, old: Any, new: Any) -> list[tuple[Panel, Any]]:
    if kind == "text":
        return [(Panel(label=m, kind="text", text=old if old == new else f"{old} → {new}"), None)]
    if kind != "image":
        return []
    stages = {f"{m}, original": old, f"{m}, attacked": new, "difference, 10 times": 0.5 + 10 * (new - old)}
    return [(Panel(label=label, kind="image"), value.clamp(0, 1)) for label, value in stages.items()]


def without_bound(budgets: Budgets, modalities: Mapping[str, Modality]) -> dict[str, Budget]:
    """The whole range of every continuous input that has a budget, for a budget; inputs without ends are left out."""
    spans = {m: float(modalities[m].high - modalities[m].low) for m, b in budgets.items() if b.radius}
    return {m: Budget(radius=span) for m, span in spans.items() if span < math.inf}


def stays_right(evidence: Evidence, condition: str) -> tuple[Estimate, Estimate]:
    """Shares of all samples, attacked or not: right, and so under a condition too; right where nothing was changed."""
    everyone = Rows.of(evidence, NULL)
    # A shard without a right answer has rows of the null change alone.
    turned = evidence.of(AUDITED, condition).filter(pl.col("success"))["sample"].to_list()
    return everyone.share(pl.col("attacked") & ~pl.col("sample").is_in(turned)), everyone.share("clean_correct")
