"""easy-VQA: real third-party visual question answering data that ships in a Python package.

4,000 + 1,000 pictures of 64×64 with one coloured shape each, 38,575 + 9,673 questions, 13 answers (package
`easy-vqa` 1.0, MIT licence). The audited split is the package's test split. Of its training split, 3,600
pictures train the shipped model ("members"), 400 are held out as the reference.

Groups: the kind of question, and the colour and shape of the picture's shape, read off the answers to that
picture's questions. Samples of one picture are dependent, so the cluster is the picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from muroan.batch import Schema
from muroan.dataset import Dataset, Sample, Splits
from muroan.errors import BadSample, CannotComplete
from muroan.modality import Image, Text
from muroan.randomness import choose

HELD_OUT = 400
"""Pictures of the training split that the shipped model never saw."""
MEAN_COLOUR = (0.904, 0.905, 0.896)
"""Mean over the pictures that train the shipped model: what an erased pixel looks like."""

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
KINDS = ("what shape", "what colour", "is there", "is there not")

LEXICON = (
    ("color", ("colour", "hue")),
    ("contain", ("show", "include")),
    ("image", ("picture", "photo")),
    ("present", ("visible", "shown")),
    ("shape", ("object", "figure")),
    ("gray", ("grey",)),
)
"""Words that a reader takes for the same thing; the shipped model knows only the first of each row."""


@cache
def _root() -> Path:
    spec = find_spec("easy_vqa")
    if spec is None or not spec.submodule_search_locations:
        raise CannotComplete("the easy-VQA data are missing: pip install easy-vqa==1.0")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


@cache
def _answers() -> tuple[str, ...]:
    return tuple(sorted(line.strip() for line in (_root() / "answers.txt").read_text().splitlines() if line))


@cache
def _questions(split: str) -> list[tuple[str, str, int]]:
    raw = json.loads((_root() / split / "questions.json").read_text())
    return [(q, a, int(i)) for q, a, i in raw]


def question_kind(question: str) -> str:
    """One of `KINDS`."""
    if question.startswith("what"):
        return "what colour" if "color" in question else "what shape"
    return "is there not" if re.search(r"\b(not|no)\b", question) else "is there"


def what_is_asked(question: str) -> str:
    """Equal for questions that ask the same of a picture: "what colour", "is there red", "is there not circle", ...

    A picture has one shape, so whoever asks for the colour of the circle asks for that of the shape.
    """
    kind = question_kind(question)
    if kind.startswith("what"):
        return kind
    words = set(re.findall(r"\w+", question))
    return " ".join([kind, *(w for w in SHAPES + COLOURS if w in words)])


@cache
def _facts(split: str) -> dict[int, tuple[str, str]]:
    """Picture -> (shape, colour), "" where no question of the picture tells."""
    facts: dict[int, dict[tuple[str, ...], str]] = {image: {} for _, _, image in _questions(split)}
    for question, answer, image in _questions(split):
        words = set(re.findall(r"\w+", question))
        holds = answer == ("no" if question_kind(question) == "is there not" else "yes")
        for kind in (SHAPES, COLOURS):
            if answer in kind:
                facts[image][kind] = answer
            if answer not in ("yes", "no") or holds:  # the question itself names what is there
                for word in words & set(kind):
                    facts[image].setdefault(kind, word)
    return {image: (told.get(SHAPES, ""), told.get(COLOURS, "")) for image, told in facts.items()}


class EasyVQA(Dataset):
    """Questions about pictures of one of the package's splits ("train" or "test").

    images: which pictures, all if None. Samples are in the order of the pictures.
    """

    def __init__(self, split: str, images: Sequence[int] | None = None, name: str = "easy-vqa") -> None:
        self.name = name
        self._split = split
        wanted = None if images is None else set(images)
        numbered = [(n, q) for n, q in enumerate(_questions(split)) if wanted is None or q[2] in wanted]
        numbered.sort(key=lambda row: (row[1][2], row[0]))
        self._rows = [q for _, q in numbered]
        self.ids = [f"{split}-{q[2]}-{n}" for n, q in numbered]
        self.schema = Schema(
            modalities={"image": Image(size=(64, 64), fill=MEAN_COLOUR), "question": Text(lexicon=LEXICON)},
            classes=_answers(),
            groups={"kind": KINDS, "colour": COLOURS, "shape": SHAPES},
            cluster="image",
        )

    def sample(self, i: int) -> Sample:
        question, answer, image = self._rows[i]
        shape, colour = _facts(self._split)[image]
        return Sample(
            inputs={"image": self.picture(image), "question": question},
            target=answer,
            groups={"kind": question_kind(question), "colour": colour, "shape": shape},
            cluster=f"{self._split}-{image}",
            keys={"image": image, "question": _question_numbers()[question]},
        )

    def clusters(self) -> list[str]:
        return [f"{self._split}-{image}" for _, _, image in self._rows]

    def picture(self, image: int) -> Any:
        """One picture as its file has it."""
        return _picture(self._split, image)


@cache
def _question_numbers() -> dict[str, int]:
    known = sorted({q for s in ("train", "test") for q, _, _ in _questions(s)})
    return {q: n for n, q in enumerate(known)}


@cache
def _picture(split: str, image: int) -> Any:
    from PIL import Image as Pictures

    path = _root() / split / "images" / f"{image}.png"
    try:
        with Pictures.open(path) as picture:
            return picture.convert("RGB")
    except FileNotFoundError as error:
        raise BadSample(f"{path.name} is missing") from error
    except OSError as error:
        raise BadSample(f"{path.name} is not a readable picture: {error}") from error


def held_out_images() -> list[int]:
    """The training pictures that are the reference: not used in training."""
    images = sorted({i for _, _, i in _questions("train")})
    return [images[p] for p in choose([str(i) for i in images], HELD_OUT, "easy-vqa held out")]


def easy_vqa() -> Splits:
    """Audited: the test split; reference: 400 held-out training pictures; members: 3,600 training pictures."""
    held = set(held_out_images())
    trained = sorted({i for _, _, i in _questions("train")} - held)
    return Splits(
        audited=EasyVQA("test"),
        reference=EasyVQA("train", sorted(held), "easy-vqa (reference)"),
        members=EasyVQA("train", trained, "easy-vqa (members)"),
    )
