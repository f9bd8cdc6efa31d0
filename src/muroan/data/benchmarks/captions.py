"""Photographs and captions in Karpathy's splits, as pairs for retrieval: Flickr30k and COCO."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json
from muroan.data.pairs import FOUND

CAPTIONS = 5
"""Captions of a picture; a few of COCO's have more, of which the first five count."""


def _read(asked: Asked) -> Iterator[Item]:
    which = asked.benchmark.name.removesuffix("-captions")
    path = asked.file(f"dataset_{which}.json", f"karpathy/dataset_{which}.json")
    for entry in (Entry(raw, path) for raw in Entry(read_json(path), path)["images"]):
        if entry["split"] != asked.split:
            continue
        name, below = entry.text("filename"), entry.get("filepath", "")
        files = [f"{below}/{name}"] if below else []
        files += [f"{which}-images/{name}", f"{which}_images/{name}", f"images/{name}", name]
        for k, sentence in enumerate(entry["sentences"][:CAPTIONS]):
            said = Entry(sentence, path).text("raw")
            yield Item(f"{name}-{k}", "found", pictures={"image": tuple(files)}, texts={"text": said}, cluster=name)


def _of(which: str, paper: str, pictures: str, images: int) -> Benchmark:
    return Benchmark(
        name=f"{which}-captions",
        says="Do a photograph and its caption find each other?",
        source=f"{paper}; splits of Karpathy and Fei-Fei, CVPR 2015",
        home=f"the splits' dataset_{which}.json, and {pictures}",
        licence="the terms of the data set; pictures belong to their owners",
        layout=f"dataset_{which}.json and the pictures that it names",
        counts={"test": images * CAPTIONS, "val": None},
        counted=f"{images:,} test pictures with {CAPTIONS} captions each, as retrieval is scored in the literature",
        read=_read,
        classes=FOUND,
        cluster="image",
    )


FLICKR = _of("flickr30k", "Young et al., TACL 2014", "the pictures of Flickr30k by its authors' form", 1_000)
COCO = _of("coco", "Lin et al., ECCV 2014", "COCO's train2014 and val2014 pictures", 5_000)
