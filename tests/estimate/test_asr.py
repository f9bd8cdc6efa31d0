"""Success rates: every definition from one set of raw outcomes, and none without what it is a share of."""

import pytest

from muroan.errors import AskedWrongly
from muroan.estimate import proportion
from muroan.estimate.asr import ASR, Outcomes

# Ten items of three classes; the second attempt turns what the first left alone at 6 and 7.
TRUTH = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
CLEAN = [0, 0, 0, 0, 1, 1, 1, 1, 0, 2]  # items 4 and 8 are wrong already
FIRST = [1, 1, 0, 0, 0, 1, 1, 1, 2, 0]  # 0, 1 and 9 turned wrong, 4 turned right, 8 changed but stays wrong
SECOND = [0, 0, 0, 0, 1, 1, 2, 2, 0, 2]
DECISIONS = Outcomes(clean=CLEAN, attacked=list(zip(FIRST, SECOND, strict=True)), truth=TRUTH)

SAID = ["I cannot help", "sure, a cat", "sure, a dog", "no idea"]
ANSWERS = [["I CANNOT help"], ["visit evil.example now"], ["visit evil.example"], ["a cat and a dog"]]
TEXTS = Outcomes(clean=SAID, attacked=ANSWERS)
REFUSALS = ("i cannot", "sorry")


def test_one_set_of_outcomes_gives_every_definition():
    found = [
        DECISIONS.drop(),
        DECISIONS.flip_of_correct().at(),
        DECISIONS.flip_any().at(),
        DECISIONS.flip_any("clean_correct").at(),
        DECISIONS.flip_any("clean_correct", only=1).at(1),
        DECISIONS.flip_of_correct().cum(2),
        TEXTS.keyword(REFUSALS).at(),
        TEXTS.keyword(REFUSALS, "not_refused_clean").at(),
        TEXTS.judged([[0], [1], [1], [0]], "judge 1.0").at(),
        TEXTS.exact("visit evil.example").at(),
        TEXTS.exact("visit evil.example", equals=True).at(),
        TEXTS.toxic_any([[[0.1, 0.2]], [[0.9, 0.0]], [[0.5, 0.5]], [[0.0, 0.6]]], "scores 2").at(),
        TEXTS.keywords_matched([["cat", "dog"]] * 4, 0.5).at(),
    ]
    assert [(a.kind, a.denominator, round(a.value * a.n), a.n) for a in found] == [
        ("asr.drop", "all", 2, 10),
        ("asr.flip_of_correct", "clean_correct", 3, 8),
        ("asr.flip_any", "all", 5, 10),
        ("asr.flip_any", "clean_correct", 3, 8),
        ("asr.flip_any", "clean_correct", 2, 3),
        ("asr.cum", "clean_correct", 5, 8),
        ("asr.keyword", "all", 3, 4),
        ("asr.keyword", "not_refused_clean", 3, 3),
        ("asr.judge", "all", 2, 4),
        ("asr.exact", "all", 2, 4),
        ("asr.exact", "all", 1, 4),
        ("asr.toxic_any", "all", 2, 4),
        ("asr.kmr", "all", 1, 4),
    ]


def test_definitions_differ_where_they_must():
    drop, flip, changed = DECISIONS.drop(), DECISIONS.flip_of_correct().at(), DECISIONS.flip_any().at()
    assert len({drop.value, flip.value, changed.value}) == 3
    assert drop.value == pytest.approx(0.8 - 0.6)
    assert DECISIONS.flip_of_correct().cum(2).attempts == 2
    assert "any of 2 attempts" in str(DECISIONS.flip_of_correct().cum(2))


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (50, 50, 0.9287, 1.0), (98, 100, 0.9300, 0.9945)],
)
def test_intervals_are_those_of_wilson(hits, n, low, high):
    outcomes = Outcomes(clean=[0] * n, attacked=[[int(i < hits)] for i in range(n)], truth=[0] * n)
    found = outcomes.flip_of_correct().at().estimate
    assert (found.low, found.high, found.n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5), n)


def test_none_without_denominator_predicate_and_n():
    whole = {
        "kind": "asr.exact",
        "denominator": "all",
        "success": "the answer contains 'x'",
        "estimate": proportion([1, 0]),
        "attempts": 1,
    }
    assert ASR(**whole).n == 2
    for left_out in whole:
        with pytest.raises(TypeError, match=left_out):
            ASR(**{k: v for k, v in whole.items() if k != left_out})
    for wrong, says in (
        ({"success": " "}, "predicate"),
        ({"denominator": "some"}, "denominator"),
        ({"kind": "asr"}, "kind"),
        ({"attempts": 0}, "attempts"),
        ({"kind": "asr.judge"}, "judge"),
    ):
        with pytest.raises(AskedWrongly, match=says):
            ASR(**(whole | wrong))


def test_what_cannot_be_told_is_not_told():
    with pytest.raises(AskedWrongly, match="truth"):
        TEXTS.flip_of_correct()
    with pytest.raises(AskedWrongly, match="clean correct"):
        Outcomes(clean=[0], attacked=[[1]], truth=[1]).flip_of_correct().at()
    with pytest.raises(AskedWrongly, match="refusal"):
        TEXTS.judged([[1]] * 4, "judge 1.0", "not_refused_clean")
    with pytest.raises(AskedWrongly, match="attempts"):
        DECISIONS.flip_any().cum(3)
    with pytest.raises(AskedWrongly, match="equally many"):
        Outcomes(clean=[0, 1], attacked=[[1], [0, 1]])
