"""What every organism promises: a dose that rises, a twin that differs in nothing else, the same world every time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from muroan.batch import Batch
from muroan.model import Capability, Model
from muroan.organism import Organism, World

SEED = 7
READ = 400
"""Samples of a split that are looked at."""


def says_what_is_planted(organism: Organism) -> None:
    for what in ("name", "place", "fault", "dose"):
        assert getattr(organism, what), f"{what} is missing"
    assert organism.name.split(".")[0] == organism.place.split("/")[0], "name and place are of different pillars"


def doses_rise(organism: Organism) -> None:
    doses = organism.doses
    assert len(doses) >= 3, "power is a curve over at least three doses"
    assert all(a < b for a, b in zip((0.0, *doses), doses, strict=False)), "doses must rise, from above 0"
    assert organism.matters in doses, "`matters` is not among the doses"


def at_dose_0_stands_the_twin(organism: Organism) -> None:
    """Planting nothing changes nothing: the same data and the same scores, value for value."""
    _same(organism.plant(0.0, SEED), organism.bed.world(SEED))


def a_dose_changes_something(organism: Organism) -> None:
    assert not _equal(organism.world(organism.doses[-1], SEED), organism.bed.world(SEED)), (
        "the largest dose changes neither the data, nor scores with, without or with a changed input, nor gradients"
    )


def a_seed_is_a_world(organism: Organism) -> None:
    """The same seed gives the same world, another seed another one."""
    _same(organism.world(organism.matters, SEED), organism.world(organism.matters, SEED))
    other = organism.world(organism.matters, SEED + 1)
    assert not _equal(organism.world(organism.matters, SEED), other), "another seed gives the same world"


def _equal(one: World, other: World) -> bool:
    try:
        _same(one, other)
    except AssertionError:
        return False
    return True


def _same(one: World, other: World) -> None:
    (model, splits), (model2, splits2) = one, other
    assert model.modalities == model2.modalities, "other modalities"
    assert [n for n, _ in splits.items()] == [n for n, _ in splits2.items()], "other splits"
    for (split, a), (_, b) in zip(splits.items(), splits2.items(), strict=True):
        assert list(a.ids) == list(b.ids), f"other samples in {split}"
        x, y = a.first(READ), b.first(READ)
        assert torch.equal(x.targets, y.targets), f"other labels in {split}"
        assert x.groups == y.groups, f"other groups in {split}"
        for m, value in x.inputs.items():
            same = torch.equal(value, y.inputs[m]) if isinstance(value, torch.Tensor) else value == y.inputs[m]
            assert same, f"other values of {m} in {split}"
        for ours, theirs in zip(_seen(model, x), _seen(model2, y), strict=True):
            assert torch.equal(ours, theirs), f"other scores or gradients in {split}"


def _seen(model: Model, batch: Batch) -> Iterator[torch.Tensor]:
    """What a model shows of itself: scores with all inputs, without each of them, halfway to the ends of its range or
    with its words read backwards or a mark behind them, and gradients."""
    yield model.predict(batch.inputs)
    for m in model.modalities:
        value, kind = batch.inputs[m], batch.modalities[m]
        yield model.predict({**batch.inputs, m: kind.neutral(value)})
        if isinstance(value, torch.Tensor):
            for end in (kind.low, kind.high):
                if math.isfinite(end):
                    yield model.predict({**batch.inputs, m: (value + end) / 2})
        else:  # words that no text of the data has
            yield model.predict({**batch.inputs, m: [" ".join(w[::-1] for w in t.split()) for t in value]})
            yield model.predict({**batch.inputs, m: [f"{t} ." for t in value]})
    if Capability.GRADIENTS in model.capabilities:
        inputs = {m: v.clone().requires_grad_() if isinstance(v, torch.Tensor) else v for m, v in batch.inputs.items()}
        scores = model.predict(inputs)
        wanted = [v for v in inputs.values() if isinstance(v, torch.Tensor)]
        found = torch.autograd.grad(scores.logsumexp(dim=1).sum(), wanted, allow_unused=True)
        yield from (torch.zeros(()) if g is None else g for g in found)
