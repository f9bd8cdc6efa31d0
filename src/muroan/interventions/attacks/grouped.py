"""Rows in groups (the tries of a sample, the copies of a value): the first, the best, the order. Group long [T]."""

from __future__ import annotations

import torch
from torch import Tensor

NONE = torch.iinfo(torch.long).max


def first_of(group: Tensor, number: Tensor, groups: int) -> Tensor:
    """The row with the smallest `number` of each group that has a row (numbers of a group are distinct)."""
    least = torch.full((groups,), NONE).scatter_reduce(0, group, number, reduce="amin")
    return (number == least[group]).nonzero().flatten()


def distinct(same: Tensor) -> tuple[Tensor, Tensor]:
    """(first row of each number, number of each row) with numbers made dense."""
    names, at = torch.unique(same, return_inverse=True)
    first = torch.full((len(names),), len(same)).scatter_reduce(0, at, torch.arange(len(same)), reduce="amin")
    return first, at


def highest(group: Tensor, value: Tensor, above: Tensor, *, last: bool = False) -> Tensor:
    """The row with the highest value of each group, where that is more than `above` [groups]; of equals the first."""
    top = above.to(value.dtype).scatter_reduce(0, group, value, reduce="amax")
    rows = ((value == top[group]) & (value > above[group])).nonzero().flatten()
    return rows[first_of(group[rows], -rows if last else rows, len(above))]


def ordered(*keys: Tensor) -> Tensor:
    """Rows sorted by the first key, equals by the next one, and so on; those equal in all stay in their order."""
    order = torch.arange(len(keys[0]))
    for key in reversed(keys):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def rank(group: Tensor) -> Tensor:
    """How many earlier rows are of the same group, long [T]."""
    order = torch.argsort(group, stable=True)
    sizes = torch.unique_consecutive(group[order], return_counts=True)[1]
    start = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(group).scatter_(0, order, torch.arange(len(group)) - start)
