"""Which set of candidate parts to remove: by increasing size, then shrunk, for all samples at once.

The result is that of searching each sample alone, one set after another: blocks of sets are asked about together,
and what lies behind a sample's first success is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations, islice

import torch
from torch import Tensor

from muroan.interventions.attacks.removal import POINTWISE, Boxes, Removal, lengths
from muroan.interventions.attacks.shrinking import first_of, shrunk

BLOCK = 64
"""Sets tried at once for each undecided sample. Those of a block behind a success are computed in vain."""
SEARCHES = ("subset", "cumulative")


@dataclass(frozen=True)
class Parts:
    """P probed parts of one modality, each removed alone from its sample: sample, box [P, 2·axes], points [P].

    flips: the decision changes; decouples: the part passes the test and is a candidate; drop: the part of the
    decision's lead over its best rival that goes with it (1: a tie, above 1: the decision changes).
    """

    sample: Tensor
    box: Tensor
    points: Tensor
    flips: Tensor
    decouples: Tensor
    drop: Tensor


@dataclass(frozen=True)
class Found:
    """What the search found for N samples.

    success [N]; removed[m] [N]: points removed (0 without success); spent[m] [N, R, 2·axes]: the boxes removed on
    success, else those of the largest set that was tried within the budget. probes [N]: parts probed alone; tries
    [N]: sets considered; calls [N]: removals that the model was asked about; candidates [N]: parts on the list.
    """

    success: Tensor
    removed: Mapping[str, Tensor]
    spent: Boxes
    probes: Tensor
    tries: Tensor
    calls: Tensor
    candidates: Tensor

    @property
    def boxes(self) -> dict[str, Tensor]:
        """What is removed from each sample; nothing where the attack failed."""
        return {m: b * self.success[:, None, None] for m, b in self.spent.items()}


def schedule(points: int, regions: int, search: str, max_tries: int) -> Iterator[Iterator[tuple[int, ...]]]:
    """Sets of two and more candidates in the order in which they are tried, one iterator a stage.

    Candidates are numbered from 0; for "cumulative" the `points` words and columns come first. A stage none of
    whose sets was worth trying ends a subset search: sets of a later stage contain sets of this one.
    """
    if search == "subset":
        for size in range(2, points + regions + 1):
            yield combinations(range(points + regions), size)
        return
    sets = chain.from_iterable(combinations(range(points), size) for size in range(2, points + 1))
    # The sweep over regions is cheap and comes last, so its tries are set aside.
    yield islice(sets, max(0, max_tries - points - regions))
    yield (tuple(range(points, points + k)) for k in range(2, regions + 1))


_NONE = torch.zeros(0, dtype=torch.long)


class Search:
    """The search over all samples at once. A set is a row of slots: each a box of one modality, or empty.

    parts[m]: the probed parts; most[m], most_in_all [N]: points that may be removed; order: one of `SEARCHES`.
    Call the steps in their order: `singles`, `fit`, `sets`, `shrink`; `fit` and `shrink` may be left out.
    """

    def __init__(
        self,
        removal: Removal,
        parts: Mapping[str, Parts],
        *,
        most: Mapping[str, Tensor],
        most_in_all: Tensor,
        order: str,
        max_tries: int,
    ) -> None:
        self.removal, self.parts = removal, parts
        self.most, self.most_in_all, self.order, self.max_tries = most, most_in_all, order, max_tries
        n = self.n = len(removal.clean)
        self.probes = sum(
            (torch.bincount(p.sample, minlength=n) for p in parts.values()), torch.zeros(n, dtype=torch.long)
        )
        self._list()
        self.success = torch.zeros(n, dtype=torch.bool)
        self.small = torch.zeros(n, dtype=torch.bool)  # shrunk already
        self.tries = torch.zeros(n, dtype=torch.long)
        self.calls = self.probes.clone()
        self.spent = {m: torch.zeros(n, 1, b.shape[1], dtype=torch.long) for m, b in self.box.items()}
        self.largest = torch.zeros(n, dtype=torch.long)
        for m, p in parts.items():  # the largest part within the budget is what a failed sample has spent so far
            fits = (p.points <= self.most[m][p.sample]) & (p.points <= self.most_in_all[p.sample])
            self._spend(p.sample[fits], {m: p.box[fits, None]}, p.points[fits])

    def _list(self) -> None:
        """Candidates of all samples in one table, each sample's in the order in which they are tried.

        Fewest points first; among equals the most decisive. Words and columns are candidates whatever the test says
        of them: they cannot be searched more finely, so it could only lose some.
        """
        parts, pointwise = self.parts, [self.removal.modalities[m].kind in POINTWISE for m in self.parts]
        kept = {
            m: (p.decouples | single).nonzero().flatten()
            for (m, p), single in zip(parts.items(), pointwise, strict=True)
        }
        sizes = [len(k) for k in kept.values()]
        which = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
        region = ~torch.tensor(pointwise, dtype=torch.bool)[which]

        def column(of: Callable[[Parts], Tensor]) -> Tensor:
            return torch.cat([of(parts[m])[k] for m, k in kept.items()] or [_NONE])

        sample, points, flips = column(lambda p: p.sample), column(lambda p: p.points), column(lambda p: p.flips)
        # Rounded: equal parts must not change places with whatever else is in the batch.
        drop = torch.round(column(lambda p: p.drop).double(), decimals=4)
        later = region.long() if self.order == "cumulative" else torch.zeros_like(which)
        order = torch.arange(len(sample))
        for key in (which, -drop, points, later, sample):  # stable sorts, the first key last
            order = order[torch.argsort(key[order], stable=True)]
        sample = sample[order]
        self.which, self.points, self.flips = which[order], points[order], flips[order].bool()
        self.box = {}
        for i, (m, k) in enumerate(kept.items()):
            mine = self.which == i
            self.box[m] = torch.zeros(len(order), parts[m].box.shape[1], dtype=torch.long)
            self.box[m][mine] = parts[m].box[k][order[mine] - sum(sizes[:i])]
        self.count = torch.bincount(sample, minlength=self.n)
        self.regions = torch.bincount(sample[region[order]], minlength=self.n)
        self.start = self.count.cumsum(0) - self.count
        self.sample = sample

    def singles(self) -> None:
        """Candidates one by one; the model has been asked about them already."""
        row, number = self._first_single(within=True)
        self._succeed(self.sample[row], {m: b[row, None] for m, b in self.box.items()}, number)
        left = ~self.success
        self.tries[left] = self.count[left].clamp(max=self.max_tries)

    def fit(self) -> None:
        """Undecided samples' first candidate that is enough but too large: shrunk, it may be within the budget."""
        row, number = self._first_single(within=False)
        wanted = ~self.success[self.sample[row]]
        row, number = row[wanted], number[wanted]
        sample = self.sample[row]
        boxes, calls = shrunk(self._flips, sample, {m: b[row, None] for m, b in self.box.items()})
        self.calls[sample] += calls
        fits, _ = self._fits(sample, boxes)
        self._succeed(sample[fits], {m: b[fits] for m, b in boxes.items()}, number[fits])
        self.small = self.success & torch.zeros(self.n, dtype=torch.bool).index_fill_(0, sample[fits], True)

    def _first_single(self, *, within: bool) -> tuple[Tensor, Tensor]:
        """(row, place in its list) of each sample's first candidate that is enough alone, in or beyond the budget."""
        number = torch.arange(len(self.sample)) - self.start[self.sample] + 1
        most = torch.stack([*self.most.values()] or [self.most_in_all])
        fits = (self.points <= most[self.which, self.sample]) & (self.points <= self.most_in_all[self.sample])
        hits = ((number <= self.max_tries) & (fits == within) & self.flips).nonzero().flatten()
        row = hits[first_of(self.sample[hits], number[hits], self.n)]
        return row, number[row]

    def sets(self) -> None:
        """Larger sets, the same blocks of each sample's schedule at once for all that are undecided."""
        cumulative = self.order == "cumulative"
        alive = ~self.success & (self.tries < self.max_tries) & (self.count > 1)
        keys = torch.stack([self.count - self.regions, self.regions], dim=1)
        if not cumulative:
            keys = torch.stack([self.count, torch.zeros_like(self.count)], dim=1)
        kinds, group = torch.unique(keys, dim=0, return_inverse=True)
        stages = {
            g: schedule(p, r, self.order, self.max_tries)
            for g, (p, r) in enumerate(kinds.tolist())
            if bool((alive & (group == g)).any())
        }
        now = {g: next(s, None) for g, s in stages.items()}
        tried = torch.zeros(self.n, dtype=torch.bool)  # whether this stage had a set worth trying
        while True:
            rows, sets, ended = [], [], []
            for g, stage in now.items():
                mine = (alive & (group == g)).nonzero().flatten()
                if stage is None or not len(mine):
                    continue
                block = list(islice(stage, BLOCK))
                if len(block) < BLOCK:
                    ended.append((g, mine))
                if block:
                    width = max(map(len, block))
                    padded = torch.tensor([[*s, *[-1] * (width - len(s))] for s in block])
                    rows.append(mine.repeat_interleave(len(block)))
                    sets.append(padded.repeat(len(mine), 1))
            if not rows and not ended:
                return
            if rows:
                self._try(rows, sets, tried)
            alive &= ~self.success & (self.tries < self.max_tries)
            for g, mine in ended:
                if not cumulative:
                    alive[mine] &= tried[mine]
                tried[mine] = False
                now[g] = next(stages[g], None)

    def _try(self, rows: list[Tensor], sets: list[Tensor], tried: Tensor) -> None:
        """Ask about sets of candidates [T, slots] (−1: empty) in order; count, and keep the first success."""
        sample = torch.cat(rows)
        width = max(s.shape[1] for s in sets)
        chosen = torch.cat([torch.nn.functional.pad(s, (0, width - s.shape[1]), value=-1) for s in sets])
        full = chosen >= 0
        at = torch.where(full, self.start[sample][:, None] + chosen, 0)
        boxes = {m: b[at] * full[..., None] for m, b in self.box.items()}
        if self.order == "subset":
            worth = ~_nested(boxes)
            sample, boxes = sample[worth], {m: b[worth] for m, b in boxes.items()}
        number = self.tries[sample] + _rank(sample) + 1
        considered = number <= self.max_tries
        sample, number = sample[considered], number[considered]
        boxes = {m: b[considered] for m, b in boxes.items()}
        tried[sample] = True
        fits, points = self._fits(sample, boxes)
        asked, boxes = sample[fits], {m: b[fits] for m, b in boxes.items()}
        flips = self._flips(asked, boxes)
        hits = flips.nonzero().flatten()
        row = hits[first_of(asked[hits], number[fits][hits], self.n)]
        last = torch.full((self.n,), self.max_tries).index_put_((asked[row],), number[fits][row])
        until = number[fits] <= last[asked]  # what one search after another would have asked
        self.calls += torch.bincount(asked[until], minlength=self.n)
        self.tries.scatter_reduce_(0, sample, number, "amax")
        self._spend(asked[until], {m: b[until] for m, b in boxes.items()}, points[fits][until])
        self._succeed(asked[row], {m: b[row] for m, b in boxes.items()}, number[fits][row])

    def _flips(self, sample: Tensor, boxes: Boxes) -> Tensor:
        if not len(sample):
            return torch.zeros(0, dtype=torch.bool)
        return self.removal.ask(sample, boxes) != self.removal.clean.predicted[sample]

    def _spend(self, sample: Tensor, boxes: Boxes, points: Tensor) -> None:
        """Remember each sample's largest set so far (the first of equals)."""
        order = torch.argsort(points, descending=True, stable=True)
        row = order[first_of(sample[order], torch.arange(len(order)), self.n)]
        row = row[points[row] > self.largest[sample[row]]]
        self.largest[sample[row]] = points[row]
        self._put(sample[row], {m: b[row] for m, b in boxes.items()})

    def _succeed(self, sample: Tensor, boxes: Boxes, number: Tensor) -> None:
        self.success[sample] = True
        self.tries[sample] = number
        self._put(sample, boxes)

    def _put(self, sample: Tensor, boxes: Boxes) -> None:
        width = max([1, *(b.shape[1] for b in boxes.values())])
        for m, kept in self.spent.items():
            if kept.shape[1] < width:
                kept = torch.nn.functional.pad(kept, (0, 0, 0, width - kept.shape[1]))
            kept[sample] = 0
            if m in boxes:
                kept[sample, : boxes[m].shape[1]] = boxes[m]
            self.spent[m] = kept

    def _fits(self, sample: Tensor, boxes: Boxes) -> tuple[Tensor, Tensor]:
        """Whether each set is within the budget, and how many points it removes, each [T]."""
        removed = {m: self.removal.count(m, sample, b) for m, b in boxes.items()}
        points = torch.stack([torch.zeros_like(sample), *removed.values()]).sum(dim=0)
        fits = points <= self.most_in_all[sample]
        for m, n in removed.items():
            fits &= n <= self.most[m][sample]
        return fits, points

    def shrink(self) -> None:
        """Successful sets made smaller, where that has not been done."""
        sample = (self.success & ~self.small).nonzero().flatten()
        boxes, calls = shrunk(self._flips, sample, {m: b[sample] for m, b in self.spent.items()})
        self.calls[sample] += calls
        self._put(sample, boxes)

    def found(self) -> Found:
        """What came of the steps taken so far."""
        everyone = torch.arange(self.n)
        self.spent = _compact(self.spent)
        used = {m: b * self.success[:, None, None] for m, b in self.spent.items()}
        return Found(
            success=self.success,
            removed={m: self.removal.count(m, everyone, b) for m, b in used.items()},
            spent=self.spent,
            probes=self.probes,
            tries=self.tries,
            calls=self.calls,
            candidates=self.count,
        )


