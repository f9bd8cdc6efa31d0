"""Unicorn's two benchmarks out of distribution: odd photographs (OODCV-VQA) and sketches (Sketchy-VQA)."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json

HOME = "huggingface.co/datasets/PahaII/vllm_safety_evaluation (folder ood/NAME), and the pictures that its page names"
FILES = {"counterfactual": "oodcv-counterfactual", "challenging": "sketchy-challenging"}
"""By split; the plain one bears the benchmark's name."""


def _read(asked: Asked) -> Iterator[Item]:
    which = asked.benchmark.name
    path = asked.file(f"{FILES.get(asked.split, which)}.json")
    for k, entry in enumerate(Entry(raw, path) for raw in read_json(path)):
        answer = entry.get("text_answer", entry.get("answer"))
        picture = entry.text("image")
        yield Item(
            f"{which}-{k}",
            str(entry["answer"] if answer is None else answer).strip().lower(),
            pictures={"image": (picture,)},
            texts={"question": entry.text("question")},
            groups={"situation": str(entry["situation"])} if "situation" in entry else {},
            cluster=picture,
        )


def _of(which: str, says: str, splits: tuple[str, str], classes: tuple[str, ...] | None) -> Benchmark:
    return Benchmark(
        name=which,
        says=says,
        source="Tu et al., 2023 (arXiv 2311.16101)",
        home=HOME.replace("NAME", which),
        licence="data CC BY-NC 4.0, as its page says",
        layout=f"{which}.json (image, question, answer, ...) and the pictures that it names",
        counts=dict.fromkeys(splits),
        counted="not checked",
        read=_read,
        texts=("question",),
        classes=classes,
        cluster="image",
    )


OODCV = _of(
    "oodcv-vqa",
    "Are questions on photographs of odd pose, shape, texture, context or weather still answered?",
    ("plain", "counterfactual"),
    None,
)
SKETCHY = _of("sketchy-vqa", "Is a thing recognised in a sketch?", ("plain", "challenging"), ("no", "yes"))
