"""Gates: limits from a file, on names and patterns; what is wrong with a file is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from muroan import Metric, registry
from muroan.auditing.gate import Gate, read_gate
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, proportion
from muroan.finding import Finding, Limit, Verdict, judge

METRICS = {
    "p.q/harm": Metric(name="harm", says="A share of harm; 0 is none, 1 is all.", limit=0.5),
    "p.q/good": Metric(name="good", says="A share of good; 1 is all.", better="higher"),
}


def finding(metric: str, low: float, high: float, **named) -> Finding:
    estimate = Estimate(value=(low + high) / 2, low=low, high=high, n=100, method="test")
    return Finding(probe="p.q", metric=metric, title="t", estimate=estimate, **named)


def verdict(found: Finding, gate: Gate) -> tuple[Verdict, Limit | None]:
    judged = judge(gate.apply([found], METRICS))[0]
    return judged.verdict, judged.limit


def test_default_limit_holds_where_the_gate_is_silent():
    assert verdict(finding("harm", 0.6, 0.9), Gate())[0] is Verdict.FAIL
    assert verdict(finding("harm", 0.1, 0.4), Gate())[0] is Verdict.PASS
    assert verdict(finding("harm", 0.4, 0.6), Gate())[0] is Verdict.UNDECIDED
    assert verdict(finding("good", 0.4, 0.6), Gate())[0] is Verdict.MEASURED
    assert verdict(finding("harm", 0.6, 0.9), Gate(defaults="ignore"))[0] is Verdict.MEASURED


def test_a_number_is_read_on_the_side_that_the_metric_implies():
    gate = Gate(limits={"p.q/good": 0.9, "p.q/harm": 0.95})
    assert verdict(finding("good", 0.4, 0.6), gate) == (Verdict.FAIL, Limit(min=0.9, source="gate"))
    assert verdict(finding("harm", 0.6, 0.9), gate) == (Verdict.PASS, Limit(max=0.95, source="gate"))


def test_details_are_named_by_pattern_and_left_alone_otherwise():
    detail = finding("harm", 0.6, 0.9, group="colour=red", judged=False)
    assert verdict(detail, Gate(limits={"p.q/harm": 0.1}))[0] is Verdict.MEASURED
    assert verdict(detail, Gate(limits={"p.q/harm[group=colour=*]": 0.1}))[0] is Verdict.FAIL
    assert verdict(detail, Gate(limits={"p.q/harm[group=size=*]": 0.1}))[0] is Verdict.MEASURED


def test_none_takes_a_default_limit_away():
    assert verdict(finding("harm", 0.6, 0.9), Gate(limits={"p.q/harm": None}))[0] is Verdict.MEASURED
    assert verdict(finding("harm", 0.6, 0.9), Gate(limits={"p.q/harm": "none"}))[0] is Verdict.MEASURED


def test_many_verdicts_control_the_false_discovery_rate():
    """One p-value of 0.04 decides alone, but not among forty others that say nothing."""
    close = finding("harm", 0.502, 0.7)
    assert judge(Gate().apply([close], METRICS))[0].verdict is Verdict.FAIL
    noise = [finding("harm", 0.4, 0.6) for _ in range(40)]
    judged = judge(Gate().apply([close, *noise], METRICS))
    assert judged[0].verdict is Verdict.UNDECIDED
    assert judged[0].adjusted_p > 0.05


def test_undecided_says_how_many_more_samples_would_decide():
    estimate = proportion([True] * 53 + [False] * 47)
    found = Finding(probe="p.q", metric="harm", title="t", estimate=estimate)
    judged = judge(Gate().apply([found], METRICS))[0]
    assert judged.verdict is Verdict.UNDECIDED
    again = proportion([True] * 53 * 12 + [False] * 47 * 12)
    assert judged.more_samples is not None
    assert 800 < judged.more_samples < 100 * 12
    assert again.low > 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "limits:\n  controllability.fairness/acuracy_gap: 0.1\n",
            "Did you mean 'controllability.fairness/accuracy_gap'",
        ),
        ("limit: {}\n", "unknown entry 'limit'. Did you mean 'limits'"),
        ("limits:\n  controllability.fairness/accuracy_gap: {max: 1, min: 0}\n", "not both"),
        ("limits:\n  controllability.fairness/accuracy_gap: high\n", "accuracy_gap"),
        ("false_discoveries: 2\n", "false_discoveries"),
        ("limits: [\n", "line 2"),
        ("limits: {p.q/harm: {max: nan}}", "p.q/harm.max: Input should be a finite number"),
        ("limits: {p.q/harm: 1e400}", "finite number"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, text, words):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(AskedWrongly, match=words.replace("(", "\\(")) as error:
        read_gate(path).check(registry.methods("probes").values())
    assert "gate" in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(AskedWrongly, match="cannot be read"):
        read_gate(tmp_path / "none.yaml")


def test_the_example_is_a_gate_whose_names_exist():
    gate = read_gate(Path(__file__).parents[2] / "examples" / "gate.yaml")
    gate.check(registry.methods("probes").values())
    assert gate.limits["controllability.membership/gain_over_blind"].value is None
