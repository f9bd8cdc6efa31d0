"""What a model says with parts of its input removed: each distinct erased value is encoded once, then recombined.

Removals are asked for in flat form: row t removes `boxes[m][t]` from sample `sample[t]`, all modalities at once,
and all boxes of a row at once (one erasure of their union, never one after another). Two questions about one
picture that lose the same region share its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.interventions.attacks.grouped import distinct
from muroan.meter import ENCODE_CHUNK, Codes
from muroan.modality import Modality, Value, boxes_cover, take

Boxes = Mapping[str, Tensor]
"""m -> long [T, R_m, 2·axes]: what each of T rows removes from modality m; a box of length 0 removes nothing."""

POINTWISE = ("text", "tabular")
"""Kinds whose points mean something alone, and whose neighbours need not belong together."""

Read = Callable[[Mapping[str, Codes], Mapping[str, Tensor], Tensor, Tensor], Tensor]
"""(codes, index, sample [t], logits [t, K]) -> [t, ...]: what is kept of each removal's answer."""

CHUNK_BYTES = 2**25
"""Erased values held at once; larger blocks of memory cost more in page faults than they save in calls."""
TEXT_BYTES = 512
"""What one text is taken to weigh."""


def share(removed: Tensor, points: Tensor) -> Tensor:
    """Removed points as a part of all points, 0 to 1 (V4: pixels and words count alike, as points)."""
    return removed.double() / points.clamp_min(1).double()


