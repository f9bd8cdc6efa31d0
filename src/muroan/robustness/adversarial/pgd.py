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
"""Samples that are worked on at once: bounds the memory of the backward pass."""


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
    else the one of highest loss. A sample that is decided is dropped from the steps that remain and from all other
    restarts. (Stacking restarts into one batch was measured too: without an accelerator it costs more than it saves,
    since it attacks from every start what the first would have decided.)

    `trace`: loss_first, loss_best [N], steps [N] until success (−1: none), zero_gradient [N] (no attacked value had a
    gradient at the first step); promised [N]: how much the first step from the sample itself should raise the loss,
    by its gradient there; kept [N]: how much it did.

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
            trace |= {"promised": torch.zeros_like(flat), "kept": torch.zeros_like(flat)}
            return Attacked(batch, torch.zeros(n, dtype=torch.bool), logits, trace)
        parts = [
            self._some(model, batch.take(range(k, min(k + ROWS, n))) if n > ROWS else batch, moving, seed)
            for k in range(0, n, ROWS)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _some(self, model: Metered, batch: Batch, moving: Mapping[str, Budget], seed: int) -> Attacked:
        """One start after another; what a start decided is not attacked from the next."""
        clean = model.of(batch)
        labels = clean.argmax(dim=1)
        first = loss_of(clean, labels)
        state = _State(
            first=first,
            best={m: batch.inputs[m].clone() for m in moving},
            logits=clean.clone(),
            loss=first.clone(),
            steps=torch.full((len(batch),), -1),
            zero=torch.ones(len(batch), dtype=torch.bool),
            promised=torch.zeros_like(first),
            kept=torch.zeros_like(first),
        )
        still = {m: model.encode(m, batch.inputs[m]) for m in model.modalities if m not in moving}
        for start in range(self.restarts):
            left = (state.steps < 0).nonzero().flatten()
            if len(left):
                self._ascend(model, batch, moving, still, labels, left, start, seed, state)
        trace = {"loss_first": first, "loss_best": state.loss, "steps": state.steps, "zero_gradient": state.zero}
        trace |= {"promised": state.promised, "kept": state.kept}
        return Attacked(batch.with_inputs(**state.best), state.steps >= 0, state.logits, trace)

    def _ascend(
        self,
        model: Metered,
        batch: Batch,
        moving: Mapping[str, Budget],
        still: Mapping[str, Codes],
        labels: Tensor,
        sample: Tensor,
        start: int,
        seed: int,
        state: _State,
    ) -> None:
        """The ascent of the samples `sample` [R] from one start; what it finds goes into `state`."""
        here = batch.take(sample)
        origin = {m: here.inputs[m] for m in moving}
        x = {m: self._start(model.modalities[m], here, m, b, start, seed) for m, b in moving.items()}
        x = {m: where(here.present[m], v, origin[m]) if m in here.present else v for m, v in x.items()}
        for t in range(self.steps + 1):
            last = t == self.steps
            present = {m: v[sample] for m, v in batch.present.items()}
            leaves = {m: v.detach().requires_grad_(not last) for m, v in x.items()}
            fixed = {m: c.take(sample) for m, c in still.items()}
            with torch.set_grad_enabled(not last):
                logits = model.differentiable({**fixed, **leaves}, present)
            loss = loss_of(logits, labels[sample])
            flipped = logits.argmax(dim=1) != labels[sample]
            if start == 0 and t == 1:
                state.kept[sample] = loss.detach() - state.first[sample]
            state.keep(t, sample, x, logits.detach(), loss.detach(), flipped)
            if last:
                break
            grads = dict(zip(leaves, model.backward(loss.sum(), list(leaves.values()), len(sample)), strict=True))
            if t == 0:
                some = torch.stack([(g != 0).flatten(1).any(dim=1) for g in grads.values()]).any(dim=0)
                state.zero[sample[some]] = False
            for m, budget in moving.items():
                step = self.step * budget.radius / self.steps
                ahead = x[m].detach() + step * _direction(grads[m], budget.p)
                moved = model.modalities[m].project(ahead, origin[m], budget.p, budget.radius)
                # What a sample does not have cannot be attacked: its neutral value stays as it is.
                x[m] = where(present[m], moved, origin[m]) if m in present else moved
                if start == 0 and t == 0:
                    along = grads[m].double() * (x[m] - leaves[m].detach()).double()
                    state.promised[sample] += along.flatten(1).sum(dim=1)
            left = ~flipped
            if not bool(left.all()):
                sample = sample[left]
                if len(sample) == 0:
                    break
                x, origin = ({m: v[left] for m, v in values.items()} for values in (x, origin))

    def _start(self, modality: Modality, batch: Batch, m: str, budget: Budget, start: int, seed: int) -> Tensor:
        """Where the ascent begins: the samples themselves (start 0), or random points of their balls."""
        x: Tensor = batch.inputs[m]
        if start == 0:
            return x
        keys = sample_keys(batch.ids, seed, self.name, m, start)
        if budget.p == float("inf"):
            noise = torch.from_numpy(uniform(keys, *x.shape[1:]) * 2 - 1).to(x.dtype) * budget.radius
            return modality.project(x + noise, x, budget.p, budget.radius)
        length = uniform(keys ^ np.uint64(key("length"))) ** (1 / max(1, x[0].numel()))
        far = modality.random_change(x, budget.p, budget.radius, keys)
        inside = x + (far - x) * torch.from_numpy(length).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        return modality.project(inside, x, budget.p, budget.radius)


@dataclass
class _State:
    """The worst case so far, per sample; first: the loss of the sample itself."""

    first: Tensor
    best: dict[str, Tensor]
    logits: Tensor
    loss: Tensor
    steps: Tensor
    zero: Tensor
    promised: Tensor
    kept: Tensor

    def keep(
        self, t: int, sample: Tensor, x: Mapping[str, Tensor], logits: Tensor, loss: Tensor, flipped: Tensor
    ) -> None:
        """Remember the points x of the samples `sample` that change the decision or raise the loss."""
        better = flipped | (loss > self.loss[sample])
        chosen = sample[better]
        for m, v in self.best.items():
            v[chosen] = x[m].detach()[better]
        self.logits[chosen], self.loss[chosen] = logits[better], loss[better]
        self.steps[sample[flipped]] = t


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
