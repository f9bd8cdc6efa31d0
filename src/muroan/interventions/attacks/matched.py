"""The control of a removal attack: as many points, in pieces of the same kinds and sizes, removed at random places,
as often as the attack asked the model.

A random attacker with a memory: where there are few possible removals (one word of six), none is drawn twice.
Otherwise a search would seem clever for trying every word once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import comb
from torch import Tensor

from muroan.interventions.attacks.grouped import first_of, rank
from muroan.interventions.attacks.removal import POINTWISE, Boxes, Removal, lengths
from muroan.randomness import Words, uniform

FEW = 1024
"""Up to this many possible removals are drawn without replacement; among more, repeats hardly matter."""
ATTEMPTS = 16
"""Placements tried for boxes that must not overlap; the first that does not is taken, else the least overlapping."""
FIRST_BLOCK, LARGEST_BLOCK = 8, 64


@dataclass(frozen=True)
class Drawn:
    """What random removals did to N samples.

    success [N]: one of the draws changed the decision; tries [N]: draws until then, or all there were; boxes[m]
    [N, R, 2·axes]: the draw that did it, empty without success.
    """

    success: Tensor
    tries: Tensor
    boxes: Boxes


def best_of(removal: Removal, shape: Boxes, draws: Tensor, keys: Words) -> Drawn:
    """Up to `draws` [N] random removals of each sample, shaped like `shape` [N, R, 2·axes]; stops at a success.

    Every box keeps its lengths and gets a uniformly random place inside the sample; boxes of one draw do not overlap
    (as far as `ATTEMPTS` placements allow). Draw t of a sample depends on its key and on t alone.
    """
    n = len(removal.clean)
    success, tries = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.long)
    boxes = {m: torch.zeros_like(b) for m, b in shape.items()}
    single = {m: removal.modalities[m].kind in POINTWISE for m in shape}
    ways = {m: possible(b, removal.grids[m], pointwise=single[m]) for m, b in shape.items()}
    in_all = torch.stack([torch.ones(n, dtype=torch.double), *ways.values()]).prod(dim=0)
    order = _order(keys, in_all)
    draws = torch.minimum(draws.double(), in_all).long()
    done, block = 0, FIRST_BLOCK
    while True:
        left = (~success & (draws > done)).nonzero().flatten()
        if not len(left):
            return Drawn(success, tries, boxes)
        times = (draws[left] - done).clamp(max=block)
        sample = left.repeat_interleave(times)
        number = done + rank(sample)
        # A key for each draw: the number-th output of a stream of the sample's own.
        stream = uniform(keys[left.numpy()] ^ np.uint64(1), done + block)
        own = torch.arange(len(left)).repeat_interleave(times)
        key = (stream[own.numpy(), number.numpy()] * 2.0**53).astype(np.uint64)
        few = in_all[sample] <= FEW
        code = order[sample, number.clamp(max=order.shape[1] - 1)]
        placed = {}
        for salt, (m, b) in enumerate(shape.items()):
            grid = removal.grids[m][sample]
            size = torch.where(few, ways[m][sample], 1).long()
            counted = nth(b[sample], grid, code % size, pointwise=single[m])
            drawn = place(b[sample], grid, key ^ np.uint64(salt), pointwise=single[m])
            placed[m] = torch.where(few[:, None, None], counted, drawn)
            code = code // size
        hits = (removal.ask(sample, placed) != removal.clean.predicted[sample]).nonzero().flatten()
        row = hits[first_of(sample[hits], hits, n)]
        success[sample[row]] = True
        tries[left] = done + times
        tries[sample[row]] = number[row] + 1
        for m, b in placed.items():
            boxes[m][sample[row]] = b[row]
        done, block = done + block, min(2 * block, LARGEST_BLOCK)


def place(boxes: Tensor, grid: Tensor, keys: Words, *, pointwise: bool) -> Tensor:
    """The same boxes [T, R, 2·axes] at random places in grids [T, axes]; where a box is empty it stays so.

    pointwise: all boxes are single points of a line; any set of distinct ones is then equally likely.
    """
    if pointwise:
        most = max(1, int(grid.max())) if len(grid) else 1
        draws = torch.from_numpy(uniform(keys, most))
        return _put(boxes, draws.masked_fill(torch.arange(most) >= grid, 2.0).argsort(dim=1))
    axes = grid.shape[1]
    sizes = boxes[..., axes:]
    # Slots first: what is drawn for a box does not depend on how many more slots a batch happens to have.
    draws = torch.from_numpy(uniform(keys, boxes.shape[1], ATTEMPTS, axes)).transpose(1, 2)
    starts = (draws * _room(sizes, grid)[:, None]).floor().long()  # [T, attempts, R, axes]
    overlap = torch.ones(len(boxes), ATTEMPTS, boxes.shape[1], boxes.shape[1], dtype=torch.long)
    for axis in range(axes):
        low = starts[..., axis]
        high = low + sizes[:, None, :, axis]
        shared = torch.minimum(high[..., None], high[..., None, :]) - torch.maximum(low[..., None], low[..., None, :])
        overlap *= shared.clamp_min(0)
    best = overlap.triu(diagonal=1).sum(dim=(2, 3)).argmin(dim=1)
    chosen = starts[torch.arange(len(boxes)), best]
    return torch.where((lengths(boxes) > 0)[..., None], torch.cat([chosen, sizes], dim=2), 0)


def possible(boxes: Tensor, grid: Tensor, *, pointwise: bool) -> Tensor:
    """In how many ways each row's boxes [N, R, 2·axes] can be placed, double [N]; infinite for several regions."""
    count = (lengths(boxes) > 0).sum(dim=1)
    if pointwise:
        return torch.from_numpy(comb(grid[:, 0].numpy(), count.numpy()))
    ways = _room(boxes[..., grid.shape[1] :], grid).prod(dim=2)  # 1 for an empty box, in `amax` below
    ways = torch.where(lengths(boxes) > 0, ways, 1).amax(dim=1).double()
    return torch.where(count > 1, torch.inf, ways)


