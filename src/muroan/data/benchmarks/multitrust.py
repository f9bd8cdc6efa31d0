"""MultiTrust's sentiment out of distribution (task R.3): sentences in foreign styles, each beside a related picture."""

from __future__ import annotations

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import of, read_json
from muroan.errors import AskedWrongly


def _label(value: object) -> str:
    found = {"0": "negative", "1": "positive"}.get(str(value), str(value).strip().lower())
    if found not in OOD_TEXT.classes:  # type: ignore[operator]
        raise AskedWrongly(f"multitrust-ood-text: the label {value!r} is neither positive nor negative")
    return found


def _read(asked: Asked) -> list[Item]:
    path = OOD_TEXT.file(asked, "label.json", "robustness/ood-text/label.json")
    out = []
    styles = {s: entries for s, entries in read_json(path).items() if (s == "base") == (asked.split == "base")}
    for style, entries in styles.items():
        for entry in entries:
            name = str(of(entry, "id", path))
            out.append(
                Item(
                    id=f"{style}-{name}",
                    target=_label(of(entry, "label", path)),
                    pictures={"image": (f"related/{name}.png", f"robustness/ood-text/related/{name}.png")},
                    texts={"text": str(of(entry, "sentence", path))},
                    groups={"style": style},
                    cluster=name,
                )
            )
    return out


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
    classes=("negative", "positive"),
    cluster="sentence",
)
