"""The findings document itself: what it takes, what it counts."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import ValidationError

from muroan.auditing.result import Cost, ProbeResult, Result, count
from muroan.finding import Verdict


class Way(StrEnum):
    FAST = "fast"


def probe(**rest: object) -> ProbeResult:
    return ProbeResult.model_validate({"name": "p", "question": "q", "place": "robustness/adversarial", **rest})


def test_settings_become_what_json_has() -> None:
    found = probe(
        settings={"grid": (4, 4), "way": Way.FAST, "names": {"b", "a"}, "path": Path("x"), "deep": {"t": (1, None)}}
    )
    assert found.settings == {"grid": [4, 4], "way": "fast", "names": ["a", "b"], "path": "x", "deep": {"t": [1, None]}}
    assert ProbeResult.model_validate_json(found.model_dump_json()) == found


def test_nothing_unknown_is_taken() -> None:
    with pytest.raises(ValidationError, match="verdct"):
        probe(verdct="pass")


def test_it_cannot_be_changed(result: Result) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        result.seed = 3  # type: ignore[misc]


def test_headlines_are_counted_and_details_are_not(result: Result) -> None:
    counts = count(result.probes)
    assert counts == result.summary.verdicts
    judged = [f for f in result.findings if f.judged]
    assert counts[Verdict.FAIL] == sum(f.verdict is Verdict.FAIL for f in judged)
    assert counts[Verdict.MEASURED] < sum(f.verdict is Verdict.MEASURED for f in result.findings)


def test_a_question_without_an_answer_counts_once() -> None:
    counts = count([probe(status="not applicable", reason="r"), probe(status="not completed", reason="r"), probe()])
    assert counts[Verdict.NOT_APPLICABLE] == counts[Verdict.NOT_COMPLETED] == 1
    assert sum(counts.values()) == 2


def test_overhead_is_a_share_of_the_models_time() -> None:
    assert Cost(model_seconds=10, seconds=11).overhead == pytest.approx(0.1)
    assert Cost(seconds=1).overhead is None
    assert math.isfinite(Cost(model_seconds=1e-9, seconds=1).overhead or 0.0)