def nth(boxes: Tensor, grid: Tensor, which: Tensor, *, pointwise: bool) -> Tensor:
    """The `which`-th [T] of the possible placements, where they are few; at most one region, any points."""
    out = torch.zeros_like(boxes)
    filled = lengths(boxes) > 0
    count = filled.sum(dim=1)
    if pointwise:
        kinds, kind = torch.unique(torch.cat([grid, count[:, None]], dim=1), dim=0, return_inverse=True)
        for i, (size, several) in enumerate(kinds.tolist()):
            if several > 0 and comb(size, several) <= FEW:
                rows = (kind == i).nonzero().flatten()
                sets = torch.combinations(torch.arange(size), several)
                out[rows] = _put(boxes[rows], sets[which[rows] % len(sets)])
        return out
    axes = grid.shape[1]
    sizes = boxes[..., axes:]
    room = _room(sizes, grid)
    code = which[:, None].expand(filled.shape)
    for axis in range(axes):
        out[..., axis] = code % room[..., axis]
        code = code // room[..., axis]
    out[..., axes:] = sizes
    return torch.where(filled[..., None], out, 0)


def _room(sizes: Tensor, grid: Tensor) -> Tensor:
    """Starts that leave a box inside its grid, along each axis."""
    return (grid[:, None] - sizes + 1).clamp_min(1)


def _put(boxes: Tensor, at: Tensor) -> Tensor:
    """Boxes of one point each moved to the places `at` [T, ...], first box first."""
    filled = boxes[..., 1] > 0
    rank = (filled.long().cumsum(dim=1) - 1).clamp(0, at.shape[1] - 1)
    start = at.gather(1, rank)
    return torch.where(filled[..., None], torch.stack([start, torch.ones_like(start)], dim=2), 0)


def _order(keys: Words, ways: Tensor) -> Tensor:
    """A random order [N, ...] of each sample's possible removals, where they are few."""
    few = torch.where(ways <= FEW, ways, 1)
    most = int(few.max()) if len(few) else 1
    draws = torch.from_numpy(uniform(keys, most))
    return draws.masked_fill(torch.arange(most) >= few[:, None], 2.0).argsort(dim=1)
