"""What was worked out is found again by its key, the oldest forgotten first, however rows were cut into calls."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.content import keys_of, keys_with, keys_without
from muroan.memo import Kept, Memo, once

BYTES = 16 + 8
"""Of a row: its key and one double."""


def rows(start: int, end: int) -> tuple[np.ndarray, list[torch.Tensor]]:
    """Rows that say their number; keys differ in both words, and many want the same place in a table."""
    numbers = np.arange(start, end, dtype=np.uint64)
    keys = np.stack([numbers % np.uint64(7) << np.uint64(32) | numbers, numbers + np.uint64(1)], axis=1)
    return keys, [torch.arange(start, end, dtype=torch.double)[:, None]]


cuts = st.lists(st.integers(1, 30), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(cuts=cuts, most=st.integers(4, 400))
def test_the_newest_are_found_and_at_least_half_of_what_fits(cuts, most):
    memo, n = Memo(2 * most * BYTES), 0
    for k in cuts:
        memo.add(*rows(n, n + k))
        n += k
    found = memo.find(rows(0, n)[0])
    there = np.flatnonzero(found >= 0)
    assert there.tolist() == list(range(n - len(there), n))
    assert min(n, most) <= len(there) <= 2 * most
    assert memo.take(found[there])[0].flatten().tolist() == there.tolist()
    assert (memo.find(rows(n, n + 50)[0]) == -1).all()


@settings(max_examples=100, deadline=None)
@given(cuts=cuts, other=cuts, before=st.integers(0, 60), most=st.integers(2, 60))
def test_rows_put_back_leave_the_memory_as_it_was(cuts, other, before, most):
    """What came in pieces, and what was put back in one: the same rows are there, now and after more have come."""
    memo, again = Memo(2 * most * BYTES), Memo(2 * most * BYTES)
    for m in (memo, again):
        m.add(*rows(0, before))
    n = before
    for k in cuts:
        memo.add(*rows(n, n + k))
        n += k
    kept = memo.since(before)
    assert kept is not None
    again.restore(kept)
    for k in [0, *other]:
        for m in (memo, again):
            m.add(*rows(n, n + k))
        n += k
        assert memo.count == again.count == n
        assert np.array_equal(memo.find(rows(0, n)[0]), again.find(rows(0, n)[0]))


def test_nothing_came_nothing_is_kept():
    memo = Memo()
    memo.add(*rows(0, 5))
    assert memo.since(5) is None
    memo.clear()
    assert memo.count == 0
    assert (memo.find(rows(0, 5)[0]) == -1).all()


def test_two_keys_that_share_a_word_are_two_keys():
    keys = np.array([[3, 1], [3, 2], [3, 1]], dtype=np.uint64)
    memo = Memo()
    memo.add(keys[:2], [torch.tensor([[1.0], [2.0]])])
    assert memo.take(memo.find(keys))[0].flatten().tolist() == [1, 2, 1]
    first, own = once(keys)
    assert (keys[first][own] == keys).all()
    assert (memo.find(np.array([[3, 3]], dtype=np.uint64)) == -1).all()


def test_rows_of_another_form_are_not_kept_and_a_row_too_large_neither():
    memo = Memo()
    memo.add(*rows(0, 2))
    memo.add(rows(2, 3)[0], [torch.zeros(1, 2, dtype=torch.double)])
    assert memo.find(rows(0, 3)[0]).tolist() == [0, 1, -1]
    assert not memo.fits([torch.zeros(1, 1)])
    small = Memo(8)
    small.add(*rows(0, 2))
    small.restore(Kept(0, *rows(0, 2)))
    assert small.count == 0


# Keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(1, 2, 3), torch.zeros(1, 3, 2)),
        (torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.double)),
        (torch.zeros(1, 2), torch.tensor([[0.0, 1e-45]])),
        (["a b"], ["a  b"]),
    ],
)
def test_what_differs_in_anything_has_another_key(one, other):
    assert not (keys_of(one) == keys_of(other)).any()
    assert (keys_of(one) == keys_of(one)).all()


def test_a_key_is_the_same_on_every_machine():
    for value, said in (
        (["Ü?"], "Ü?".encode()),
        (torch.tensor([[1.0, 2.0]]), b"float32 (2,)" + struct.pack("<ff", 1, 2)),
    ):
        digest = hashlib.blake2b(said, digest_size=16).digest()
        assert keys_of(value).tolist() == [list(struct.unpack("<QQ", digest))]
    assert keys_of([]).shape == keys_of(torch.zeros(0, 3)).shape == (0, 2)


def test_places_and_removals_give_keys_of_their_own():
    keys = keys_of(["a", "b", "c"])
    known = {tuple(k) for k in keys.tolist()}
    for purpose in ("image", "text"):
        known |= {tuple(k) for k in keys_with(keys, purpose).tolist()}
    boxes = torch.tensor([[[0, 2], [5, 1]], [[5, 1], [0, 2]], [[0, 2], [0, 0]]])
    same = np.repeat(keys[:1], 3, axis=0)
    without = keys_without(same, boxes)
    assert (without[0] == without[1]).all(), "the order of boxes does not matter"
    assert (without[2] == keys_without(same[:1], boxes[2:, :1])[0]).all(), "an empty box removes nothing"
    known |= {tuple(k) for k in without.tolist()} | {tuple(k) for k in keys_without(keys, boxes).tolist()}
    assert len(known) == 3 + 6 + 2 + 2