def _rank(sample: Tensor) -> Tensor:
    """How many earlier rows are of the same sample, long [T]."""
    order = torch.argsort(sample, stable=True)
    sizes = torch.unique_consecutive(sample[order], return_counts=True)[1]
    start = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(sample).scatter_(0, order, torch.arange(len(sample)) - start)


def _nested(boxes: Boxes) -> Tensor:
    """Whether a box of a set [T, slots, 2·axes] lies inside another box of it, bool [T]."""
    out = torch.zeros(len(next(iter(boxes.values()))), dtype=torch.bool)
    for b in boxes.values():
        axes, real = b.shape[2] // 2, lengths(b) > 0
        inside = real[:, :, None] & real[:, None, :] & ~torch.eye(b.shape[1], dtype=torch.bool)
        for axis in range(axes):
            start, end = b[..., axis], b[..., axis] + b[..., axes + axis]
            inside &= (start[:, :, None] >= start[:, None, :]) & (end[:, :, None] <= end[:, None, :])
        out |= inside.flatten(1).any(dim=1)
    return out


def _compact(boxes: Boxes) -> dict[str, Tensor]:
    """The same sets, each modality's boxes in its first slots, no wider than needed."""
    out = {}
    for m, b in boxes.items():
        empty = lengths(b) == 0
        wide = max(1, int((~empty).sum(dim=1).max())) if len(b) else 1
        order = empty.to(torch.int8).argsort(dim=1, stable=True)[:, :wide]
        out[m] = b.gather(1, order[..., None].expand(-1, -1, b.shape[2]))
    return out


__all__ = ["Found", "Parts", "Search", "schedule"]
