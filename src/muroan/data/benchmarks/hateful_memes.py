"""Hateful Memes: pictures and the words on them. Read from the user's copy alone; nothing of it ships."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import read_lines
from muroan.errors import AskedWrongly

CLASSES = ("benign", "hateful")


def _read(asked: Asked) -> Iterator[Item]:
    older = {"dev_seen": ("dev.jsonl",), "test_seen": ("test.jsonl",)}.get(asked.split, ())
    path = asked.file(f"{asked.split}.jsonl", *older)
    for entry in read_lines(path):
        if "label" not in entry:
            raise AskedWrongly(f"{path} has no labels (the challenge's hidden test set); take another split")
        picture, said = {"image": (entry.text("img"),)}, {"text": entry.text("text")}
        yield Item(entry.text("id"), CLASSES[int(entry["label"])], pictures=picture, texts=said)


MEMES = Benchmark(
    name="hateful-memes",
    says="Is a meme hateful, where neither its picture nor its words alone tell?",
    source="Kiela et al., NeurIPS 2020 (arXiv 2005.04790)",
    home="ai.meta.com/tools/hatefulmemes, after agreeing to its terms",
    licence="the challenge's data set licence agreement",
    layout="SPLIT.jsonl (id, img, label, text) and img/*.png",
    counts={"dev_seen": 500, "test_seen": 1_000, "train": 8_500, "dev_unseen": None, "test_unseen": None},
    counted="the paper: 10,000 memes, 5 % dev and 10 % test; those of the second phase are not checked",
    read=_read,
    classes=CLASSES,
)
