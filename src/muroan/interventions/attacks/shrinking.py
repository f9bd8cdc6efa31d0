"""A set of removed boxes made smaller, for as long as it still changes the decision; all samples at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from muroan.interventions.attacks.grouped import first_of
from muroan.interventions.attacks.removal import Boxes, lengths, pick

TRIMS = (2, 4)
"""A box is cut by one of these parts of a side at a time."""

Flips = Callable[[Tensor, Boxes], Tensor]
"""(sample [T], boxes [T, R, 2·axes]) -> bool [T]: does this removal change the sample's decision?"""


def shrunk(flips: Flips, sample: Tensor, boxes: Boxes) -> tuple[dict[str, Tensor], Tensor]:
    """Sets [S, R, 2·axes] that change the decision of `sample` [S], made smaller: (boxes, removals asked about [S]).

    Box by box, largest first: it is dropped, or loses a half or a quarter of a side, at whichever end, the first of
    these that leaves the decision changed; then again, until none does. What results is locally smallest: by none of
    these steps can the box that was trimmed last get smaller.
    """
    boxes = {m: b.clone() for m, b in boxes.items()}
    calls = torch.zeros_like(sample)
    if not boxes or not len(sample):
        return boxes, calls
    order = _points(boxes).argsort(dim=1, descending=True, stable=True)
    at, width = torch.zeros_like(sample), order.shape[1]
    while True:
        left = (at < width).nonzero().flatten()
        slot = order[left, at[left]]
        empty = _points(boxes)[left, slot] == 0
        at[left[empty]] += 1
        left, slot = left[~empty], slot[~empty]
        if len(left):
            row, number, options = _smaller(pick(boxes, left), slot)
            hits = flips(sample[left[row]], options).nonzero().flatten()
            taken = hits[first_of(row[hits], number[hits], len(left))]
            asked = torch.bincount(row, minlength=len(left))
            asked[row[taken]] = number[taken] + 1  # what one after another would have asked
            calls[left] += asked
            for m, b in options.items():
                boxes[m][left[row[taken]]] = b[taken]
            stuck = torch.ones(len(left), dtype=torch.bool).index_fill_(0, row[taken], False)
            at[left[stuck]] += 1
        elif not bool((at < width).any()):
            return boxes, calls


def _points(boxes: Boxes) -> Tensor:
    """Points of each slot [S, R]; a slot holds a box of one modality, or none."""
    return torch.stack([lengths(b) for b in boxes.values()]).sum(dim=0)


def _smaller(boxes: Boxes, slot: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Every set with one slot made smaller: (row of `slot` [S], rank among the row's, boxes), each [T]."""
    everyone = torch.arange(len(slot))
    here = {m: b[everyone, slot] for m, b in boxes.items()}
    options = [((_points(boxes) > 0).sum(dim=1) > 1, {m: torch.zeros_like(b) for m, b in here.items()})]
    for part, axis in product(TRIMS, range(max(b.shape[1] for b in here.values()) // 2)):
        cut = {m: _cut(b, axis, part) for m, b in here.items()}
        possible = torch.stack([c.any(dim=1) for c in cut.values()]).any(dim=0)
        end = {m: b - cut[m] for m, b in here.items()}
        options += [(possible, end), (possible, {m: b + cut[m].roll(-b.shape[1] // 2, 1) for m, b in end.items()})]
    possible = torch.stack([p for p, _ in options], dim=1)  # [S, options]
    row, option = possible.nonzero(as_tuple=True)
    number = possible.long().cumsum(dim=1)[row, option] - 1
    smaller = {m: b[row] for m, b in boxes.items()}
    for m, b in smaller.items():
        b[torch.arange(len(row)), slot[row]] = torch.stack([o[m] for _, o in options], dim=1)[row, option]
    return row, number, smaller


def _cut(boxes: Tensor, axis: int, part: int) -> Tensor:
    """What boxes [S, 2·axes] lose of their length along an axis where they are cut by a part of it; 0 elsewhere."""
    cut, axes = torch.zeros_like(boxes), boxes.shape[1] // 2
    if axis < axes:
        cut[:, axes + axis] = boxes[:, axes + axis] // part
    return cut
