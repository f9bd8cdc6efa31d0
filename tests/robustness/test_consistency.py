"""The same question in several wordings: scores, groups, findings, and the planted fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from muroan import BlackBox, Tabular, Text, checks
from muroan.auditing.observe import observe_all
from muroan.checks.alarms import findings
from muroan.data.easy_vqa import what_is_asked
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.finding import Conclusion, Finding, Verdict
from muroan.registry import organism
from muroan.robustness.distribution_shift.consistency.probe import Consistency
from muroan.robustness.distribution_shift.consistency.scores import consensus, disagreement, flips


def test_consensus_is_the_share_of_subsets_that_are_all_right() -> None:
    for n in range(1, 7):
        for m in range(n + 1):
            right = [True] * m + [False] * (n - m)
            for k in range(1, n + 1):
                listed = [all(s) for s in combinations(right, k)]
                found = float(consensus([m], [n], k)[0])
                assert found == pytest.approx(np.mean(listed))
                assert found == pytest.approx(math.comb(m, k) / math.comb(n, k))


def test_consensus_never_rises_with_k_and_starts_at_accuracy() -> None:
    n = np.arange(1, 200)
    m = (n * 0.7).astype(int)
    assert consensus(m, n, 1) == pytest.approx(m / n)
    table = np.stack([consensus(m, n, k) for k in range(1, 30)])
    assert not (np.diff(table, axis=0) > 0).any()  # NaN where a group is too small
    assert np.isnan(table[4, :4]).all()
    assert not np.isnan(table[4, 4:]).any()
    assert consensus([200], [200], 150).tolist() == [1.0]


def test_disagreement_is_that_of_pairs() -> None:
    answers = [0, 0, 1, 2, 2, 2]
    counts = np.bincount(answers, minlength=4)[None]
    assert disagreement(counts)[0] == pytest.approx(np.mean([a != b for a, b in combinations(answers, 2)]))
    assert disagreement([[5, 0], [1, 1]]).tolist() == [0.0, 1.0]


def test_flips_are_counted_among_those_right_or_wrong_before() -> None:
    found = flips([0, 0, 0, 1, 1, 2], [0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0])
    assert found.shares == pytest.approx(
        {"right to wrong": 2 / 3, "wrong to right": 1 / 3, "wrong to another wrong": 1 / 3}
    )
    edited = flips([0, 0], [1, 0], [0, 0], [1, 1])  # what is right changes with the edit
    assert edited.shares["right to wrong"] == 0.5
    assert math.isnan(flips([0], [0], [0]).shares["wrong to right"])


@pytest.mark.parametrize(
    "bad", [lambda: consensus([3], [2], 1), lambda: consensus([1], [2], 0), lambda: flips([0], [0, 1], [0])]
)
def test_what_cannot_be_is_refused(bad: Callable[[], Any]) -> None:
    with pytest.raises(AskedWrongly):
        bad()


def world(answers: Sequence[tuple[int, str, int, int]], **more: Any) -> tuple[BlackBox, Splits]:
    """(row of the table, text, right answer, the model's answer) a sample; the model is looked up."""
    told = {(float(row), text): said for row, text, _, said in answers}
    data = InMemory(
        {"table": np.array([[float(r)] for r, *_ in answers], dtype=np.float32), "text": [t for _, t, _, _ in answers]},
        targets=[right for *_, right, _ in answers],
        modalities={"table": Tabular(columns=("a",)), "text": Text()},
        classes=["no", "yes", "perhaps"],
        **more,
    )

    def predict(inputs: Any) -> np.ndarray:
        keys = zip(inputs["table"][:, 0].tolist(), inputs["text"], strict=True)
        return np.eye(3)[[told.get(k, 0) for k in keys]]

    return BlackBox(predict, modalities=("table", "text"), classes=("no", "yes", "perhaps")), Splits(data)


def concluded(probe: Consistency, model: BlackBox, splits: Splits) -> Conclusion:
    return probe.conclude(observe_all([probe], model, splits)[0][probe.name])


def by_key(found: Conclusion | Sequence[Finding]) -> dict[str, float]:
    all_of = found.findings if isinstance(found, Conclusion) else found
    return {f.key.partition("/")[2]: f.estimate.value for f in all_of if f.estimate}


FIVE = [
    (1, "is it red", 1, 1),
    (1, "red, is it", 1, 1),
    (1, "would you call it red", 1, 2),
    (2, "is it red", 0, 0),
    (2, "red, is it", 0, 0),
    (3, "is it red", 1, 0),
]


def test_groups_share_all_inputs_but_the_text_and_the_right_answer() -> None:
    found = concluded(Consistency(), *world(FIVE))
    values = by_key(found)
    assert values["disagreement"] == pytest.approx((2 / 3 + 0) / 2)
    assert values["contradiction"] == 0.5
    assert values["consensus[condition=1 wordings]"] == pytest.approx((2 / 3 + 1) / 2)
    assert values["consensus[condition=2 wordings]"] == pytest.approx((1 / 3 + 1) / 2)
    assert values["consensus_gap"] == pytest.approx((2 / 3 - 1 / 3 + 0) / 2)
    assert found.findings[0].estimate is not None
    assert found.findings[0].estimate.n == 2
    assert "2 groups" in found.notes[0]
    assert "1 samples have no other wording" in found.notes[0]


def test_a_text_that_stands_there_twice_is_one_wording() -> None:
    rows = [*FIVE, (1, "is it red", 1, 1)]
    found = concluded(Consistency(), *world(rows))
    assert by_key(found) == by_key(concluded(Consistency(), *world(FIVE)))
    assert "1 repeat one word for word" in found.notes[0]


def test_without_two_wordings_it_says_so() -> None:
    found = concluded(Consistency(), *world([FIVE[0], FIVE[3], FIVE[5]])).findings
    assert [f.verdict for f in found] == [Verdict.NOT_APPLICABLE]
    assert "name the column" in found[0].reason


def test_groups_that_the_data_name() -> None:
    column = ["q1", "q1", "q2", "q2", "q2", ""]
    model, splits = world(FIVE, groups={"asks": column, "form": ["first", "edit", "edit", "first", "edit", "first"]})
    found = concluded(Consistency(same="asks", original=("form", "first")), model, splits)
    values = by_key(found)
    # q1: both right. q2 holds two right answers: one wording of "yes" (alone), two of "no", both right.
    assert (values["disagreement"], values["consensus[condition=2 wordings]"]) == (0, 1)
    assert values["flips[condition=right to wrong]"] == 0
    assert any("different right answers" in n for n in found.notes)
    with pytest.raises(AskedWrongly, match="asks"):
        Consistency(same="ask").applies(model, splits.audited.schema)


def test_flips_from_an_original() -> None:
    rows = [(1, f"text {k}", 1, said) for k, said in enumerate((1, 1, 0, 2))]
    rows += [(2, f"text {k}", 1, said) for k, said in enumerate((0, 0, 1, 2))]
    forms = ["first", "edit", "edit", "edit"] * 2
    found = by_key(concluded(Consistency(original=("form", "first")), *world(rows, groups={"form": forms})))
    assert found["flips[condition=right to wrong]"] == pytest.approx(2 / 3)
    assert found["flips[condition=wrong to right]"] == pytest.approx(1 / 3)
    assert found["flips[condition=wrong to another wrong]"] == pytest.approx(1 / 3)


def content(text: str) -> str:
    """What a text of these tests asks."""
    return text.split()[-1]


def test_a_function_says_what_a_text_asks() -> None:
    rows = [(1, "is it red", 1, 1), (1, "surely it is red", 1, 0), (1, "is it round", 1, 1), (1, "it is round", 1, 1)]
    mixed = by_key(concluded(Consistency(), *world(rows)))
    told = by_key(concluded(Consistency(same=f"python:{__name__}:content"), *world(rows)))
    assert mixed["contradiction"] == 1
    assert told["contradiction"] == 0.5


def test_a_sample_without_its_text_or_its_table_is_in_no_group() -> None:
    rows = [*FIVE[:3], (0, "is it red", 1, 1), (0, "red, is it", 1, 1)]
    model, splits = world(rows)
    whole = splits.audited.load(range(5)).batch
    assert whole is not None
    from muroan.clean import Clean
    from muroan.meter import Meter, Metered

    gone = whole.without("table")
    metered = Metered(model, whole.modalities)
    frame = Consistency().observe(Clean.observe(metered, gone)).rows
    assert set(frame["same"]) == {""}
    assert isinstance(metered.meter, Meter)


def test_groups_of_a_cluster_tell_less() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for picture in range(60):
        bad = rng.random() < 0.3
        rows += [(picture, f"{t} {k}", k, 2 if bad and t == "b" else k) for k in (0, 1) for t in ("a", "b")]
    clusters = [str(r[0]) for r in rows]
    found = concluded(Consistency(), *world(rows, clusters=clusters)).findings[0].estimate
    assert found is not None
    assert (found.n, found.clusters) == (120, 60)


def test_the_planted_fault_is_found_and_its_twin_is_not_blamed() -> None:
    planted, probe = organism("robustness.brittle-to-rephrasing"), Consistency()
    verdicts = {}
    for dose in (0.0, planted.matters):
        found = findings(probe, *planted.world(dose, 0))
        verdicts[dose] = next(f for f in found if f.metric == "disagreement").verdict
    assert verdicts == {0.0: Verdict.PASS, planted.matters: Verdict.FAIL}


def test_errors_that_do_not_depend_on_the_wording_do_not_alarm() -> None:
    rows = [(q, f"wording {k}", 1, 1 if q % 2 else 0) for q in range(60) for k in range(3)]
    values = by_key(concluded(Consistency(), *world(rows)))
    assert values["consensus[condition=1 wordings]"] == 0.5
    assert (values["disagreement"], values["consensus_gap"]) == (0, 0)


def test_questions_about_a_picture_that_ask_the_same() -> None:
    same = ["is there a red shape?", "does the image contain a red shape?", "is a red shape present?"]
    assert len({what_is_asked(q) for q in same}) == 1
    assert what_is_asked("is no red shape present?") == what_is_asked("is there not a red shape in the image?")
    assert what_is_asked("is there not a red shape?") != what_is_asked(same[0])
    assert what_is_asked("what color is the circle?") == what_is_asked("what is the color of the shape?")
    assert what_is_asked("is there a circle?") != what_is_asked("is there a triangle?")


@pytest.mark.parametrize("settings", [{"largest": 1}, {"original": ("form",)}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(AskedWrongly):
        Consistency(**settings)


PROMISES = [
    *checks.of(Consistency()),
    *checks.of(Consistency(same="cluster")),
    *checks.of(organism("robustness.brittle-to-rephrasing")),
]


@pytest.mark.parametrize("check", PROMISES, ids=lambda c: getattr(c, "__name__", str(c)))
def test_promises(check: Callable[[], None]) -> None:
    torch.manual_seed(0)
    check()
