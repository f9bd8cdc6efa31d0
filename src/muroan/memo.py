"""Rows that were worked out once, found again by what they were worked out from.

A row (a decision's scores, a value's code) is kept under a 128-bit key of the contents behind it (`muroan.content`).
Keys are looked up in a table of open addresses, all rows of a call at once, so that a row costs a fraction of a
microsecond. Memory is bounded: once the newer half is full the older one is dropped.

What is found depends on the order in which rows came, never on how they were cut into calls. So rows that are put back
in that order (`since`, `restore`) leave the memory as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan.randomness import Words

Numbers = NDArray[np.int64]

MOST_BYTES = 2**26
"""Of what a memory keeps: with ten classes the scores of a million rows, more than a shard asks; with a thousand
classes those of 16,000, enough for one search."""


def once(keys: Words) -> tuple[Numbers, Numbers]:
    """(the first row of each distinct key [D], which of them each row has [N]); keys [N, 2]."""
    _, first, own = np.unique(keys[:, 0], return_index=True, return_inverse=True)
    if bool((keys[first[own], 1] != keys[:, 1]).any()):  # two keys that share a word: both are kept apart from all
        first = own = np.arange(len(keys))
    return first, own


class Kept(NamedTuple):
    """Rows as they came: the number of the first, their keys [R, 2], and what is kept, as tensors [R, ...]."""

    first: int
    keys: Words
    columns: list[Tensor]


class Memo:
    """Rows by key. A row has a number, counted from the first that ever came; its columns have one form for all."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.count = 0
        self._halves: list[_Half] = []

    def fits(self, columns: Sequence[Tensor]) -> bool:
        """Whether rows of this form can stand beside those that are kept."""
        return not self._halves or _form(columns) == _form(self._halves[-1].columns)

    def find(self, keys: Words) -> Numbers:
        """The number of each key's row [N]; −1 where there is none."""
        found = np.full(len(keys), -1, dtype=np.int64)
        for half in self._halves:
            rows = half.find(keys)
            found[rows >= 0] = half.first + rows[rows >= 0]
        return found

    def take(self, numbers: Numbers) -> list[Tensor]:
        """What is kept of these rows, as tensors [N, ...]."""
        newer = self._halves[-1]
        if not len(numbers) or numbers.min() >= newer.first:
            return newer.take(numbers)
        older, new = self._halves[0], numbers >= newer.first
        columns = older.take(np.where(new, older.first, numbers))
        for column, of_newer in zip(columns, newer.take(numbers[new]), strict=True):
            column[torch.from_numpy(new)] = of_newer
        return columns

    def answered(self, keys: Words, ask: Callable[[Numbers], list[Tensor]]) -> tuple[list[Tensor], int] | None:
        """(what is kept under these keys [N, ...], of how many rows it had to be asked).

        ask: of rows that stand for the keys that are not kept, in their order. None where codes are as long as the
        longest text of their call: what is kept and what is asked then do not stand in one tensor.
        """
        first, own = once(keys)
        numbers = self.find(keys[first])
        unknown, known = np.flatnonzero(numbers < 0), np.flatnonzero(numbers >= 0)
        unknown = unknown[np.argsort(first[unknown])]
        told = self.take(numbers[known]) if len(known) else None
        new = ask(first[unknown]) if len(unknown) else None
        if len(unknown) == len(keys):
            assert new is not None
            return new, len(unknown)
        if told is not None and new is not None and _form(told) != _form(new):
            return None
        columns = [torch.cat(parts) for parts in zip(*(c for c in (told, new) if c is not None), strict=True)]
        order = np.concatenate([known, unknown])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        at = torch.from_numpy(place[own])
        return [c[at] for c in columns], len(unknown)

    def add(self, keys: Words, columns: Sequence[Tensor]) -> None:
        """Keep these rows, which are not kept yet; what is of another form than the others, or no number, is not."""
        whole = torch.stack([torch.isfinite(c).reshape(len(c), math.prod(c.shape[1:])).all(dim=1) for c in columns])
        if not bool(whole.all()):
            fine = whole.all(dim=0)
            keys, columns = keys[fine.numpy()], [c[fine] for c in columns]
        if not len(keys) or not self.fits(columns):
            return
        size = self._most // 2 // (keys.itemsize * 2 + sum(c[:1].nbytes for c in columns))
        start = 0
        while size and start < len(keys):
            if not self._halves or len(self._halves[-1]) == size:
                self._halves = [*self._halves[-1:], _Half(self.count, columns)]
            some = slice(start, start + size - len(self._halves[-1]))
            self._halves[-1].append(keys[some], [c[some] for c in columns])
            self.count += len(keys[some])
            start = some.stop

    def since(self, count: int) -> Kept | None:
        """What came when `count` rows had come, as far as it is still there."""
        some = [h.since(count) for h in self._halves]
        some = [k for k in some if len(k.keys)]
        if not some:
            return None
        columns = [torch.cat(parts) for parts in zip(*(k.columns for k in some), strict=True)]
        return Kept(some[0].first, np.concatenate([k.keys for k in some]), columns)

    def restore(self, kept: Kept) -> None:
        """Put back what `since` gave, after all that came before it."""
        if kept.first > self.count:  # in between rows were forgotten, and all before them
            self.clear()
            self.count = kept.first
        self.add(kept.keys, kept.columns)


