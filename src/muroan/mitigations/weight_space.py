"""Arithmetic of weights: what lies between models of one architecture that come from one initialisation.

A state is what `state_dict` gives: parameters and buffers by name. Only numbers with a fraction are averaged; integers
and truth values (a batch counter, position ids) are copied. Calculated in float32, or wider where the state is wider,
and stored as the state is. LoRA adapters are to be merged into the weights before: the average of two products is not
the product of the averages.

Source: Wortsman et al., CVPR 2022 (WiSE-FT) and ICML 2022 (model soups); Fisher weighting: Matena & Raffel, NeurIPS
2022. Written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import logits
from muroan.model import Model
from muroan.randomness import integers, sample_keys
from muroan.training import differentiable

State = Mapping[str, Tensor]

FLOOR = 1e-6
"""What a Fisher weight is at least: where both ends are indifferent, their plain average is taken."""
ROWS = 128
"""Samples whose statistics a batch norm sees at once."""


def interpolate(
    start: State, end: State, alpha: float, fisher: tuple[State, State] | None = None, floor: float = FLOOR
) -> dict[str, Tensor]:
    """(1 − alpha) · start + alpha · end; alpha 0 gives the start and 1 the end, bit for bit.

    What is not averaged (integers) is the end's, except at alpha 0. What is equal at both ends stays so, to the bit.
    fisher: of start and end (F₀, F₁), by parameter name; then each number is
    ((1 − alpha) F₀ start + alpha F₁ end) / ((1 − alpha) F₀ + alpha F₁), no F below `floor`.
    """
    if not 0 <= alpha <= 1:
        raise AskedWrongly(f"alpha is {alpha}; it must be between 0 (the start) and 1 (the end)")
    alike([start, end])
    if alpha in (0, 1):
        return copied(end if alpha else start)

    def between(name: str, a: Tensor, b: Tensor) -> Tensor:
        wide = torch.promote_types(a.dtype, torch.float32)
        weight: float | Tensor = alpha
        if fisher is not None and name in fisher[0]:
            first, second = (f[name].to(wide).clamp_min(floor) for f in fisher)
            weight = alpha * second / ((1 - alpha) * first + alpha * second)
        return torch.lerp(a.to(wide), b.to(wide), weight).to(a.dtype)

    return {n: between(n, start[n].detach(), b.detach()) if averaged(b) else b.detach().clone() for n, b in end.items()}


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of k states, integers of the last; of one state it is that state, bit for bit."""
    if not states:
        raise AskedWrongly("there is nothing to average: no state was given")
    alike(states)
    if len(states) == 1:
        return copied(states[0])

    def mean(name: str, last: Tensor) -> Tensor:
        # In double, so that k equal numbers have themselves as their mean.
        total = torch.zeros_like(last, dtype=torch.promote_types(last.dtype, torch.float64))
        for s in states:
            total += s[name].detach()
        return (total / len(states)).to(last.dtype)

    return {n: mean(n, t) if averaged(t) else t.detach().clone() for n, t in states[-1].items()}


def averaged(tensor: Tensor) -> bool:
    """Whether a mean of such tensors means anything."""
    return tensor.is_floating_point() or tensor.is_complex()


def copied(state: State) -> dict[str, Tensor]:
    """The same numbers in tensors of their own."""
    return {name: t.detach().clone() for name, t in state.items()}


def alike(states: Sequence[State]) -> None:
    """Raises `AskedWrongly` unless all states have the same names, shapes and kinds of number."""
    first = states[0]
    for other in states[1:]:
        lacking = sorted(set(first) ^ set(other))
        if lacking:
            where = "the first" if lacking[0] in first else "the other"
            raise AskedWrongly(
                f"these models differ: {lacking[0]} is in {where} alone ({len(lacking)} such names); weights can only "
                "be averaged between models of one architecture, heads included, that come from one initialisation"
            )
        for name, t in first.items():
            if t.shape != other[name].shape or t.dtype != other[name].dtype:
                said = " and ".join(f"{tuple(x.shape)} of {x.dtype}" for x in (t, other[name]))
                raise AskedWrongly(f"these models differ: {name} is {said}; only models of one architecture average")


def normed(modules: nn.Module) -> list[_BatchNorm]:
    """The batch norms that keep statistics."""
    return [m for m in modules.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@torch.no_grad()
def recalibrate(model: Model, data: Dataset) -> int:
    """Statistics of batch norms, estimated again on `data`; how many batch norms there were.

    Means and variances that two models had are not those of the model between them. They become the plain average over
    batches, everything else (dropout too) being in evaluation mode; nothing happens where there is no batch norm.
    """
    norms = normed(model.trainable())
    if not norms or not len(data):
        return 0
    before = [(m.momentum, m.training) for m in norms]
    # Pieces of nearly equal size: each counts the same, and none is a single sample.
    pieces = -(-len(data) // ROWS)
    try:
        for m in norms:
            m.reset_running_stats()
            m.momentum = None
            m.train()
        for k in range(pieces):
            batch = data.load(range(len(data) * k // pieces, len(data) * (k + 1) // pieces)).batch
            if batch is not None and len(batch) > 1:
                logits(model, batch)
    finally:
        for m, (momentum, training) in zip(norms, before, strict=True):
            m.momentum = momentum
            m.train(training)
    return len(norms)


def fisher_information(model: Model, data: Dataset, samples: int, *, seed: int) -> dict[str, Tensor]:
    """The diagonal of the Fisher information, by parameter name: the mean squared slope of a sample's log-likelihood.

    Labels are drawn from the model's own answer, as the expectation asks for. One backward pass for each of the first
    `samples` samples, as slopes of samples do not come apart in a batch.
    """
    named = {n: p for n, p in model.trainable().named_parameters() if p.is_floating_point()}
    total, seen = {n: torch.zeros_like(p, dtype=torch.float32) for n, p in named.items()}, 0
    with differentiable(named.values(), named.values()), torch.enable_grad():
        for batch in data.subset(range(min(samples, len(data)))).batches(1):
            said = logits(model, batch).log_softmax(dim=1)
            drawn = integers(sample_keys(batch.ids, seed, "fisher"), 2**40)[0] / 2**40
            label = int((said.exp().cumsum(dim=1)[0] < drawn).sum().clamp_max(said.shape[1] - 1))
            slopes = torch.autograd.grad(said[0, label], list(named.values()), allow_unused=True)
            for name, slope in zip(named, slopes, strict=True):
                if slope is not None:
                    total[name] += slope.detach().float().square()
            seen += 1
    return {n: t / max(1, seen) for n, t in total.items()}
