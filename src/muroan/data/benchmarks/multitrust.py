"""MultiTrust's sentiment out of distribution (task R.3): sentences in foreign styles, each beside a related picture."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json
from muroan.errors import AskedWrongly

CLASSES = ("negative", "positive")


def _label(value: object) -> str:
    label = dict(zip("01", CLASSES, strict=True)).get(str(value), str(value).strip().lower())
    if label not in CLASSES:
        raise AskedWrongly(f"multitrust-ood-text: the label {value!r} is neither positive nor negative")
    return label


def _read(asked: Asked) -> Iterator[Item]:
    path = asked.file("label.json", "robustness/ood-text/label.json")
    styles = {s: entries for s, entries in read_json(path).items() if (s == "base") == (asked.split == "base")}
    for style, entries in styles.items():
        for entry in (Entry(raw, path) for raw in entries):
            name = entry.text("id")
            yield Item(
                f"{style}-{name}",
                _label(entry["label"]),
                pictures={"image": (f"related/{name}.png", f"robustness/ood-text/related/{name}.png")},
                texts={"text": entry.text("sentence")},
                groups={"style": style},
                cluster=name,
            )


OOD_TEXT = Benchmark(
    name="multitrust-ood-text",
    says="Is the sentiment of a sentence told when its style is foreign and a picture stands beside it?",
    source="Zhang et al., NeurIPS 2024 datasets and benchmarks (arXiv 2406.07057), task R.3",
    home="huggingface.co/datasets/thu-ml/MultiTrust (robustness/ood-text)",
    licence="CC BY-SA 4.0",
    layout="label.json (style -> list of id, sentence, label) and related/ID.png",
    counts={"styled": None, "base": None},
    counted="not checked",
    read=_read,
    classes=CLASSES,
    cluster="sentence",
)
