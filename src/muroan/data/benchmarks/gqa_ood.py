"""GQA-OOD: questions of GQA whose answers are frequent (head) or rare (tail) in their group."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json


def _read(asked: Asked) -> Iterator[Item]:
    for part in ("head", "tail") if asked.split == "all" else (asked.split,):
        path = asked.file(f"ood_testdev_{part}.json", f"data/ood_testdev_{part}.json")
        for key, raw in read_json(path).items():
            entry = Entry(raw, path)
            picture, types = entry.text("imageId"), entry.get("types") or {}
            asks = {"question": str(types["structural"])} if "structural" in types else {}
            yield Item(
                str(key),
                entry.text("answer"),
                pictures={"image": (f"images/{picture}.jpg", f"{picture}.jpg")},
                texts={"question": entry.text("question")},
                groups={"answers": part} | asks,
                cluster=picture,
            )


GQA_OOD = Benchmark(
    name="gqa-ood",
    says="Is the model right where an answer is rare for its kind of question?",
    source="Kervadec et al., CVPR 2021 (arXiv 2006.05121)",
    home="github.com/gqa-ood/GQA-OOD (data/ood_testdev_*.json) and the pictures of GQA",
    licence="the terms of GQA and of Visual Genome",
    layout="ood_testdev_head.json, ood_testdev_tail.json, images/ID.jpg",
    counts={"all": 1_733 + 1_063, "head": 1_733, "tail": 1_063},
    counted="its repository's files",
    read=_read,
    texts=("question",),
    cluster="image",
)
