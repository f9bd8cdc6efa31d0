"""UPMC Food-101: photographs of dishes and the titles of the recipe pages that they stood on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import read_csv
from muroan.errors import AskedWrongly

DISHES = 101


def _read(asked: Asked) -> Iterator[Item]:
    path = asked.file(f"texts/{asked.split}_titles.csv", f"{asked.split}_titles.csv")
    dishes = set()
    for number, row in enumerate(read_csv(path), 1):
        if len(row) < 3:
            raise AskedWrongly(f"{path}, row {number}: {len(row)} cells, expected picture, title, dish")
        picture, title, dish = row[0], ",".join(row[1:-1]), row[-1]
        dishes.add(dish)
        files = (f"images/{asked.split}/{dish}/{picture}", f"images/{dish}/{picture}")
        yield Item(PurePosixPath(picture).stem, dish, pictures={"image": files}, texts={"text": title})
    if len(dishes) != DISHES and not asked.partial:
        raise AskedWrongly(
            f"upmc-food101: {path} has {len(dishes)} dishes, the benchmark has {DISHES}; partial=true takes it"
        )


FOOD = Benchmark(
    name="upmc-food101",
    says="Which dish is it, by its photograph and its recipe's title?",
    source="Wang et al., ICME workshops 2015; used for missing modalities by Ma et al., CVPR 2022",
    home="visiir.isir.upmc.fr",
    licence="as its page says",
    layout="texts/SPLIT_titles.csv (picture, title, dish), images/SPLIT/DISH/*.jpg",
    counts={"test": None, "train": None},
    counted="not checked; that there are 101 dishes is",
    read=_read,
)
