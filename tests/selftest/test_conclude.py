"""Trials with a known answer: what a self test concludes from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from muroan.finding import Conclusion, Metric
from muroan.organism import Bed, Organism
from muroan.probe import Observation, Probe
from muroan.selftest.conclude import conclude
from muroan.selftest.page import page
from muroan.selftest.run import Record
from muroan.selftest.trial import Heard
from muroan.selftest.words import found, headline

BED = Bed("bed", "nothing is wrong", lambda seed: (None, None), exact=True)
REAL = Bed("real", "real data", lambda seed: (None, None), exact=False)


FAULT = Organism(
    name="robustness.fault",
    place="robustness/adversarial",
    bed=BED,
    fault="something | is wrong",
    dose="how wrong",
    doses=(1.0, 2.0, 4.0),
    matters=2.0,
    plant=lambda dose, seed: (None, None),
)
ON_REAL = replace(FAULT, name="robustness.other", bed=REAL)


@dataclass(frozen=True, kw_only=True)
class Asks(Probe):
    name = "robustness.asks"
    question = "?"
    place = "robustness/adversarial"
    metrics = (Metric(name="broken", says="x", limit=0.1),)
    finds = {"robustness.fault": ("broken",)}

    def observe(self, clean):
        return Observation(clean.rows("x"))

    def conclude(self, evidence):
        return Conclusion(findings=[])


@dataclass(frozen=True, kw_only=True)
class Silent(Asks):
    name = "robustness.silent"
    finds = {}


def records(world: str, dose: float, alarms: int, n: int, metric: str = "broken", probe: str = Asks.name):
    """n trials, in the first of which the probe alarms."""
    return [
        Record(
            world=world,
            dose=dose,
            seed=i,
            probe=probe,
            code="",
            heard=Heard(alarms=(f"{probe}/{metric}[group=a/b]",) if i < alarms else (), judged=(metric,)),
            seconds=0.5,
        )
        for i in range(n)
    ]


def curve(*alarms: int, n: int = 20):
    doses = (0.0, *FAULT.doses)
    return [r for d, k in zip(doses, alarms, strict=True) for r in records("robustness.fault" if d else "bed", d, k, n)]


def only(result):
    (pair,) = result.pairs
    return pair


def test_the_dose_is_read_off_the_curve_between_the_doses_that_surround_it():
    pair = only(conclude(curve(0, 4, 12, 20), [Asks()], [FAULT]))
    assert pair.found.dose == pytest.approx(3.0)  # .6 at 2, 1 at 4
    assert 1 < pair.found.low < 3 < pair.found.high <= 4
    assert [p.power.value for p in pair.curve] == [0.2, 0.6, 1.0]
    assert pair.power.value == 0.6


def test_a_curve_that_falls_by_chance_is_read_as_one_that_rises():
    pair = only(conclude(curve(0, 10, 6, 20), [Asks()], [FAULT]))  # .5, .3 are pooled to .4
    assert pair.found.dose == pytest.approx(2 + 2 * (0.8 - 0.4) / 0.6)


def test_a_fault_that_is_never_found_is_above_the_largest_dose():
    pair = only(conclude(curve(0, 0, 1, 2), [Asks()], [FAULT]))
    assert pair.found.dose is None
    assert pair.found.high is None
    assert pair.found.low <= 4
    assert found(pair.found).startswith("above 4")
    assert pair.verdict == "misses"


@pytest.mark.parametrize(("alarms", "verdict"), [(20, "finds"), (17, "undecided"), (9, "misses")])
def test_the_verdict_needs_the_whole_interval_at_the_dose_that_matters(alarms, verdict):
    result = conclude(curve(0, 0, alarms, 20), [Asks()], [FAULT])
    assert only(result).verdict == verdict
    assert result.exit_code == (1 if verdict == "misses" else 0)


def test_only_the_metrics_named_for_a_fault_count_as_finding_it_but_any_is_a_false_alarm():
    some = curve(0, 20, 20, 20) + records("bed", 0.0, 20, 20, metric="other", probe=Silent.name)
    other = [r.model_copy(update={"heard": Heard(alarms=("robustness.asks/other",))}) for r in some]
    pair = only(conclude(other, [Asks()], [FAULT]))
    assert [p.power.value for p in pair.curve] == [0, 0, 0]
    assert pair.twins.value == 0
    (quiet,) = conclude(other, [Asks()], [FAULT]).quiet
    assert (quiet.alarms.value, quiet.by_metric, quiet.verdict) == (1.0, {"other": 20}, "breaks")


def test_false_alarms_are_counted_where_nothing_at_all_is_wrong():
    """A twin on real data has faults of its own: an alarm there is no false one."""
    some = [*records("bed", 0.0, 0, 80), *records("real", 0.0, 20, 20)]
    result = conclude(some, [Asks()], [FAULT, ON_REAL])
    assert (result.quiet[0].alarms.n, result.quiet[0].alarms.value, result.quiet[0].verdict) == (80, 0.0, "keeps")
    cell = next(c for c in result.cells if c.fault == "robustness.other")
    assert cell.twins.value == 1.0


def test_the_matrix_holds_every_probe_and_fault_and_says_who_was_meant():
    some = [*curve(0, 20, 20, 20), *records("robustness.fault", 2.0, 5, 10, probe=Silent.name)]
    result = conclude(some, [Asks(), Silent()], [FAULT, ON_REAL])
    cells = {(c.fault, c.probe): c for c in result.cells}
    assert len(cells) == 4
    assert cells["robustness.fault", "robustness.asks"].meant
    assert not cells["robustness.fault", "robustness.silent"].meant
    assert cells["robustness.fault", "robustness.silent"].alarms.value == 0.5
    assert cells["robustness.other", "robustness.asks"].alarms is None
    assert result.orphans == ["robustness.other"]


def test_what_did_not_apply_or_broke_is_no_silence():
    broke = [r.model_copy(update={"heard": Heard(failed="ValueError: no")}) for r in curve(0, 5, 5, 5)]
    result = conclude(broke, [Asks()], [FAULT])
    assert only(result).verdict == "not tried"
    assert only(result).reason == "ValueError: no"
    assert result.quiet[0].alarms is None
    assert result.failed == [
        "robustness.asks on bed: ValueError: no",
        "robustness.asks on robustness.fault: ValueError: no",
    ]
    assert result.exit_code == 4


def test_the_page_has_every_figure_and_nothing_breaks_its_tables():
    result = conclude(curve(1, 4, 12, 20), [Asks()], [FAULT])
    text = page(result, [FAULT], "muroan selftest")
    assert "| ✗ | robustness.asks | robustness.fault | 3 [" in text
    assert "2: 12/20 [.39, .78] | 1/20 [.009, .24] |" in text
    assert "something \\| is wrong" in text
    assert headline(result) in text
    for block in text.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1
