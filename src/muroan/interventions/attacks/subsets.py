"""Which set of candidate parts to remove: by increasing size, then shrunk, for all samples at once.

The result is that of searching each sample alone, one set after another: blocks of sets are asked about together,
and what lies behind a sample's first success is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, combinations, islice

import torch
from torch import Tensor
from torch.nn.functional import pad

from muroan.interventions.attacks.grouped import first_of, highest, ordered, rank
from muroan.interventions.attacks.removal import POINTWISE, Boxes, Removal, lengths, pick
from muroan.interventions.attacks.shrinking import shrunk

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

    def take(self, rows: Tensor) -> Parts:
        """Some of the parts."""
        return Parts(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def concat(parts: Sequence[Parts]) -> Parts:
        """Parts of one modality, one after another."""
        return Parts(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Parts)))


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
        self.removal, self.most, self.most_in_all = removal, most, most_in_all
        self.order, self.max_tries, self.n = order, max_tries, len(removal.clean)
        none = torch.zeros(self.n, dtype=torch.long)
        self.probes = sum((torch.bincount(p.sample, minlength=self.n) for p in parts.values()), none)
        self._list(parts)
        self.success, self.small = none > 0, none > 0  # small: shrunk already
        self.tries, self.calls, self.largest = none.clone(), self.probes.clone(), none.clone()
        self.spent = {m: torch.zeros(self.n, 1, b.shape[1], dtype=torch.long) for m, b in self.box.items()}
        for m, p in parts.items():  # the largest part within the budget is what a failed sample has spent so far
            fits = (p.points <= self.most[m][p.sample]) & (p.points <= self.most_in_all[p.sample])
            self._spend(p.sample[fits], {m: p.box[fits, None]}, p.points[fits])

    def _list(self, parts: Mapping[str, Parts]) -> None:
        """Candidates of all samples in one table, each sample's in the order in which they are tried.

        Fewest points first; among equals the most decisive. Words and columns are candidates whatever the test says
        of them: they cannot be searched more finely, so it could only lose some.
        """
        single = {m: self.removal.modalities[m].kind in POINTWISE for m in parts}
        kept = [p.take((p.decouples | single[m]).nonzero().flatten()) for m, p in parts.items()]
        sizes = [len(p.sample) for p in kept]
        which = torch.arange(len(kept)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
        region = ~torch.tensor([*single.values()], dtype=torch.bool)[which]
        names = ("sample", "points", "flips", "drop")
        none = [torch.zeros(0, dtype=torch.long)]
        sample, points, flips, drop = (torch.cat([getattr(p, c) for p in kept] or none) for c in names)
        # Rounded: equal parts must not change places with whatever else is in the batch.
        drop = torch.round(drop.double(), decimals=4)
        later = region.long() if self.order == "cumulative" else torch.zeros_like(which)
        order = ordered(sample, later, points, -drop, which)
        self.sample, self.which, self.points, self.flips = sample[order], which[order], points[order], flips[order] > 0
        self.box = {}
        for i, (m, p) in enumerate(zip(parts, kept, strict=True)):
            box = torch.zeros(len(order), p.box.shape[1], dtype=torch.long)
            box[which == i] = p.box
            self.box[m] = box[order]
        self.count, self.regions = (torch.bincount(s, minlength=self.n) for s in (sample, sample[region]))
        self.start = self.count.cumsum(0) - self.count

    def singles(self) -> None:
        """Candidates one by one; the model has been asked about them already."""
        row, number = self._first_single(within=True)
        self._succeed(self.sample[row], pick(self.box, row[:, None]), number)
        self.tries = torch.where(self.success, self.tries, self.count.clamp(max=self.max_tries))

    def fit(self) -> None:
        """Undecided samples' first candidate that is enough but too large: shrunk, it may be within the budget."""
        row, number = self._first_single(within=False)
        wanted = ~self.success[self.sample[row]]
        row, number = row[wanted], number[wanted]
        sample = self.sample[row]
        boxes, calls = shrunk(self._flips, sample, pick(self.box, row[:, None]))
        self.calls[sample] += calls
        fits, _ = self._fits(sample, boxes)
        self._succeed(sample[fits], pick(boxes, fits), number[fits])
        self.small[sample[fits]] = True

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
        regions = self.regions if cumulative else torch.zeros_like(self.count)
        kinds, group = torch.unique(torch.stack([self.count - regions, regions], 1), dim=0, return_inverse=True)
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
                    rows.append(mine.repeat_interleave(len(block)))
                    sets.append(torch.tensor([[*s, *[-1] * (width - len(s))] for s in block]).repeat(len(mine), 1))
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
        sample, width = torch.cat(rows), max(s.shape[1] for s in sets)
        chosen = torch.cat([pad(s, (0, width - s.shape[1]), value=-1) for s in sets])
        full = chosen >= 0
        at = torch.where(full, self.start[sample][:, None] + chosen, 0)
        boxes = {m: b[at] * full[..., None] for m, b in self.box.items()}
        if self.order == "subset":
            worth = ~_nested(boxes)
            sample, boxes = sample[worth], pick(boxes, worth)
        number = self.tries[sample] + rank(sample) + 1
        considered = number <= self.max_tries
        sample, number, boxes = sample[considered], number[considered], pick(boxes, considered)
        tried[sample] = True
        fits, points = self._fits(sample, boxes)
        asked, place, boxes = sample[fits], number[fits], pick(boxes, fits)
        hits = self._flips(asked, boxes).nonzero().flatten()
        row = hits[first_of(asked[hits], place[hits], self.n)]
        last = torch.full((self.n,), self.max_tries).index_put_((asked[row],), place[row])
        until = place <= last[asked]  # what one search after another would have asked
        self.calls += torch.bincount(asked[until], minlength=self.n)
        self.tries.scatter_reduce_(0, sample, number, "amax")
        self._spend(asked[until], pick(boxes, until), points[fits][until])
        self._succeed(asked[row], pick(boxes, row), place[row])

    def _flips(self, sample: Tensor, boxes: Boxes) -> Tensor:
        if not len(sample):
            return torch.zeros(0, dtype=torch.bool)
        return self.removal.ask(sample, boxes) != self.removal.clean.predicted[sample]

    def _spend(self, sample: Tensor, boxes: Boxes, points: Tensor) -> None:
        """Remember each sample's largest set so far (the first of equals)."""
        row = highest(sample, points, self.largest)
        self.largest[sample[row]] = points[row]
        self._put(sample[row], pick(boxes, row))

    def _succeed(self, sample: Tensor, boxes: Boxes, number: Tensor) -> None:
        self.success[sample] = True
        self.tries[sample] = number
        self._put(sample, boxes)

    def _put(self, sample: Tensor, boxes: Boxes) -> None:
        width = max([1, *(b.shape[1] for b in boxes.values())])
        for m, kept in self.spent.items():
            if kept.shape[1] < width:
                kept = pad(kept, (0, 0, 0, width - kept.shape[1]))
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
        boxes, calls = shrunk(self._flips, sample, pick(self.spent, sample))
        self.calls[sample] += calls
        self._put(sample, boxes)

    def found(self) -> Found:
        """What came of the steps taken so far."""
        spent, everyone = _compact(self.spent), torch.arange(self.n)
        used = {m: b * self.success[:, None, None] for m, b in spent.items()}
        removed = {m: self.removal.count(m, everyone, b) for m, b in used.items()}
        return Found(self.success, removed, spent, self.probes, self.tries, self.calls, self.count)


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
