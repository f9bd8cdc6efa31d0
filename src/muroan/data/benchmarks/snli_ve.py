"""SNLI-VE: does a photograph entail a sentence?"""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import read_lines


def _read(asked: Asked) -> Iterator[Item]:
    name = f"snli_ve_{asked.split}.jsonl"
    for k, entry in enumerate(read_lines(asked.file(name, f"annotations/{name}"))):
        picture = entry.text("Flickr30K_ID").removesuffix(".jpg")
        yield Item(
            f"{entry.get('pairID', asked.split)}-{k}",
            entry.text("gold_label"),
            pictures={"image": (f"flickr30k_images/{picture}.jpg", f"images/{picture}.jpg", f"{picture}.jpg")},
            texts={"sentence": entry.text("sentence2")},
            cluster=picture,
        )


SNLI_VE = Benchmark(
    name="snli-ve",
    says="Does a photograph entail a sentence, contradict it, or neither?",
    source="Xie et al., 2019 (arXiv 1901.06706)",
    home="github.com/necla-ml/SNLI-VE, and the pictures of Flickr30k by its authors' form",
    licence="as its repository says; pictures under the terms of Flickr30k",
    layout="snli_ve_SPLIT.jsonl, flickr30k_images/ID.jpg",
    counts={"test": 17_901, "dev": 17_858},
    counted="its repository's table of labels by split",
    read=_read,
    texts=("sentence",),
    classes=("contradiction", "entailment", "neutral"),
    cluster="image",
)
