"""AttackVLM: make a surrogate's code of an input look like a target's, then ask the attacked model itself.

Source: Zhao et al., NeurIPS 2023: matching image with image (MF-ii), image with text (MF-it), and a query stage by
random gradient-free estimation (MF-tt).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budgets, movable
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs, Room, direction
from muroan.interventions.attacks.code_attack import Goal
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.targeted import TargetedCodes, spread, values_of
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Metered
from muroan.randomness import Words, uniform
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
            asked = f"{self.rounds} rounds of {self.directions} directions of length {self.sigma}"
            raise AskedWrongly(f"attack_vlm cannot ask {asked}")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        done = super().run(model, batch, budgets, seed=seed)
        moving = movable(model.modalities, budgets)
        # Surrogates run this method too: the model that is queried is the attacked one, once.
        if self.rounds and moving and len(batch):
            done = self._query(model, batch, done, moving, seed)
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

    def _query(self, model: Metered, batch: Batch, done: Attacked, moving: Budgets, seed: int) -> Attacked:
        """Random gradient-free ascent of what the decision loses, for the samples that keep theirs."""
        stage = Stage.of(model, batch)
        ((m, budget),) = moving.items()
        kind, labels, length = batch.modalities[m], stage.predicted, self.sigma * budget.radius
        now = loss_of(done.logits, labels)
        best = Worst.at(done.batch, moving, now, done.logits)
        best.steps[done.success] = 0
        room, x = Room.around(batch, moving, best.left), done.batch.inputs[m][best.left]
        now, queries = now[best.left], (~done.success).long()
        for t in range(1, self.rounds + 1):
            own = room.sample
            if not len(own):
                break

            def lost(values: Tensor, sample: Tensor, own: Tensor = own) -> Tensor:
                inside = values.clamp(kind.low, kind.high)
                return loss_of(stage.with_values({m: inside}, own[sample]), labels[own[sample]])

            keys = room.keys(seed, self.name, "queries", t - 1)
            g = random_gradient(lost, x, now, keys, directions=self.directions, sigma=length)
            ahead = x + self.step * budget.radius * direction(g, budget.p)
            x = room.kept(m, kind.project(ahead, room.origin[m], budget.p, budget.radius))
            logits = stage.with_values({m: x}, own)
            queries[own] += self.directions + 1
            now, turned = loss_of(logits, labels[own]), logits.argmax(dim=1) != labels[own]
            best.keep(t, own, {m: x}, Seen(now, turned, logits))
            room, x, now = room.take(~turned), x[~turned], now[~turned]
        return best.attacked({**done.trace, "queries": queries})


def random_gradient(
    f: Callable[[Tensor, Tensor], Tensor], x: Tensor, here: Tensor, keys: Words, *, directions: int, sigma: float
) -> Tensor:
    """Gradients of a function that only gives values, by random gradient-free estimation (Nesterov & Spokoiny 2017):

    g [N, ...] = mean over u of (f(x + sigma u) - f(x)) / sigma · u, with u of random signs.

    f: (values [R, ...], sample [R]) -> [R]; here [N]: f(x). `directions` queries a sample. With random signs the mean
    of g over many draws is the gradient, for small sigma.
    """
    n = len(x)
    draws = torch.from_numpy(uniform(keys, directions, *x.shape[1:]))
    signs = torch.where(draws < 0.5, -1.0, 1.0).to(x.dtype)
    sample = torch.arange(n).repeat_interleave(directions)
    ahead = f((x[:, None] + sigma * signs).flatten(0, 1), sample).view(n, directions)
    slope = (ahead - here[:, None]) / sigma
    wide = slope.to(x.dtype).view(n, directions, *[1] * (x.ndim - 1))
    return (wide * signs).mean(dim=1)
