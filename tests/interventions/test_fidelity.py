"""The fidelity gate: what passes is alike, tries are few where it is easy, and a text's tries are its own."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from muroan.data.easy_vqa import LEXICON, easy_vqa
from muroan.errors import AskedWrongly
from muroan.interventions.perturbations import Draws, of_kind
from muroan.interventions.perturbations.base import Perturbation
from muroan.interventions.perturbations.fidelity import Changed, Gate, Judge, open_judge
from muroan.modality import Text
from muroan.randomness import sample_keys

KNOWING = Text(lexicon=LEXICON)
WORDS = {p.name: p for p in of_kind("text") if p.family == "word"}
QUESTIONS = sorted(set(easy_vqa().audited.load(range(300)).batch.inputs["question"]))


def bag(texts: list[str]) -> torch.Tensor:
    """Codes by which words a text holds, the first words counting most: order and loss of words are noticed."""
    words = sorted({w for t in [*QUESTIONS, *texts] for w in t.split()})
    codes = torch.zeros(len(texts), 4096)
    for code, text in zip(codes, texts, strict=True):
        for k, word in enumerate(text.split()):
            code[sum(map(ord, word)) * 31 % 4096] += 1 / (1 + k)
    assert words
    return codes


def one_of(texts: list[str], level: float, draws: Draws, modality: Text, scale: float) -> list[str]:
    """A planted change: one time in `level` it is harmless, else it says something else."""
    u = draws.doubles("which")
    return [t + " !" if x < 1 / level else f"nonsense {int(1e6 * x)}" for t, x in zip(texts, u, strict=True)]


def first_word(texts: list[str]) -> list[list[float]]:
    """Alike are texts that begin with the same letter."""
    return [[1.0, 0.0] if t[:1] != "n" else [0.0, 1.0] for t in texts]


PLANTED = Perturbation("planted", "text", "word", one_of, (2.0, 4.0, 1e12), "here", gated=True)


def gate(p: Perturbation, texts: list[str], severity: int, of: Text, judge: Judge, **options: Any) -> Changed:
    return Gate(judge, **options)(p, texts, severity, keys(texts), of)


def keys(texts: list[str]) -> Any:
    return sample_keys(texts, "gate")


def test_what_passes_is_alike_and_takes_as_many_tries_as_chance_says() -> None:
    texts = [f"text {i}" for i in range(4000)]
    for severity, chance in ((1, 1 / 2), (2, 1 / 4)):
        found = gate(PLANTED, texts, severity, Text(), Judge(first_word))
        assert all(t.endswith("!") for t in found.values)
        assert (found.similarity == 1).all()
        # Tries until the first success are geometric.
        assert found.tries.double().mean() == pytest.approx(1 / chance, rel=0.06)
        assert (found.tries == 1).double().mean() == pytest.approx(chance, abs=0.03)


def test_after_the_last_try_a_text_is_accepted() -> None:
    texts = [f"text {i}" for i in range(5)]
    found = gate(PLANTED, texts, 3, Text(), Judge(first_word), tries=37)
    assert (found.tries == 37).all()
    assert (found.similarity == 0).all()
    assert all(t.startswith("nonsense") for t in found.values)
    assert found.values != PLANTED(texts, 3, Draws(keys(texts)), Text())  # the last drawn, not the first


def test_the_first_try_is_what_is_drawn_without_a_gate() -> None:
    for name, p in WORDS.items():
        found = gate(p, QUESTIONS, 3, KNOWING, Judge(bag))
        plain = p(QUESTIONS, 3, Draws(keys(QUESTIONS)), KNOWING)
        once = found.tries == 1
        assert once.any(), name
        assert [t for t, o in zip(found.values, once, strict=True) if o] == [
            t for t, o in zip(plain, once, strict=True) if o
        ]
        assert ((found.similarity >= 0.9) | (found.tries == 100)).all()


@pytest.mark.parametrize("name", WORDS)
def test_a_text_is_accepted_at_the_same_try_alone_and_in_any_batch(name: str) -> None:
    texts = QUESTIONS[:12]
    together = gate(WORDS[name], texts, 4, KNOWING, Judge(bag), tries=30)
    for i, text in enumerate(texts):
        alone = gate(WORDS[name], [text], 4, KNOWING, Judge(bag), tries=30)
        assert alone.values == [together.values[i]]
        assert alone.tries[0] == together.tries[i]
        assert alone.similarity[0] == together.similarity[i]


def test_a_gate_of_nothing_changes_nothing() -> None:
    p = WORDS["word_swap"]
    found = gate(p, QUESTIONS, 5, KNOWING, Judge(bag), alike=-1.0)
    assert found.values == p(QUESTIONS, 5, Draws(keys(QUESTIONS)), KNOWING)
    assert (found.tries == 1).all()


def test_a_text_that_cannot_be_changed_is_like_itself() -> None:
    found = gate(WORDS["word_swap"], ["yes", ""], 5, Text(), Judge(lambda t: 1 / 0))
    assert found.values == ["yes", ""]
    assert found.similarity.tolist() == [1.0, 1.0]


def test_the_judge_is_asked_once_for_each_text() -> None:
    asked: Counter[str] = Counter()
    calls = 0

    def counting(texts: list[str]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        asked.update(texts)
        return bag(texts)

    judge = Judge(counting)
    texts = QUESTIONS[:20]
    for severity in (1, 2, 3, 4, 5):
        gate(WORDS["word_delete"], texts, severity, KNOWING, judge)
    assert max(asked[t] for t in texts) == 1
    # Of a question of six words there are few shorter ones: a hundred tries of each are mostly asked already.
    assert asked.total() < 20 * 5 * 10
    assert calls < 5 * 30


def test_a_rewriter_has_one_answer_and_is_asked_for_it_once() -> None:
    calls = []

    def tool(texts: list[str]) -> list[str]:
        calls.append(len(texts))
        return ["nonsense" for _ in texts]

    p = next(p for p in of_kind("text") if p.name == "formal").having(tool)
    found = gate(p, ["text 1", "text 2"], 1, Text(), Judge(first_word))
    assert calls == [2]
    assert found.tries.tolist() == [1, 1]
    assert found.similarity.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "codes", [lambda t: torch.zeros(len(t)), lambda t: torch.zeros(1, 3), lambda t: np.full((len(t), 2), np.nan), str]
)
def test_a_judge_that_gives_no_codes_is_the_users_mistake(codes: Any) -> None:
    with pytest.raises(AskedWrongly, match="judge of meaning"):
        gate(PLANTED, ["a", "b"], 1, Text(), Judge(codes))


def test_a_judge_is_named_by_reference() -> None:
    assert open_judge(f"python:{__name__}:first_word")(["a"]) == [[1.0, 0.0]]