def lengths(boxes: Tensor) -> Tensor:
    """Points of each box: [..., 2·axes] -> [...]."""
    return boxes[..., boxes.shape[-1] // 2 :].prod(dim=-1)


def pick(boxes: Boxes, rows: Tensor) -> dict[str, Tensor]:
    """The boxes of some of the rows."""
    return {m: b[rows] for m, b in boxes.items()}


@dataclass(frozen=True)
class Removal:
    """A clean pass, asked again with parts removed.

    Removing a part does not make a modality missing: the model is still told that it is present.
    """

    clean: Clean

    @cached_property
    def values(self) -> dict[str, Value]:
        """The value behind each of the clean pass's codes."""
        return {m: take(self.clean.batch.inputs[m], distinct(index)[0]) for m, index in self.clean.index.items()}

    @cached_property
    def grids(self) -> dict[str, Tensor]:
        """m -> points along each axis, long [N, axes], 0 where the sample has no such modality."""
        grids = {m: k.grid(self.values[m])[self.clean.index[m]] for m, k in self.modalities.items()}
        return grids | {m: grids[m] * here[:, None] for m, here in self.clean.batch.present.items() if m in grids}

    @cached_property
    def points(self) -> dict[str, Tensor]:
        """m -> points of each sample, long [N]; 0 where the sample has no such modality."""
        return {m: grid.prod(dim=1) for m, grid in self.grids.items()}

    @cached_property
    def total(self) -> Tensor:
        """Points of each sample over all modalities, long [N]."""
        return torch.stack(list(self.points.values())).sum(dim=0)

    @property
    def modalities(self) -> Mapping[str, Modality]:
        return self.clean.model.modalities

    def ask(self, sample: Tensor, boxes: Boxes, read: Read | None = None) -> Tensor:
        """What `read` makes of each removal [T, ...]; without it the predicted class [T].

        Only that is kept: logits of a million removals and a thousand classes would not fit.
        """
        same = {m: _numbered(self.clean.index[m][sample], b) for m, b in boxes.items()}
        rows, answers = [], []
        for row in self._chunks(boxes, same):
            mine = sample[row]
            codes, index = dict(self.clean.codes), {m: i[mine] for m, i in self.clean.index.items()}
            for m, b in boxes.items():
                if bool((lengths(b[row]) > 0).any()):
                    codes[m], index[m] = self._codes(m, index[m], b[row], same[m][row])
            present = {m: p[mine] for m, p in self.clean.batch.present.items()}
            logits = self.clean.model.logits(codes, index, present or None)
            rows.append(row)
            answers.append(logits.argmax(dim=1) if read is None else read(codes, index, mine, logits))
        answer = torch.cat(answers)
        return torch.empty_like(answer).index_copy_(0, torch.cat(rows), answer)

    def untouched(self) -> Tensor:
        """Logits [N, K] with nothing removed, through the same steps as any removal: erase, encode, fuse.

        What differs from the clean pass is the measurement's own doing (a second preprocessing, a model that
        answers differently each time), and no removal may then be blamed for it. So the model really is asked again.
        """
        codes = {}
        for m, modality in self.modalities.items():
            nothing = torch.zeros(len(self.values[m]), 1, 2 * modality.axes, dtype=torch.long)
            codes[m] = self.clean.model.encode(m, self.erased(m, self.values[m], nothing), anew=True)
        return self.clean.model.logits(codes, self.clean.index, dict(self.clean.batch.present) or None)

    def apply(self, boxes: Boxes) -> dict[str, Value]:
        """Inputs of all N samples with `boxes` [N, R, 2·axes] removed."""
        return {m: self.erased(m, self.clean.batch.inputs[m], b) for m, b in boxes.items()}

    def erased(self, m: str, values: Value, boxes: Tensor) -> Value:
        """Values [N, ...] of modality m with boxes [N, R, 2·axes] removed."""
        return self.modalities[m].erase(values, self.modalities[m].cover(values, boxes))

    def count(self, m: str, sample: Tensor, boxes: Tensor) -> Tensor:
        """Points in the union of each row's boxes, long [T]; boxes lie inside the sample's grid."""
        sizes = lengths(boxes)
        total = sizes.sum(dim=1)
        if boxes.shape[1] < 2:
            return total
        several = ((sizes > 0).sum(dim=1) > 1).nonzero().flatten()
        extent = [int(e) for e in self.grids[m].amax(dim=0)]
        step = max(1, CHUNK_BYTES // max(1, boxes.shape[1] * int(self.points[m].amax())))
        for i in range(0, len(several), step):
            rows = several[i : i + step]
            total[rows] = boxes_cover(boxes[rows], extent).flatten(1).sum(dim=1)
        return total

    def _codes(self, m: str, value: Tensor, boxes: Tensor, same: Tensor) -> tuple[Codes, Tensor]:
        """Codes of the distinct removals among rows, and each row's; removing nothing keeps the clean code."""
        first, at = distinct(same)
        untouched = (lengths(boxes[first]) == 0).all(dim=1)
        order = torch.argsort(untouched.to(torch.int8), stable=True)  # erased ones first, then the clean ones
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        n = int((~untouched).sum())
        gone, kept = first[order[:n]], first[order[n:]]
        values = self.erased(m, take(self.values[m], value[gone]), boxes[gone])
        keys = None if isinstance(values, list) else self.clean.codes[m].keys_without(value[gone], boxes[gone])
        codes = self.clean.model.encode(m, values, keys=keys)
        if len(kept):
            codes = Codes.concat([codes, self.clean.codes[m].take(value[kept])])
        return codes, place[at]

    def _chunks(self, boxes: Boxes, same: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """Rows in chunks of bounded memory, cut so that the costliest modality encodes no removal twice."""
        weight = {m: self._weight(m) for m, b in boxes.items() if bool((lengths(b) > 0).any())}
        if not weight:
            yield torch.arange(len(next(iter(same.values()), ())))
            return
        main = max(weight, key=lambda m: weight[m] * (int(same[m].max()) + 1))
        rank, order = torch.sort(same[main], stable=True)
        fit = min(ENCODE_CHUNK, max(1, CHUNK_BYTES // weight[main]))
        others = sum(w for m, w in weight.items() if m != main)
        many = max(1, 4 * CHUNK_BYTES // max(1, others))
        chunk = rank // fit * (len(rank) // many + 1) + torch.arange(len(rank)) // many
        ends = torch.unique_consecutive(chunk, return_counts=True)[1].cumsum(0).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            yield order[start:end]

    def _weight(self, m: str) -> int:
        value = self.values[m]
        return value[0].numel() * value.element_size() if isinstance(value, Tensor) else TEXT_BYTES


def _numbered(value: Tensor, boxes: Tensor) -> Tensor:
    """Rows [T] numbered 0.. so that equal (value, set of boxes) have equal numbers. Exact, not a hash."""
    span = int(boxes.max()) + 1 if boxes.numel() else 1
    packed = torch.zeros(boxes.shape[:2], dtype=torch.long)
    for column in boxes.unbind(dim=2):
        packed = packed * span + column
    packed = torch.where(lengths(boxes) > 0, packed, 0)  # all ways of removing nothing are one
    packed = packed.sort(dim=1).values  # the order of boxes does not matter for their union
    same: Tensor = torch.unique(value, return_inverse=True)[1]
    for column in packed.unbind(dim=1):
        names, number = torch.unique(column, return_inverse=True)
        same = torch.unique(same * len(names) + number, return_inverse=True)[1]
    return same
