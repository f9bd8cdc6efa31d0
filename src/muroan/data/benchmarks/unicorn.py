"""Unicorn's two benchmarks out of distribution: odd photographs (OODCV-VQA) and sketches (Sketchy-VQA)."""

from __future__ import annotations

from functools import partial

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import of, read_json

HOME = "huggingface.co/datasets/PahaII/vllm_safety_evaluation (folder ood/NAME), and the pictures that its page names"


def _read(asked: Asked, which: str) -> list[Item]:
    benchmark = {"oodcv-vqa": OODCV, "sketchy-vqa": SKETCHY}[which]
    file = {"plain": which, "counterfactual": "oodcv-counterfactual", "challenging": "sketchy-challenging"}[asked.split]
    path = benchmark.file(asked, f"{file}.json")
    out = []
    for k, entry in enumerate(read_json(path)):
        answer = entry.get("text_answer", entry.get("answer")) if isinstance(entry, dict) else None
        picture = str(of(entry, "image", path))
        out.append(
            Item(
                id=f"{which}-{k}",
                target=str(of(entry, "answer", path) if answer is None else answer).strip().lower(),
                pictures={"image": picture},
                texts={"question": str(of(entry, "question", path))},
                groups={"situation": str(entry["situation"])} if "situation" in entry else {},
                cluster=picture,
            )
        )
    return out


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
        read=partial(_read, which=which),
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
