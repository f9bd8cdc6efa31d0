"""Benchmarks in the format of VQA: a file of questions, a file of annotations, pictures of COCO.

The label is the annotators' most frequent answer (`multiple_choice_answer`); the score is exact match with it, not
VQA's agreement with ten annotators, which a single label cannot give.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json
from muroan.errors import AskedWrongly


def _entries(raw: Any, key: str) -> list[dict[str, Any]]:
    """The list of a file, which is the file itself in VQA-CP."""
    entries: list[dict[str, Any]] = raw.get(key, []) if isinstance(raw, dict) else raw
    return entries


def _read(asked: Asked, questions: str, annotations: str, part: str | None = "val2014") -> Iterator[Item]:
    """part: of COCO; None: the annotations say it of each question. SPLIT in a file's name is the split's."""
    questions, annotations = (name.replace("SPLIT", asked.split) for name in (questions, annotations))
    path = asked.file(questions, f"questions/{questions}")
    said = asked.file(annotations, f"annotations/{annotations}")
    answers = [Entry(raw, said) for raw in _entries(read_json(said), "annotations")]
    known = {a.text("question_id"): a for a in answers}
    for q in (Entry(raw, path) for raw in _entries(read_json(path), "questions")):
        name = q.text("question_id")
        if name not in known:
            raise AskedWrongly(f"{said} has no annotation of question {name}, which {path.name} has")
        answer, number = known[name], int(q["image_id"])
        split = part or str(q.get("coco_split") or answer["coco_split"])
        file = f"COCO_{split}_{number:012d}.jpg"
        groups = {"answer_type": str(answer["answer_type"])} if "answer_type" in answer else {}
        if "rephrasing_of" in q:
            groups["wording"] = "original" if q.text("rephrasing_of") == name else "rephrased"
        yield Item(
            name,
            answer.text("multiple_choice_answer"),
            pictures={"image": (f"{split}/{file}", f"images/{split}/{file}", file)},
            texts={"question": q.text("question")},
            groups=groups,
            cluster=f"image-{number}",
        )


def _rephrasings(asked: Asked) -> Iterator[Item]:
    """The files are found by what they hold, since copies name them differently."""
    files = sorted(p.name for p in asked.folder.path.glob("*.json"))
    questions, annotations = ([f for f in files if what in f.lower()] for what in ("question", "annotation"))
    if len(questions) != 1 or len(annotations) != 1:
        raise AskedWrongly(
            f"vqa-rephrasings: {asked.folder.path} has to hold one *questions*.json and one *annotations*.json, it has "
            f"{len(questions)} and {len(annotations)}. {asked.benchmark.wanted()}"
        )
    for item in _read(asked, questions[0], annotations[0]):
        if "wording" not in item.groups:
            raise AskedWrongly(f"vqa-rephrasings: question {item.id} does not say what it rephrases (rephrasing_of)")
        yield item


_benchmark = partial(
    Benchmark, licence="the terms of use on visualqa.org; pictures are COCO's", texts=("question",), cluster="image"
)
VQA = _benchmark(
    name="vqa-v2",
    says="What is the answer to a question about a photograph?",
    source="Goyal et al., CVPR 2017 (arXiv 1612.00837)",
    home="visualqa.org/download.html: validation questions and annotations v2.0, and COCO's val2014 pictures",
    layout="v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, val2014/COCO_val2014_*.jpg",
    counts={"val": 214_354},
    counted="visualqa.org/download.html",
    read=partial(
        _read, questions="v2_OpenEnded_mscoco_val2014_questions.json", annotations="v2_mscoco_val2014_annotations.json"
    ),
)
REPHRASINGS = _benchmark(
    name="vqa-rephrasings",
    says="Is the answer the same however a question is put? Three human rephrasings of each.",
    source="Shah et al., CVPR 2019 (arXiv 1902.05660)",
    home="facebookresearch.github.io/VQA-Rephrasings: questions and annotations; COCO's val2014 pictures",
    layout="one *questions*.json (each with rephrasing_of), one *annotations*.json, val2014/COCO_val2014_*.jpg",
    counts={"val": None},
    counted="the paper says 3 rephrasings of about 40,000 questions; the exact number is not checked",
    read=_rephrasings,
)
VQA_CP = _benchmark(
    name="vqa-cp-v2",
    says="What is left where answers are distributed otherwise than in training?",
    source="Agrawal et al., CVPR 2018 (arXiv 1712.00377)",
    home="the authors' page of VQA-CP: questions and annotations v2; COCO's train2014 and val2014 pictures",
    layout="vqacp_v2_SPLIT_questions.json, vqacp_v2_SPLIT_annotations.json, train2014/ and val2014/ of COCO",
    counts={"test": None, "train": None},
    counted="not checked",
    read=partial(
        _read, questions="vqacp_v2_SPLIT_questions.json", annotations="vqacp_v2_SPLIT_annotations.json", part=None
    ),
)
