"""AttackVLM: make a surrogate's code of an input look like a target's, then ask the attacked model itself.

Source: Zhao et al., NeurIPS 2023: matching image with image (MF-ii), image with text (MF-it), and a query stage by
random gradient-free estimation (MF-tt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs, direction
from muroan.interventions.attacks.code_attack import Goal, Stage
from muroan.interventions.attacks.gradient_attack import attackable
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.random_gradient import random_gradient
from muroan.interventions.attacks.targeted import TargetedCodes, spread, values_of
from muroan.meter import Metered
from muroan.modality import where
from muroan.randomness import sample_keys
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class AttackVLM(TargetedCodes):
    """Climbs the cosine of the input's code with that of the target; what is still undecided may be queried.

    match: "same": target is a value of the moved modality (MF-ii); "other": of the model's other one, such as the words
    that a picture is to be taken for (MF-it). rounds: of the query stage, 0 for none; in each, `directions` changes of
    random sign and length `sigma` times the radius are put to the attacked model, then one step is taken and judged:
    directions + 1 queries, and one at the start. It uses the model's scores alone: what its decision loses.

    Constants, for a radius of 8/255: 100 steps (the paper goes up to 300) of 1/8 of it, 20 directions, sigma 1.
    `trace`: queries [N] of the query stage.
    """

    name = "attack_vlm"
    source = "Zhao et al., NeurIPS 2023"

    steps: int = 100
    match: Literal["same", "other"] = "same"
    rounds: int = 0
    directions: int = 20
    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match not in ("same", "other"):
            raise AskedWrongly(f"attack_vlm matches the 'same' modality or the 'other', not {self.match!r}")
        if self.rounds < 0 or self.directions < 1 or self.sigma <= 0:
            raise AskedWrongly(
                f"attack_vlm cannot ask {self.rounds} rounds of {self.directions} directions of length {self.sigma}"
            )

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        done = super().run(model, batch, budgets, seed=seed)
        moving = attackable(model, batch, budgets)
        # Surrogates run this method too: the model that is queried is the attacked one, once.
        if self.rounds and moving and len(batch):
            done = self._query(model, batch, done, *next(iter(moving.items())), seed)
        return done

    def _goal(self, clean: Stage, m: str, seed: int) -> Goal:
        model = clean.model
        others = [n for n in model.modalities if n != m]
        if self.match == "other" and len(others) != 1:
            raise AskedWrongly(f"to match {m} with another modality the model must have one; it has {others or 'none'}")
        source = m if self.match == "same" else others[0]
        wanted = spread(model.encode(source, values_of(self.target, clean.batch, source)).data, len(clean.batch))

        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            code = model.encode_differentiable(m, x[m])
            return (code * wanted[sample]).sum(dim=1), {m: code}

        return goal

    def _query(self, model: Metered, batch: Batch, done: Attacked, m: str, budget: Budget, seed: int) -> Attacked:
        """Random gradient-free ascent of what the decision loses, for the samples that keep theirs."""
        labels = model.of(batch).argmax(dim=1)
        codes, index = model.codes(batch)
        modality, origin = batch.modalities[m], batch.inputs[m]
        there = batch.present

        def scores(x: Tensor, rows: Tensor) -> Tensor:
            still = {n: c.take(index[n][rows]) for n, c in codes.items() if n != m}
            return model.logits({**still, m: model.encode(m, x)}, None, {k: p[rows] for k, p in there.items()} or None)

        x, logits = done.batch.inputs[m].clone(), done.logits.clone()
        best, queries = x.clone(), torch.zeros(len(batch), dtype=torch.long)
        loss = loss_of(logits, labels)
        left = (~done.success).nonzero().flatten()
        queries[left] += 1
        now = loss.clone()
        for t in range(self.rounds):
            if not len(left):
                break
            own = left

            def f(values: Tensor, sample: Tensor, own: Tensor = own) -> Tensor:
                inside = values.clamp(modality.low, modality.high)
                return loss_of(scores(inside, own[sample]), labels[own[sample]])

            keys = sample_keys([batch.ids[i] for i in own.tolist()], seed, self.name, "queries", t)
            length = self.sigma * budget.radius
            g = random_gradient(f, x[own], now[own], keys, directions=self.directions, sigma=length)
            ahead = x[own] + self.step * budget.radius * direction(g, budget.p)
            ahead = modality.project(ahead, origin[own], budget.p, budget.radius)
            if m in there:
                ahead = where(there[m][own], ahead, origin[own])
            found = scores(ahead, own)
            queries[own] += self.directions + 1
            x[own], now[own] = ahead, loss_of(found, labels[own])
            gone = found.argmax(dim=1) != labels[own]
            better = own[gone | (now[own] > loss[own])]
            kept = torch.zeros(len(batch), dtype=torch.bool)
            kept[better] = True
            at = kept[own]
            best[better], logits[better], loss[better] = ahead[at], found[at], now[better]
            left = own[~gone]
        trace = {**done.trace, "queries": queries}
        return Attacked(done.batch.with_inputs(**{m: best}), logits.argmax(dim=1) != labels, logits, trace)
