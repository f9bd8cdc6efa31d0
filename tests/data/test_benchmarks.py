"""Benchmarks in their published layouts: tiny copies made here, read as a user's would be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from muroan.data.benchmarks import BENCHMARKS
from muroan.errors import AskedWrongly
from muroan.references import open_data

Made = Callable[[Path], None]


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 12, 3), 40 + shade, np.uint8)).save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif path.suffix == ".jsonl" or path.name in ("test1.json", "dev.json"):
        path.write_text("\n".join(json.dumps(c) for c in content) + "\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")


def vqa(root: Path, questions: str, annotations: str, *, rephrased: bool = False, bare: bool = False) -> None:
    asked = [
        {"question_id": 10 * i + k, "image_id": i, "question": f"what is {k} of {i}?", "rephrasing_of": 10 * i}
        for i in (7, 42)
        for k in range(2)
    ]
    if not rephrased:
        asked = [{n: v for n, v in q.items() if n != "rephrasing_of"} for q in asked]
    said = [
        {n: q[n] for n in ("question_id", "image_id")}
        | {"multiple_choice_answer": f"answer {q['image_id']}", "answer_type": "other", "answers": []}
        | ({"coco_split": "train2014"} if bare else {})
        for q in asked
    ]
    write(root / questions, asked if bare else {"questions": asked})
    write(root / annotations, said if bare else {"annotations": said})
    part = "train2014" if bare else "val2014"
    for i in (7, 42):
        picture(root / part / f"COCO_{part}_{i:012d}.jpg", i)


def gqa(root: Path) -> None:
    for part, answer in (("head", "couch"), ("tail", "stool")):
        entry = {"imageId": f"n{part}", "question": "what is it?", "answer": answer, "types": {"structural": "query"}}
        write(root / f"ood_testdev_{part}.json", {f"{part}1": entry})
        picture(root / "images" / f"n{part}.jpg")


def nlvr2(root: Path) -> None:
    rows = [
        {"identifier": f"test1-0-1-{k}", "sentence": f"sentence {k}", "label": label}
        for k, label in enumerate(("True", "False"))
    ]
    write(root / "test1.json", rows)
    for k in (0, 1):
        picture(root / "test1" / f"test1-0-1-img{k}.png", 30 * k)


def snli(root: Path) -> None:
    rows = [
        {"Flickr30K_ID": "55.jpg" if k else "55", "pairID": "55#0r1n", "sentence2": f"a thing {k}", "gold_label": label}
        for k, label in enumerate(("neutral", "entailment", "contradiction"))
    ]
    write(root / "snli_ve_test.jsonl", rows)
    picture(root / "flickr30k_images" / "55.jpg")


def memes(root: Path) -> None:
    rows = [{"id": k, "img": f"img/{k}.png", "label": k, "text": f"harmless words {k}"} for k in range(2)]
    write(root / "dev_seen.jsonl", rows)
    for k in range(2):
        picture(root / "img" / f"{k}.png", k)


def food(root: Path) -> None:
    rows = [f'{d}_{k}.jpg,"soup, with {d}",{d}' for d in ("ramen", "pho") for k in range(2)]
    write(root / "texts" / "test_titles.csv", "\n".join(rows))
    for d in ("ramen", "pho"):
        for k in range(2):
            picture(root / "images" / "test" / d / f"{d}_{k}.jpg")


def imdb(root: Path) -> None:
    write(root / "split.json", {"train": ["01"], "dev": [], "test": ["02", "03"]})
    for number, genres in (("02", ["Drama", "War"]), ("03", ["Comedy"])):
        write(root / "dataset" / f"{number}.json", {"genres": genres, "plot": [f"plot of {number}", "another"]})
        picture(root / "dataset" / f"{number}.jpeg")


def captions(which: str) -> Made:
    def made(root: Path) -> None:
        below = {"filepath": "val2014"} if which == "coco" else {}
        images = [
            {"filename": f"{k}.jpg", "split": split, "sentences": [{"raw": f"{j} of {k}"} for j in range(5)]} | below
            for k, split in enumerate(("test", "train", "test"))
        ]
        write(root / f"dataset_{which}.json", {"images": images})
        for k in (0, 2):
            picture(root / (below.get("filepath") or f"{which}-images") / f"{k}.jpg", k)

    return made


def unicorn(which: str) -> Made:
    def made(root: Path) -> None:
        rows = [
            {"image": f"pictures/{k}.jpg", "question": "is it there?", "answer": word, "situation": "weather"}
            for k, word in enumerate(("Yes", "No"))
        ]
        write(root / f"{which}.json", rows)
        for k in range(2):
            picture(root / "pictures" / f"{k}.jpg")

    return made


def ood_text(root: Path) -> None:
    rows = [{"id": k, "sentence": f"sentence {k}", "label": k} for k in range(2)]
    write(root / "label.json", {"base": rows, "tweet_p0": rows, "shake_w": rows})
    for k in range(2):
        picture(root / "related" / f"{k}.png")


V2 = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
CP = ("vqacp_v2_test_questions.json", "vqacp_v2_test_annotations.json")
COPIES: dict[str, tuple[Made, int]] = {
    "vqa-v2": (lambda root: vqa(root, *V2), 4),
    "vqa-rephrasings": (lambda root: vqa(root, "og_questions.json", "og_annotations.json", rephrased=True), 4),
    "vqa-cp-v2": (lambda root: vqa(root, *CP, bare=True), 4),
    "gqa-ood": (gqa, 2),
    "nlvr2": (nlvr2, 2),
    "snli-ve": (snli, 3),
    "hateful-memes": (memes, 2),
    "upmc-food101": (food, 4),
    "mm-imdb": (imdb, 2),
    "flickr30k-captions": (captions("flickr30k"), 10),
    "coco-captions": (captions("coco"), 10),
    "oodcv-vqa": (unicorn("oodcv-vqa"), 2),
    "sketchy-vqa": (unicorn("sketchy-vqa"), 2),
    "multitrust-ood-text": (ood_text, 4),
}
"""A copy of every benchmark in its published layout, and how many items it has."""


def test_every_benchmark_has_a_copy_here() -> None:
    assert set(COPIES) == set(BENCHMARKS)


@pytest.mark.parametrize("name", sorted(COPIES))
def test_a_copy_in_the_published_layout_is_read_whole(name: str, tmp_path: Path) -> None:
    made, n = COPIES[name]
    made(tmp_path)
    data = open_data(f"{name}:{tmp_path}?partial=true&size=16").audited
    assert len(data) == n
    loaded = data.load(range(n))
    assert not loaded.quarantined
    assert loaded.batch is not None
    benchmark = BENCHMARKS[name]
    assert set(loaded.batch.inputs) == {*benchmark.pictures, *benchmark.texts}
    for m in benchmark.pictures:
        assert tuple(loaded.batch.inputs[m].shape) == (n, 3, 16, 16)
    for m in benchmark.texts:
        assert all(loaded.batch.inputs[m])
    if benchmark.cluster is not None:
        assert len(set(data.clusters())) < n or name in ("gqa-ood", "oodcv-vqa", "sketchy-vqa")


@pytest.mark.parametrize("name", sorted(n for n, b in BENCHMARKS.items() if b.counts[b.split] is not None))
def test_a_copy_with_fewer_items_than_the_source_says_is_refused(name: str, tmp_path: Path) -> None:
    COPIES[name][0](tmp_path)
    with pytest.raises(AskedWrongly, match=r"partial=true") as caught:
        open_data(f"{name}:{tmp_path}")
    assert f"{BENCHMARKS[name].counts[BENCHMARKS[name].split]:,}" in str(caught.value)


@pytest.mark.parametrize("name", ["upmc-food101", "mm-imdb"])
def test_what_else_tells_a_partial_copy(name: str, tmp_path: Path) -> None:
    COPIES[name][0](tmp_path)
    with pytest.raises(AskedWrongly, match=r"has 101;|25,959"):
        open_data(f"{name}:{tmp_path}")


@pytest.mark.parametrize("name", sorted(COPIES))
def test_an_empty_folder_is_told_what_to_get_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(AskedWrongly) as caught:
        open_data(f"{name}:{tmp_path}")
    assert BENCHMARKS[name].home in str(caught.value)
    assert BENCHMARKS[name].licence in str(caught.value)


def test_missing_pictures_are_named_and_quarantined_if_taken_all_the_same(tmp_path: Path) -> None:
    COPIES["sketchy-vqa"][0](tmp_path)
    (tmp_path / "pictures" / "1.jpg").unlink()
    with pytest.raises(AskedWrongly, match=r"1 of 2 pictures are not in .*pictures/1\.jpg"):
        open_data(f"sketchy-vqa:{tmp_path}")
    loaded = open_data(f"sketchy-vqa:{tmp_path}?partial=true").audited.load(range(2))
    assert [q.reason for q in loaded.quarantined] == ["'pictures/1.jpg' is not in the copy"]
    assert loaded.batch is not None
    assert len(loaded.batch) == 1


def test_labels_and_groups_are_those_of_the_files(tmp_path: Path) -> None:
    COPIES["vqa-rephrasings"][0](tmp_path)
    data = open_data(f"vqa-rephrasings:{tmp_path}").audited
    batch = data.first(4)
    assert [data.schema.classes[t] for t in batch.targets] == ["answer 7", "answer 7", "answer 42", "answer 42"]
    assert list(batch.groups["wording"]) == ["original", "rephrased", "original", "rephrased"]
    assert list(batch.clusters or ()) == ["image-7", "image-7", "image-42", "image-42"]
    first, second = batch.keys["image"][:2].tolist()
    assert first == second


def test_answers_are_the_models_and_others_are_quarantined(tmp_path: Path) -> None:
    COPIES["vqa-rephrasings"][0](tmp_path)
    words = tmp_path / "answers.txt"
    words.write_text("yes\nanswer 7\n", encoding="utf-8")
    data = open_data(f"vqa-rephrasings:{tmp_path}?answers={words}").audited
    assert data.schema.classes == ("yes", "answer 7")
    assert len(data.load(range(4)).quarantined) == 2


def test_a_genre_is_asked_about(tmp_path: Path) -> None:
    COPIES["mm-imdb"][0](tmp_path)
    of = f"mm-imdb:{tmp_path}?partial=true&genre="
    batch = open_data(of + "Comedy").audited.first(2)
    assert batch.targets.tolist() == [0, 1]
    with pytest.raises(AskedWrongly, match=r"no film is of the genre 'Westren'"):
        open_data(of + "Westren")


def test_hidden_labels_are_said(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"id": 1, "img": "img/1.png", "text": "words"}])
    with pytest.raises(AskedWrongly, match="has no labels"):
        open_data(f"hateful-memes:{tmp_path}?split=test_seen")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("?spilt=dev", "no option 'spilt'. Did you mean 'split'?"),
        ("?split=tset", "no split 'tset'. Did you mean 'test'?"),
        ("?size=big", "size is 'big'"),
        ("?partial=yes", "partial is 'yes'"),
        ("?answers=/nowhere/at/all", "cannot be read"),
    ],
)
def test_options_are_checked(said: str, complaint: str, tmp_path: Path) -> None:
    COPIES["snli-ve"][0](tmp_path)
    with pytest.raises(AskedWrongly) as caught:
        open_data(f"snli-ve:{tmp_path}{said}")
    assert complaint in str(caught.value)


def test_names_in_the_files_lead_nowhere_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    picture(secret)
    copy = tmp_path / "copy"
    write(copy / "sketchy-vqa.json", [{"image": "../secret.jpg", "question": "is it there?", "answer": "yes"}])
    loaded = open_data(f"sketchy-vqa:{copy}?partial=true").audited.load([0])
    assert "'..' in it" in loaded.quarantined[0].reason


def test_what_is_not_the_published_file_is_said(tmp_path: Path) -> None:
    write(tmp_path / "snli_ve_test.jsonl", [{"sentence2": "a thing", "gold_label": "neutral"}])
    with pytest.raises(AskedWrongly, match="has no 'Flickr30K_ID'"):
        open_data(f"snli-ve:{tmp_path}")
    write(tmp_path / "snli_ve_test.jsonl", "{not json\n")
    with pytest.raises(AskedWrongly, match="line 1: not JSON"):
        open_data(f"snli-ve:{tmp_path}")