class _Half:
    """Rows in the order in which they came, from number `first` on.

    table: row or −1 at each place, a power of two of them and twice as many as rows at least; a key's row stands at the
    place that its first word names, or at the next one that was free.
    """

    def __init__(self, first: int, like: Sequence[Tensor]) -> None:
        self.first, self._n = first, 0
        self.keys: Words = np.empty((0, 2), dtype=np.uint64)
        self.columns = [c[:0] for c in like]
        self._table: Numbers = np.full(1, -1, dtype=np.int64)

    def __len__(self) -> int:
        return self._n

    def find(self, keys: Words) -> Numbers:
        found = np.full(len(keys), -1, dtype=np.int64)
        left, place = np.arange(len(keys)), self._places(keys)
        while len(left):
            row = self._table[place]
            taken = row >= 0
            left, place, row = left[taken], place[taken], row[taken]
            same = self.keys[row] == keys[left]
            same = same[:, 0] & same[:, 1]
            found[left[same]] = row[same]
            left, place = left[~same], self._next(place[~same])
        return found

    def append(self, keys: Words, columns: Sequence[Tensor]) -> None:
        start, end = self._n, self._n + len(keys)
        if end > len(self.keys):
            room = 2 ** (2 * end - 1).bit_length()
            self.keys = np.concatenate([self.keys[:start], np.empty((room - start, 2), dtype=np.uint64)])
            self.columns = [torch.cat([c[:start], c.new_empty(room - start, *c.shape[1:])]) for c in self.columns]
            self._table = np.full(2 * room, -1, dtype=np.int64)
            self._enter(np.arange(start))
        self.keys[start:end], self._n = keys, end
        for kept, new in zip(self.columns, columns, strict=True):
            kept[start:end] = new
        self._enter(np.arange(start, end))

    def _enter(self, rows: Numbers) -> None:
        place = self._places(self.keys[rows])
        while len(rows):
            free = self._table[place] < 0
            self._table[place[free]] = rows[free]  # one of those that want the same place has it
            out = self._table[place] != rows
            rows, place = rows[out], self._next(place[out])

    def _places(self, keys: Words) -> Numbers:
        return (keys[:, 0] & np.uint64(len(self._table) - 1)).astype(np.int64)

    def _next(self, places: Numbers) -> Numbers:
        return (places + 1) & (len(self._table) - 1)

    def take(self, numbers: Numbers) -> list[Tensor]:
        at = torch.from_numpy(numbers - self.first)
        return [c[at] for c in self.columns]

    def since(self, count: int) -> Kept:
        start = min(max(count - self.first, 0), self._n)
        part = slice(start, self._n)
        return Kept(self.first + start, self.keys[part], [c[part] for c in self.columns])


def _form(columns: Sequence[Tensor]) -> list[tuple[torch.dtype, torch.Size]]:
    return [(c.dtype, c.shape[1:]) for c in columns]
