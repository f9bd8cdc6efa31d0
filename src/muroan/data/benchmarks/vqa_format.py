"""Benchmarks in the format of VQA: a file of questions, a file of annotations, pictures of COCO.

The label is the annotators' most frequent answer (`multiple_choice_answer`); the score is exact match with it, not
VQA's agreement with ten annotators, which a single label cannot give.
"""

from __future__ import annotations

from typing import Any

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import of, read_json
from muroan.errors import AskedWrongly

LICENCE = "the terms of use on visualqa.org; pictures are COCO's"


def _entries(found: Any, key: str) -> list[dict[str, Any]]:
    """The list of a file, which is the file itself in VQA-CP."""
    entries: list[dict[str, Any]] = found.get(key, []) if isinstance(found, dict) else found
    return entries


def _picture(part: str, number: int) -> tuple[str, ...]:
    name = f"COCO_{part}_{int(number):012d}.jpg"
    return f"{part}/{name}", f"images/{part}/{name}", name


def _items(benchmark: Benchmark, asked: Asked, questions: str, annotations: str, part: str | None) -> list[Item]:
    path = benchmark.file(asked, questions, f"questions/{questions}")
    said = benchmark.file(asked, annotations, f"annotations/{annotations}")
    known = {str(of(a, "question_id", said)): a for a in _entries(read_json(said), "annotations")}
    out = []
    for q in _entries(read_json(path), "questions"):
        name = str(of(q, "question_id", path))
        if name not in known:
            raise AskedWrongly(f"{said} has no annotation of question {name}, which {path.name} has")
        answer, number = known[name], int(of(q, "image_id", path))
        split = part or str(q.get("coco_split") or of(answer, "coco_split", said))
        groups = {"answer_type": str(answer["answer_type"])} if "answer_type" in answer else {}
        if "rephrasing_of" in q:
            groups["wording"] = "original" if str(q["rephrasing_of"]) == name else "rephrased"
        out.append(
            Item(
                id=name,
                target=str(of(answer, "multiple_choice_answer", said)),
                pictures={"image": _picture(split, number)},
                texts={"question": str(of(q, "question", path))},
                groups=groups,
                cluster=f"image-{number}",
            )
        )
    return out


def _vqa(asked: Asked) -> list[Item]:
    named = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
    return _items(VQA, asked, *named, "val2014")


def _cp(asked: Asked) -> list[Item]:
    named = (f"vqacp_v2_{asked.split}_questions.json", f"vqacp_v2_{asked.split}_annotations.json")
    return _items(VQA_CP, asked, *named, None)


def _rephrasings(asked: Asked) -> list[Item]:
    """The files are found by what they hold, since copies name them differently."""
    files = sorted(p for p in asked.folder.path.glob("*.json"))
    questions = [p.name for p in files if "question" in p.name.lower()]
    annotations = [p.name for p in files if "annotation" in p.name.lower()]
    if len(questions) != 1 or len(annotations) != 1:
        raise AskedWrongly(
            f"vqa-rephrasings: {asked.folder.path} has to hold one *questions*.json and one *annotations*.json, it has "
            f"{len(questions)} and {len(annotations)}. {REPHRASINGS.wanted()}"
        )
    items = _items(REPHRASINGS, asked, questions[0], annotations[0], "val2014")
    lacking = [i.id for i in items if "wording" not in i.groups]
    if lacking:
        raise AskedWrongly(f"vqa-rephrasings: question {lacking[0]} does not say what it rephrases (rephrasing_of)")
    return items


VQA = Benchmark(
    name="vqa-v2",
    says="What is the answer to a question about a photograph?",
    source="Goyal et al., CVPR 2017 (arXiv 1612.00837)",
    home="visualqa.org/download.html: validation questions and annotations v2.0, and COCO's val2014 pictures",
    licence=LICENCE,
    layout="v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, val2014/COCO_val2014_*.jpg",
    counts={"val": 214_354},
    counted="visualqa.org/download.html",
    read=_vqa,
    texts=("question",),
    cluster="image",
)
REPHRASINGS = Benchmark(
    name="vqa-rephrasings",
    says="Is the answer the same however a question is put? Three human rephrasings of each.",
    source="Shah et al., CVPR 2019 (arXiv 1902.05660)",
    home="facebookresearch.github.io/VQA-Rephrasings: questions and annotations; COCO's val2014 pictures",
    licence=LICENCE,
    layout="one *questions*.json (each with rephrasing_of), one *annotations*.json, val2014/COCO_val2014_*.jpg",
    counts={"val": None},
    counted="the paper says 3 rephrasings of about 40,000 questions; the exact number is not checked",
    read=_rephrasings,
    texts=("question",),
    cluster="image",
)
VQA_CP = Benchmark(
    name="vqa-cp-v2",
    says="What is left where answers are distributed otherwise than in training?",
    source="Agrawal et al., CVPR 2018 (arXiv 1712.00377)",
    home="the authors' page of VQA-CP: questions and annotations v2; COCO's train2014 and val2014 pictures",
    licence=LICENCE,
    layout="vqacp_v2_SPLIT_questions.json, vqacp_v2_SPLIT_annotations.json, train2014/ and val2014/ of COCO",
    counts={"test": None, "train": None},
    counted="not checked",
    read=_cp,
    texts=("question",),
    cluster="image",
)
