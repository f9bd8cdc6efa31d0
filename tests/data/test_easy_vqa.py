"""The built-in data: as many as published, the splits apart, and groups that agree with the pictures' pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from muroan.data.easy_vqa import COLOURS, KINDS, LEXICON, MEAN_COLOUR, SHAPES, EasyVQA, easy_vqa, question_kind
from muroan.data.table import Table
from muroan.dataset import Splits

NAMED = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return easy_vqa()


def test_counts(splits: Splits) -> None:
    assert {name: len(data) for name, data in splits.items()} == {
        "audited": 9_673,
        "reference": 3_899,
        "members": 34_676,
    }
    assert {name: len(set(data.clusters())) for name, data in splits.items()} == {
        "audited": 1_000,
        "reference": 400,
        "members": 3_600,
    }


def test_splits_share_no_sample_and_no_picture(splits: Splits) -> None:
    splits.check()
    pictures = [set(data.clusters()) for _, data in splits.items()]
    assert sum(map(len, pictures)) == len(set().union(*pictures))


def test_clusters_are_those_of_the_samples(splits: Splits) -> None:
    some = range(0, 300, 7)
    known = splits.audited.clusters()
    assert [known[i] for i in some] == [splits.audited.sample(i).cluster for i in some]


def test_the_classes_are_sorted_and_all_occur(splits: Splits) -> None:
    classes = splits.audited.schema.classes
    assert len(classes) == 13
    assert list(classes) == sorted(classes)
    assert set(classes) == {"yes", "no", *COLOURS, *SHAPES}
    assert {splits.audited.sample(i).target for i in range(len(splits.audited))} == set(classes)


def test_groups_cover_nine_in_ten_and_use_no_other_names(splits: Splits) -> None:
    data = splits.audited
    found = [data.sample(i).groups for i in range(len(data))]
    allowed = data.schema.groups
    for group in ("colour", "shape", "kind"):
        named = [g[group] for g in found if g[group]]
        assert len(named) >= 0.9 * len(found)
        assert set(named) == set(allowed[group])
    assert tuple(allowed["kind"]) == KINDS


def test_groups_agree_with_the_pixels(splits: Splits) -> None:
    """Of every picture, the nearest named colour to what is not background is the one that the group says."""
    data = splits.audited
    seen: dict[int, tuple[str, str]] = {}
    for i in range(len(data)):
        sample = data.sample(i)
        if sample.groups["colour"]:
            seen[sample.keys["image"]] = (sample.groups["colour"], sample.groups["shape"])
        if len(seen) == 200:
            break
    assert len(seen) == 200
    assert isinstance(data, EasyVQA)
    names = list(NAMED)
    for image, (colour, _) in seen.items():
        pixels = np.asarray(data.picture(image)).reshape(-1, 3).astype(int)
        shape = pixels[np.abs(pixels - pixels[0]).sum(axis=1) > 60]  # the corner is background
        assert len(shape) > 20
        nearest = np.abs(shape[:, None] - np.array(list(NAMED.values()))[None]).sum(axis=2).argmin(axis=1)
        assert names[np.bincount(nearest).argmax()] == colour, image


def test_shapes_agree_with_the_pixels(splits: Splits) -> None:
    """The share of its bounding box that a shape fills tells the three apart: 1, about pi/4, about a half."""
    data = splits.audited
    assert isinstance(data, EasyVQA)
    filled: dict[str, list[float]] = {s: [] for s in SHAPES}
    done: set[int] = set()
    for i in range(0, len(data), 3):
        sample = data.sample(i)
        image, shape = sample.keys["image"], sample.groups["shape"]
        if not shape or image in done:
            continue
        done.add(image)
        pixels = np.asarray(data.picture(image)).astype(int)
        drawn = np.abs(pixels - pixels[0, 0]).sum(axis=2) > 60
        ys, xs = np.nonzero(drawn)
        box = (ys.max() - ys.min() + 1) * (xs.max() - xs.min() + 1)
        filled[shape].append(drawn.sum() / box)
    typical = {s: float(np.median(v)) for s, v in filled.items()}
    assert typical["triangle"] < 0.65 < typical["circle"] < 0.9 < typical["rectangle"]
    for shape, values in filled.items():
        assert len(values) > 50
        others = [abs(np.array(values) - t) for s, t in typical.items() if s != shape]
        assert np.mean(abs(np.array(values) - typical[shape]) < np.minimum(*others)) > 0.9


def test_the_colour_of_nothing_is_the_mean_colour() -> None:
    data = EasyVQA("train", range(500))
    images = sorted({data.sample(i).keys["image"] for i in range(len(data))})
    means = np.mean([np.asarray(data.picture(i)).reshape(-1, 3).mean(axis=0) / 255 for i in images], axis=0)
    assert np.abs(means - MEAN_COLOUR).max() < 0.02


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("what shape is in the image?", "what shape"),
        ("what is the color of the shape?", "what colour"),
        ("is there a red shape?", "is there"),
        ("does the image not contain a circle?", "is there not"),
        ("is no red shape present?", "is there not"),
    ],
)
def test_kinds_of_question(question: str, kind: str) -> None:
    assert question_kind(question) == kind


def test_equal_keys_mean_equal_values(splits: Splits) -> None:
    batch = splits.audited.first(200)
    for m in ("image", "question"):
        distinct, index = batch.unique(m)
        assert len(distinct) < len(batch)
        back = distinct[index] if m == "image" else [distinct[i] for i in index.tolist()]
        assert (back == batch.inputs[m]) if m == "question" else bool((back == batch.inputs[m]).all())


def test_the_same_samples_as_a_table_of_files_are_the_same_batch(splits: Splits, tmp_path: Path) -> None:
    rows = []
    for i in range(60):
        sample = splits.audited.sample(i)
        name = f"{sample.keys['image']}.png"
        sample.inputs["image"].save(tmp_path / name)
        rows.append({"id": splits.audited.ids[i], "file": name, "question": sample.inputs["question"]})
        rows[-1] |= {"answer": sample.target, "picture": sample.cluster, **sample.groups}
    pl.DataFrame(rows).write_csv(tmp_path / "vqa.csv")
    table = Table(
        tmp_path / "vqa.csv",
        inputs={
            "image": {"kind": "image", "column": "file", "size": [64, 64], "fill": list(MEAN_COLOUR)},
            "question": {"kind": "text", "column": "question", "lexicon": dict(LEXICON)},
        },
        target="answer",
        classes=splits.audited.schema.classes,
        groups=["kind", "colour", "shape"],
        id="id",
        cluster="picture",
    )
    theirs, ours = splits.audited.load(range(60)).batch, table.load(range(60)).batch
    assert theirs is not None
    assert ours is not None
    assert ours.modalities == theirs.modalities
    assert torch.equal(ours.inputs["image"], theirs.inputs["image"])
    assert ours.inputs["question"] == theirs.inputs["question"]
    assert torch.equal(ours.targets, theirs.targets)
    assert (ours.ids, ours.groups, ours.clusters) == (theirs.ids, theirs.groups, theirs.clusters)
    for m in ("image", "question"):  # the keys differ, what they make equal does not
        assert len(ours.unique(m)[0]) == len(theirs.unique(m)[0])
