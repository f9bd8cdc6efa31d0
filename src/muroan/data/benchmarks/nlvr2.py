"""NLVR2: is a sentence true of a pair of photographs?"""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import read_lines


def _read(asked: Asked) -> Iterator[Item]:
    for entry in read_lines(asked.file(f"{asked.split}.json", f"data/{asked.split}.json")):
        name = entry.text("identifier")
        pair = name.rsplit("-", 1)[0]  # split-set-pair-sentence: sentences of one pair share its pictures
        files = {m: f"{pair}-img{k}.png" for k, m in enumerate(("left", "right"))}
        yield Item(
            name,
            entry.text("label").lower(),
            pictures={m: (f"{asked.split}/{f}", f"images/{asked.split}/{f}", f) for m, f in files.items()},
            texts={"sentence": entry.text("sentence")},
            cluster="-".join(name.split("-")[:2]),
        )


NLVR2 = Benchmark(
    name="nlvr2",
    says="Is a sentence true of a pair of photographs?",
    source="Suhr et al., ACL 2019 (arXiv 1811.00491)",
    home="github.com/lil-lab/nlvr (nlvr2/data); pictures by its authors' form",
    licence="as its repository says; the pictures belong to their owners and are for research",
    layout="test1.json (or dev.json), test1/test1-SET-PAIR-img0.png and -img1.png",
    counts={"test1": 6_967, "dev": 6_982},
    counted="its repository's files",
    read=_read,
    pictures=("left", "right"),
    texts=("sentence",),
    classes=("false", "true"),
    cluster="set of pictures",
)
