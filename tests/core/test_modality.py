"""Kinds of input: boxes, partitions, erasing, balls. Known answers, then what must hold for any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan import Image, Tabular, Text
from muroan.errors import BadSample
from muroan.modality import KINDS, Audio, Series, boxes_cover, concatenate, differ, take, where
from muroan.randomness import sample_keys
from tests.core.test_randomness import WORD, key_that_draws

INF = float("inf")


def value(kind: str, n: int, size: int, seed: int = 0):
    """A modality of that kind and n values whose grids have about `size` points an axis."""
    g = torch.Generator().manual_seed(seed)
    if kind == "image":
        return Image(size=(size, size + 1), fill=(0.1, 0.2, 0.3)), torch.rand(n, 3, size, size + 1, generator=g)
    if kind == "text":
        lengths = torch.randint(1, size + 1, (n,), generator=g).tolist()
        return Text(), [" ".join(f"w{k}" for k in range(length)) for length in lengths]
    if kind == "audio":
        long = 4 * size - 1  # the last frame is not full
        return Audio(rate=8000, length=long, frame=4), torch.rand(n, long, generator=g) * 2 - 1
    if kind == "tabular":
        names = tuple(f"c{i}" for i in range(size))
        return Tabular(columns=names, fill=tuple(0.5 * i for i in range(size))), torch.randn(n, size, generator=g)
    return Series(length=size, channels=("a", "b"), fill=(1.0, -1.0)), torch.randn(n, size, 2, generator=g)


every_kind = pytest.mark.parametrize("kind", sorted(KINDS))


# Boxes


def test_a_box_of_pixels_covers_rows_and_columns():
    cover = boxes_cover(torch.tensor([[[1, 0, 2, 3]]]), (4, 4))
    assert cover[0].int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


boxes_of_one_axis = st.tuples(st.integers(-2, 8), st.integers(0, 8))
boxes_of_two_axes = st.tuples(st.integers(-2, 6), st.integers(-2, 6), st.integers(0, 6), st.integers(0, 6))


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.lists(boxes_of_two_axes, min_size=2, max_size=2), min_size=1, max_size=3))
def test_the_union_of_boxes_of_two_axes_equals_brute_force(boxes):
    cover = boxes_cover(torch.tensor(boxes), (5, 4))
    for n, row in enumerate(boxes):
        for y in range(5):
            for x in range(4):
                inside = any(a <= y < a + h and b <= x < b + w for a, b, h, w in row)
                assert bool(cover[n, y, x]) == inside


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.lists(boxes_of_one_axis, min_size=3, max_size=3), min_size=1, max_size=3))
def test_the_union_of_boxes_of_one_axis_equals_brute_force(boxes):
    cover = boxes_cover(torch.tensor(boxes), (6,))
    expected = [[any(a <= t < a + k for a, k in row) for t in range(6)] for row in boxes]
    assert cover.tolist() == expected


def test_no_boxes_cover_nothing():
    assert not boxes_cover(torch.zeros(2, 0, 4, dtype=torch.long), (3, 3)).any()


def test_a_cover_is_clipped_to_each_text():
    cover = Text().cover(["a", "a b c"], torch.tensor([[[0, 9]], [[1, 9]]]))
    assert cover.tolist() == [[True, False, False], [False, True, True]]


# Partitions


@every_kind
@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 9), pieces=st.integers(1, 12), seed=st.integers(0, 99))
def test_parts_hold_every_point_exactly_once(kind, size, pieces, seed):
    modality, x = value(kind, 3, size, seed)
    boxes = modality.parts(x, pieces)
    grid = modality.grid(x)
    assert boxes.shape == (3, pieces**modality.axes, 2 * modality.axes)
    for i in range(3):
        extent = [int(e) for e in grid[i]]
        hits = torch.stack([boxes_cover(b[None, None], extent)[0] for b in boxes[i]]).sum(dim=0)
        assert (hits == 1).all()
        full = (boxes[i][:, modality.axes :] > 0).all(dim=1)
        assert int(full.sum()) == int(np.prod([min(pieces, e) for e in extent]))
        # As even as it can be: no piece is more than one point longer than another.
        lengths = boxes[i][full][:, modality.axes :]
        assert (lengths.amax(dim=0) - lengths.amin(dim=0) <= 1).all()


@every_kind
def test_the_whole_is_one_box_with_every_point(kind):
    modality, x = value(kind, 4, 6)
    whole = modality.whole(x)
    assert whole.shape == (4, 1, 2 * modality.axes)
    assert torch.equal(modality.cover(x, whole).flatten(1).sum(dim=1), modality.points(x))


def test_the_last_frame_of_a_sound_is_a_point_though_it_is_not_full():
    assert Audio(rate=8000, length=10, frame=4).grid(torch.zeros(2, 10)).tolist() == [[3], [3]]


# Erasing


def test_what_nothing_looks_like():
    image = Image(size=(1, 1), fill=(0.1, 0.2, 0.3)).neutral(torch.ones(1, 3, 1, 1))
    assert image.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert Text().neutral(["some words", "more"]) == ["", ""]
    assert Audio(rate=8000, length=3, frame=2).neutral(torch.ones(1, 3)).tolist() == [[0, 0, 0]]
    assert Tabular(columns=("a", "b"), fill=(1.0, 2.0)).neutral(torch.zeros(1, 2)).tolist() == [[1, 2]]
    assert Tabular(columns=("a", "b")).neutral(torch.ones(1, 2)).tolist() == [[0, 0]]
    assert Series(length=2, channels=("a",), fill=(7.0,)).neutral(torch.zeros(1, 2, 1)).flatten().tolist() == [7, 7]


def per_point(modality, x):
    """Values by point: a tensor [N, *grid, rest]."""
    if modality.kind == "image":
        return x.permute(0, 2, 3, 1)
    if modality.kind == "audio":
        padded = torch.nn.functional.pad(x, (0, -x.shape[1] % modality.frame))
        return padded.view(len(x), -1, modality.frame)
    return x if x.ndim == 3 else x[..., None]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"text"}))
@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 7), seed=st.integers(0, 999))
def test_erasing_touches_all_covered_points_and_no_other(kind, size, seed):
    modality, x = value(kind, 3, size, seed)
    extent = [int(e) for e in modality.grid(x)[0]]
    cover = torch.rand(3, *extent, generator=torch.Generator().manual_seed(seed + 1)) < 0.5
    before = x.clone()
    after = modality.erase(x, cover)
    assert torch.equal(x, before), "the input was written to"
    gone, kept = per_point(modality, after), per_point(modality, x)
    assert torch.equal(gone[~cover], kept[~cover])
    assert torch.equal(gone[cover], per_point(modality, modality.neutral(x))[cover])


@every_kind
def test_neutral_is_everything_erased(kind):
    modality, x = value(kind, 4, 5)
    erased = modality.erase(x, modality.cover(x, modality.whole(x)))
    neutral = modality.neutral(x)
    assert erased == neutral if kind == "text" else torch.equal(erased, neutral)


@every_kind
def test_neutral_of_no_samples_is_no_samples(kind):
    modality, x = value(kind, 3, 4)
    assert len(modality.neutral(take(x, []))) == 0


words = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), min_size=0, max_size=6)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(words, min_size=1, max_size=4), seed=st.integers(0, 999))
def test_erasing_words_leaves_the_others_with_single_spaces(texts, seed):
    x = ["  ".join(t) for t in texts]  # the source has double spaces
    longest = max(map(len, texts))
    cover = torch.rand(len(x), longest, generator=torch.Generator().manual_seed(seed)) < 0.5
    for text, row, after, source in zip(texts, cover.tolist(), Text().erase(x, cover), x, strict=True):
        kept = [w for w, gone in zip(text, row, strict=False) if not gone]
        assert after.split() == kept
        assert after == (source if kept == text else " ".join(kept))


def test_a_text_that_loses_no_word_stays_as_it_is_even_where_the_padding_is_covered():
    assert Text().erase(["a  b", "c d e"], torch.tensor([[False, False, True], [True, False, False]])) == [
        "a  b",
        "d e",
    ]


def test_values_that_differ_anywhere_are_others():
    x = torch.zeros(3, 2, 2)
    x[1, 0, 1] = 1e-9
    assert differ(torch.zeros(3, 2, 2), x).tolist() == [False, True, False]
    assert differ(["a", "b "], ["a", "b"]).tolist() == [False, True]
    assert differ([], []).tolist() == []


# Values that can be used


def test_pictures_of_bytes_become_planes_from_zero_to_one():
    image = Image(size=(2, 3))
    raw = np.zeros((2, 3, 3), dtype=np.uint8)
    raw[0, 1] = (255, 51, 0)
    assert image.check(raw)[:, 0, 1].tolist() == pytest.approx([1.0, 0.2, 0.0])
    from PIL import Image as Pictures

    assert torch.equal(image.check(Pictures.fromarray(raw)), image.check(raw))
    assert Image(size=(2, 3), channels=1).check(raw[..., 0]).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("modality", "raw", "says"),
    [
        (Image(size=(2, 2)), torch.zeros(3, 2, 3), "shape"),
        (Image(size=(2, 2)), torch.full((3, 2, 2), 1.5), "expected [0, 1]"),
        (Image(size=(2, 2)), torch.full((3, 2, 2), torch.nan), "NaN"),
        (Text(), 3, "expected a string"),
        (Text(), " \n", "empty"),
        (Audio(rate=8000, length=4), [0, 0, 0, 2.0], "reaches 2"),
        (Audio(rate=8000, length=4), [0.0] * 5, "shape"),
        (Tabular(columns=("a", "b")), [1.0, None], "not numeric"),
        (Tabular(columns=("a", "b")), [1.0, "x"], "not numeric"),
        (Tabular(columns=("a", "b")), [1.0, 10**400], "not numeric"),
        (Tabular(columns=("a", "b")), [1.0, float("inf")], "infinite"),
        (Series(length=2, channels=("a",)), [[1.0], [2.0], [3.0]], "steps, channels"),
    ],
)
def test_what_cannot_be_used_says_why(modality, raw, says):
    with pytest.raises(BadSample) as caught:
        modality.check(raw)
    assert says in str(caught.value)


@every_kind
def test_a_blank_has_the_shape_of_a_checked_value(kind):
    modality, x = value(kind, 1, 5)
    if kind == "text":
        assert modality.blank() == ""
    else:
        assert modality.blank().shape == x[0].shape
        assert torch.equal(modality.check(x[0]), x[0])


def test_rows_of_tensors_and_of_texts():
    x = torch.arange(6.0).view(3, 2)
    assert take(x, [2, 0, 2]).tolist() == [[4, 5], [0, 1], [4, 5]]
    assert take(["a", "b", "c"], torch.tensor([2, 0, 2])) == ["c", "a", "c"]
    assert concatenate([["a"], ["b", "c"]]) == ["a", "b", "c"]
    assert torch.equal(concatenate([x[:1], x[1:]]), x)
    choice = torch.tensor([True, False, True])
    assert where(choice, x, -x).tolist() == [[0, 1], [-2, -3], [4, 5]]
    assert where(choice, ["a", "b", "c"], ["x", "y", "z"]) == ["a", "y", "c"]


# Geometry


def test_distances_by_hand():
    modality = Tabular(columns=("a", "b"))
    a, b = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, -4.0], [1.0, 1.0]])
    assert modality.distance(a, b, INF).tolist() == [4, 0]
    assert modality.distance(a, b, 2.0).tolist() == [5, 0]


def test_projections_by_hand():
    table = Tabular(columns=("a", "b"))
    origin = torch.zeros(1, 2)
    assert table.project(torch.tensor([[3.0, -4.0]]), origin, 2.0, 1.0).tolist()[0] == pytest.approx([0.6, -0.8])
    assert table.project(torch.tensor([[3.0, -0.5]]), origin, INF, 1.0).tolist() == [[1.0, -0.5]]
    picture = Image(size=(1, 1), channels=1)
    near_black = torch.full((1, 1, 1, 1), 0.1)
    assert picture.project(near_black - 1, near_black, INF, 0.3).item() == 0.0


continuous = pytest.mark.parametrize("kind", ["image", "audio", "tabular", "series"])
balls = pytest.mark.parametrize("p", [INF, 2.0])


@continuous
@balls
@settings(max_examples=25, deadline=None)
@given(radius=st.floats(0, 5), seed=st.integers(0, 999))
def test_a_projection_is_in_the_ball_and_the_range_and_is_its_own_projection(kind, p, radius, seed):
    modality, x = value(kind, 4, 4, seed)
    far = x + 3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    near = modality.project(far, x, p, radius)
    assert (modality.distance(near, x, p) <= radius * (1 + 1e-5) + 1e-6).all()
    assert near.min() >= modality.low
    assert near.max() <= modality.high
    assert torch.allclose(modality.project(near, x, p, radius), near, atol=1e-6)
    assert torch.allclose(modality.project(x, x, p, radius), x)


@continuous
@balls
@settings(max_examples=25, deadline=None)
@given(radius=st.floats(0, 2), seed=st.integers(0, 999))
def test_a_random_change_keeps_the_budget_and_belongs_to_the_sample(kind, p, radius, seed):
    modality, x = value(kind, 4, 4, seed)
    keys = sample_keys(["a", "b", "c", "d"], seed)
    changed = modality.random_change(x, p, radius, keys)
    assert (modality.distance(changed, x, p) <= radius * (1 + 1e-5) + 1e-6).all()
    assert changed.min() >= modality.low
    assert changed.max() <= modality.high
    assert torch.equal(modality.random_change(x[2:3], p, radius, keys[2:3]), changed[2:3])


@balls
def test_a_random_change_uses_the_whole_budget_where_no_range_stops_it(p):
    modality, x = value("tabular", 50, 8)
    changed = modality.random_change(x, p, 0.3, sample_keys([str(i) for i in range(50)], 0))
    assert torch.allclose(modality.distance(changed, x, p), torch.full((50,), 0.3), atol=1e-5)


def test_a_random_change_has_no_favourite_direction():
    modality = Tabular(columns=("a", "b"))
    keys = sample_keys([str(i) for i in range(4000)], "direction")
    for p in (INF, 2.0):
        moved = modality.random_change(torch.zeros(4000, 2), p, 1.0, keys)
        assert moved.mean(dim=0).abs().max() < 4 / 4000**0.5
        signs = (moved > 0).int()
        assert torch.bincount(2 * signs[:, 0] + signs[:, 1]).min() > 850


@pytest.mark.parametrize("word", [0, WORD - 1])
def test_a_random_direction_is_finite_for_the_most_extreme_draw(word):
    x = torch.zeros(1, 3)
    changed = Tabular(columns=("a", "b", "c")).random_change(x, 2.0, 0.5, key_that_draws(word))
    assert changed.norm().item() == pytest.approx(0.5, abs=1e-5)
