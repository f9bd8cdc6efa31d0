"""Projected gradient descent on any number of inputs at once.

Source: the survey's equation 1 (after Tian & Xu, CVPR 2021): maximise L({x_i}, y) subject to ‖x_i − x_i⁰‖ ≤ ε_i for
each modality i; the ascent is Madry et al. 2018 (ICLR). One backward pass gives the gradients of all modalities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.meter import Codes, Metered
from muroan.modality import Modality, where
from muroan.model import Capability
from muroan.randomness import key, sample_keys, uniform
from muroan.registry import register

ROWS = 512
"""Rows (samples × restarts) that are worked on at once: bounds the memory of the backward pass."""


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """−log(p_y / (1 − p_y)) [N] in double: cross-entropy on a scale that does not saturate.

    Per sample its gradient is cross-entropy's times a positive number, so signed and normalised steps are the
    same; where p_y rounds to 1 and cross-entropy's gradient to zero, this one still points the way.
    """
    scores = logits.double()
    own = scores.gather(1, labels[:, None]).squeeze(1)
    loss: Tensor = scores.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1) - own
    return loss


@register
@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Ascends the loss of the model's own decision inside every modality's ball, from random starts.

    The result of a sample is the worst case over all steps and restarts: the first point that changes the decision,
    else the one of highest loss. Restarts run stacked in one batch; a sample that is decided is dropped, and so are
    its other restarts. `trace`: loss_first, loss_best [N], steps [N] until success (−1: none), zero_gradient [N] (no
    attacked value had a gradient at the first step).

    steps: of the ascent. restarts: random starts, the first being the sample itself. step: as a share of the radius
    over steps (2.5 reaches the border and can turn around there).
    """

    name: ClassVar[str] = "pgd"
    source: ClassVar[str] = "Madry et al. 2018; multi-input: survey equation 1, Tian & Xu, CVPR 2021"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.GRADIENTS})

    steps: int = 15
    restarts: int = 2
    step: float = 2.5

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise AskedWrongly(f"pgd needs at least one step and one start, got {self.steps} and {self.restarts}")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        moving = attackable(model, batch, budgets)
        n = len(batch)
        if not moving or n == 0:
            logits = model.of(batch)
            never = torch.full((n,), -1)
            flat = loss_of(logits, logits.argmax(dim=1))
            trace = {"loss_first": flat, "loss_best": flat, "steps": never, "zero_gradient": torch.zeros(n) > 0}
            return Attacked(batch, torch.zeros(n, dtype=torch.bool), logits, trace)
        size = max(1, ROWS // self.restarts)
        parts = [
            self._some(model, batch.take(range(k, min(k + size, n))) if n > size else batch, moving, seed)
            for k in range(0, n, size)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _some(self, model: Metered, batch: Batch, moving: Mapping[str, Budget], seed: int) -> Attacked:
        n, r = len(batch), self.restarts
        clean = model.of(batch)
        labels = clean.argmax(dim=1)
        best_loss = loss_of(clean, labels)
        best = {m: batch.inputs[m].clone() for m in moving}
        best_logits = clean.clone()
        steps = torch.full((n,), -1)
        first = best_loss.clone()
        zero = torch.ones(n, dtype=torch.bool)
        still = {m: model.encode(m, batch.inputs[m]) for m in model.modalities if m not in moving}

        sample = torch.arange(n).repeat(r)  # row k is a start of sample[k]
        origin = {m: batch.inputs[m][sample] for m in moving}
        x = {m: self._start(model.modalities[m], batch, m, b, seed) for m, b in moving.items()}
        x = {m: where(batch.present[m][sample], v, origin[m]) if m in batch.present else v for m, v in x.items()}
        for t in range(self.steps + 1):
            last = t == self.steps
            inputs: dict[str, Tensor | Codes] = {m: c.take(sample) for m, c in still.items()}
            present = {m: v[sample] for m, v in batch.present.items()}
            leaves = {m: v.detach().requires_grad_(not last) for m, v in x.items()}
            if last:
                with torch.no_grad():
                    logits = model.differentiable({**inputs, **leaves}, present)
            else:
                logits = model.differentiable({**inputs, **leaves}, present)
            loss = loss_of(logits, labels[sample])
            flipped = logits.argmax(dim=1) != labels[sample]
            self._keep(t, sample, x, logits.detach(), loss.detach(), flipped, best, best_loss, best_logits, steps)
            if last:
                break
            grads = dict(zip(leaves, model.backward(loss.sum(), list(leaves.values()), len(sample)), strict=True))
            if t == 0:
                moved = torch.stack([(g != 0).flatten(1).any(dim=1) for g in grads.values()]).any(dim=0)
                zero[sample[moved]] = False
            open_ = steps[sample] < 0
            if not bool(open_.any()):
                break
            for m, budget in moving.items():
                step = self.step * budget.radius / self.steps
                ahead = x[m].detach() + step * _direction(grads[m], budget.p)
                moved = model.modalities[m].project(ahead, origin[m], budget.p, budget.radius)
                # What a sample does not have cannot be attacked: its neutral value stays as it is.
                x[m] = where(present[m], moved, origin[m]) if m in present else moved
            if not bool(open_.all()):
                sample = sample[open_]
                x = {m: v[open_] for m, v in x.items()}
                origin = {m: v[open_] for m, v in origin.items()}
        trace = {"loss_first": first, "loss_best": best_loss, "steps": steps, "zero_gradient": zero}
        return Attacked(batch.with_inputs(**best), steps >= 0, best_logits, trace)

    def _start(self, modality: Modality, batch: Batch, m: str, budget: Budget, seed: int) -> Tensor:
        """Starts [R·N, ...], restart by restart: the samples themselves, then random points of the ball."""
        x = batch.inputs[m]
        starts = [x]
        for k in range(1, self.restarts):
            keys = sample_keys(batch.ids, seed, self.name, m, k)
            if budget.p == float("inf"):
                noise = torch.from_numpy(uniform(keys, *x.shape[1:]) * 2 - 1).to(x.dtype) * budget.radius
                starts.append(modality.project(x + noise, x, budget.p, budget.radius))
            else:
                length = uniform(keys ^ np.uint64(key("length"))) ** (1 / max(1, x[0].numel()))
                far = modality.random_change(x, budget.p, budget.radius, keys)
                inside = x + (far - x) * torch.from_numpy(length).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
                starts.append(modality.project(inside, x, budget.p, budget.radius))
        return torch.cat(starts)

    @staticmethod
    def _keep(
        t: int,
        sample: Tensor,
        x: Mapping[str, Tensor],
        logits: Tensor,
        loss: Tensor,
        flipped: Tensor,
        best: dict[str, Tensor],
        best_loss: Tensor,
        best_logits: Tensor,
        steps: Tensor,
    ) -> None:
        """Remember, per sample, the first point that changes the decision, else the point of highest loss."""
        n = len(best_loss)
        rank = torch.where(flipped, torch.inf, loss)
        top = torch.full((n,), -torch.inf, dtype=rank.dtype).scatter_reduce(0, sample, rank, reduce="amax")
        rows = torch.arange(len(sample))
        is_top = rank == top[sample]
        # Of equal rows the first restart counts, so that the choice does not depend on the batch.
        row = torch.full((n,), len(sample)).scatter_reduce(0, sample[is_top], rows[is_top], reduce="amin")
        here = row < len(sample)
        won = torch.zeros(n, dtype=torch.bool)
        won[here] = flipped[row[here]]
        better = here & (steps < 0) & (won | (top > best_loss))
        chosen = row[better]
        for m, v in best.items():
            v[better] = x[m].detach()[chosen]
        best_logits[better] = logits[chosen]
        best_loss[better] = loss[chosen]
        steps[better & won] = t


def attackable(model: Metered, batch: Batch, budgets: Budgets) -> dict[str, Budget]:
    """The continuous modalities with a radius to move in."""
    return {
        m: budgets[m]
        for m in model.modalities
        if m in budgets and budgets[m].radius > 0 and batch.modalities[m].continuous
    }


def _direction(gradient: Tensor, p: float) -> Tensor:
    """Steepest ascent of length 1 in the norm: signs for p = ∞, the normalised gradient for p = 2."""
    if p == float("inf"):
        return gradient.sign()
    norm: Tensor = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient / norm.clamp_min(1e-30)


def _joined(parts: list[Attacked]) -> Attacked:
    return Attacked(
        Batch.concat([p.batch for p in parts]),
        torch.cat([p.success for p in parts]),
        torch.cat([p.logits for p in parts]),
        {k: torch.cat([p.trace[k] for p in parts]) for k in parts[0].trace},
    )
