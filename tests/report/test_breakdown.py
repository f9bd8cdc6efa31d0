"""The matrix of pillars, modalities and groups."""

from __future__ import annotations

import pytest

from muroan.auditing.result import ProbeResult, Result
from muroan.estimate import Estimate
from muroan.finding import Finding, Metric, Verdict
from muroan.report.breakdown import Column, breakdown


def test_measures_with_a_limit_come_first_and_apart(result: Result) -> None:
    found = breakdown(result)
    limited = {(r.probe, r.metric) for r in found.limited.rows}
    others = {(r.probe, r.metric) for r in found.others.rows}
    names = [(result.probes[i].name, metric) for i, metric in limited]
    assert ("robustness.decoupling", "success") in names
    assert not limited & others
    assert ("controllability.shapley", "image_share") in [(result.probes[i].name, m) for i, m in others]


def test_a_cell_holds_the_finding_of_its_place(result: Result) -> None:
    found = breakdown(result).limited
    row = next(
        r for r in found.rows if result.probes[r.probe].name == "robustness.decoupling" and r.modality == "question"
    )
    cell = row.cells[found.columns.index(Column("colour", "teal"))]
    finding = next(
        f for f in result.probes[0].findings if f.modality == "question" and f.group == "colour=teal" and f.estimate
    )
    assert cell is not None
    assert finding.estimate is not None
    assert cell.text.replace("\u202f", "") == f"{100 * finding.estimate.value:.1f}%"
    assert cell.sign == "!"  # beyond the limit that holds for the whole measure, without a verdict of its own
    whole = row.cells[0]
    assert whole is not None
    assert whole.sign == "?"
    assert result.probes[0].findings[2].verdict is Verdict.UNDECIDED


def test_darker_is_further_beyond_the_limit(result: Result) -> None:
    found = breakdown(result).limited
    row = next(
        r for r in found.rows if result.probes[r.probe].name == "robustness.decoupling" and r.modality == "image"
    )
    cells = [c for c, column in zip(row.cells, found.columns, strict=True) if c is not None and column.value]
    values = [float(c.text.replace("\u202f%", "")) for c in cells]
    assert values == sorted(values)  # the example's values rise from colour to colour
    levels = [c.level for c in cells]
    assert levels == sorted(levels)
    assert all((level > 0) == (value > 30) for level, value in zip(levels, values, strict=True))


def test_groups_stand_side_by_side(result: Result) -> None:
    found = breakdown(result).limited
    assert found.columns[0] == Column("", "")
    assert sum(n for _, n in found.groups) == len(found.columns)
    names = [g for g, _ in found.groups]
    assert len(names) == len(set(names))
    assert names[1:3] == ["colour", "shape"]  # the data's own order


def test_spans_cover_the_rows_of_a_measure(result: Result) -> None:
    for part in (breakdown(result).limited, breakdown(result).others):
        assert sum(r.span for r in part.rows) == len(part.rows)


@pytest.mark.parametrize(("better", "shown"), [("lower", "0.9000"), ("higher", "0.1000")])
def test_of_several_conditions_the_worst_is_shown(result: Result, better: str, shown: str) -> None:
    def finding(value: float) -> Finding:
        estimate = Estimate(value=value, low=value - 0.001, high=value + 0.001, n=9, method="known")
        return Finding(probe="p", metric="m", title="t", modality="image", condition=f"at {value}", estimate=estimate)

    metric = Metric.model_validate({"name": "m", "says": "s", "better": better, "unit": "number"})
    found = [finding(0.1), finding(0.9), finding(0.5)]
    probe = ProbeResult(name="p", question="q", place="robustness/adversarial", metrics=[metric], findings=found)
    (row,) = breakdown(result.model_copy(update={"probes": [probe]})).others.rows
    assert [c.text for c in row.cells if c] == [shown]
    assert "the worst of 3 conditions" in row.cells[0].tip  # type: ignore[union-attr]
