"""The conformal probe: broken promises are found, exchangeable data are left in peace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from reliability_organisms import CLASSES, STRENGTH, changed, model, sure_without, with_gaps, world
from torch import nn

from muroan import Splits
from muroan.auditing.observe import observe_all
from muroan.checks.alarms import alarms, findings
from muroan.evidence import Evidence
from muroan.finding import BarChart, Conclusion, Finding, LineChart, TableChart, Verdict
from muroan.monitoring.reliability.conformal.probe import Conformal
from muroan.monitoring.reliability.conformal.thresholds import recipes
from muroan.monitoring.reliability.scored import scored

PROBE = Conformal()


def evidence(audited, splits, probe=PROBE, seed=0):
    found, quarantined = observe_all([probe], audited, splits, seed=seed)
    assert not quarantined
    return found[probe.name]


def conclude(audited, splits, probe=PROBE) -> Conclusion:
    return probe.conclude(evidence(audited, splits, probe))


def by_key(conclusion: Conclusion) -> dict[str, Finding]:
    return {f.key.removeprefix("monitoring.conformal/"): f for f in conclusion.findings}


def failed(audited, splits, probe=PROBE) -> set[str]:
    judged = findings(probe, audited, splits)
    return {f.key.removeprefix("monitoring.conformal/") for f in judged if f.verdict is Verdict.FAIL}


def memorising(splits: Splits, sure: float):
    """A model that knows the reference by heart, and is `sure` times as sure as it should be of all else."""
    batch = splits.reference.load(range(len(splits.reference))).batch
    known = batch.inputs["left"]
    answers = nn.functional.one_hot(batch.targets, len(CLASSES)).float()

    def change(z, codes):
        same = torch.cdist(codes["left"].double(), known.double()) < 1e-6
        return sure * z + 20 * same.float() @ answers

    return model(change)


@pytest.mark.parametrize(("score", "sure"), [("LAC", 1.0), ("APS", 3.0), ("RAPS", 3.0)])
def test_a_threshold_fitted_on_memorised_data_is_found(score, sure):
    splits, probe = world(0), replace(PROBE, score=score)
    assert "shortfall" in failed(memorising(splits, sure), splits, probe)
    # The same model with a reference that it has not seen keeps the promise.
    fresh = Splits(splits.audited, world(1).reference)
    assert "shortfall" not in failed(memorising(splits, sure), fresh, probe)


def test_an_input_whose_loss_breaks_the_promise_is_found_and_a_threshold_of_its_own_repairs_it():
    broken = failed(sure_without("left"), world(0, n=2000, reference=2000))
    assert broken == {"missing_shortfall[modality=left,condition=without left]"}
    found = by_key(conclude(sure_without("left"), world(0, n=2000, reference=2000)))
    repaired = found["shortfall[modality=left,condition=without left]"]
    assert repaired.estimate.low <= 0 <= repaired.estimate.high
    assert repaired.controls["labels in a set"].value > found["set_size"].estimate.value


def test_coverage_lost_without_an_input_is_counted_on_the_same_samples():
    splits = world(0, n=600, reference=600)
    key = "missing_shortfall[modality=left,condition=without left]"
    found = by_key(conclude(sure_without("left"), splits))
    lost = found[key]
    assert lost.estimate.value == pytest.approx(
        found["coverage"].estimate.value - lost.controls["coverage"].value, abs=1e-9
    )
    # Sharper than against a threshold that is drawn, too.
    assert lost.estimate.width < lost.controls["coverage short of the promise"].width
    assert lost.estimate.value == pytest.approx(lost.controls["coverage short of the promise"].value, abs=0.06)


def test_what_is_covered_beyond_the_promise_may_be_lost():
    """A reference of contradicting labels makes sets large: without an input they still keep the promise."""
    splits = world(0, n=1500, reference=1500)
    labels = np.array(splits.reference._targets)
    part = np.random.default_rng(0).random(len(labels)) < 0.3
    hard = changed(splits.reference, targets=np.where(part, (labels + 1) % len(CLASSES), labels))
    audited = model(lambda z, codes: torch.where((codes["left"] == 0).all(dim=1, keepdim=True), 1.5 * z, z))
    found = by_key(conclude(audited, Splits(splits.audited, hard)))
    lost = found["missing_shortfall[modality=left,condition=without left]"]
    assert found["shortfall"].estimate.high < 0
    assert "beyond the promise before" in lost.note
    dropped = found["coverage"].estimate.value - lost.controls["coverage"].value
    assert lost.estimate.value == pytest.approx(dropped + found["shortfall"].estimate.high)


def test_a_reference_that_the_model_knows_better_breaks_the_premise():
    splits = world(0, n=600, reference=600)
    honest = by_key(conclude(model(), splits))["reference_easier"].estimate
    assert honest.low < 0.5 < honest.high
    easier = by_key(conclude(memorising(splits, 1.0), splits))["reference_easier"]
    assert easier.estimate.low > 0.9
    assert "reference_easier" in failed(memorising(splits, 1.0), splits)
    # The other way round sets are too large, not too small.
    turned = Splits(splits.reference, splits.audited)
    assert by_key(conclude(memorising(splits, 1.0), turned))["reference_easier"].estimate.high < 0.1


def test_a_group_that_gets_less_than_the_promise_is_found():
    splits = world(0, n=6000, reference=4000, group_strength=(0.2, 1.4))
    broken = failed(model(), splits)
    assert "group_shortfall[group=kind]" in broken
    assert "shortfall" not in broken
    finding = by_key(conclude(model(), splits))["group_shortfall[group=kind]"]
    assert finding.note.startswith("Worst: x")


@pytest.mark.slow
@pytest.mark.parametrize(("per_cluster", "n"), [(1, 400), (5, 750)])
def test_exchangeable_data_and_an_ideal_model_are_left_in_peace(per_cluster, n):
    def twin(seed):
        return model(), world(seed, n=n, reference=n, per_cluster=per_cluster)

    keys = alarms(PROBE, twin, range(50))
    # Promised: at most 5 % of audits; 6 of 50 is what a 99 % binomial band leaves to chance.
    assert sum(bool(k) for k in keys) <= 6, keys


@pytest.mark.slow
@pytest.mark.parametrize("score", ["APS", "LAC", "RAPS"])
def test_without_a_margin_the_lower_bound_is_above_0_as_often_as_it_says(score):
    probe = replace(PROBE, score=score)
    wrong = model(lambda z, _: 3 * torch.roll(z, 1, dims=1))  # no model is too bad for the promise
    above = outside = 0
    for seed in range(60):
        found = by_key(conclude(wrong, world(seed, n=400, reference=400, per_cluster=4), probe))["shortfall"]
        above += found.estimate.low > 0
        chance = found.controls["coverage by chance, data alike"]
        outside += not chance.low <= found.controls["coverage"].value <= chance.high
    assert above <= 6
    assert outside <= 9


def test_an_honest_model_keeps_coverage_without_an_input_under_aps_and_not_under_lac():
    splits = world(1, n=3000, reference=3000)
    key = "missing_shortfall[modality=left,condition=without left]"
    assert abs(by_key(conclude(model(), splits))[key].estimate.value) < 0.03
    assert by_key(conclude(model(), splits, replace(PROBE, score="LAC")))[key].estimate.low > 0.01


def test_coverage_and_sizes_are_those_of_the_sets():
    splits = world(2, n=300, reference=300)
    probe = replace(PROBE, score="LAC")
    found = by_key(conclude(model(), splits, probe))
    p = {}
    for name, data in splits.items():
        batch = data.load(range(300)).batch
        p[name] = (torch.softmax(STRENGTH * (batch.inputs["left"] + batch.inputs["right"]), 1).numpy(), batch.targets)
    reference, y = p["reference"]
    scores = np.sort(1 - reference[np.arange(300), y])
    threshold = scores[int(np.ceil(301 * 0.9)) - 1]
    audited, y = p["audited"]
    sets = 1 - audited <= threshold + 1e-9
    assert found["coverage"].estimate.value == pytest.approx(sets[np.arange(300), y].mean(), abs=1 / 300)
    assert found["set_size"].estimate.value == pytest.approx(sets.sum(axis=1).mean(), abs=1 / 300)
    assert found["singletons"].estimate.value == pytest.approx((sets.sum(axis=1) == 1).mean(), abs=1 / 300)
    assert found["shortfall"].estimate.value == pytest.approx(0.9 - found["coverage"].estimate.value)


def test_what_raps_is_tuned_on_no_threshold_sees():
    found = evidence(model(), world(3, n=100, reference=400, per_cluster=4))
    reference = scored(found, "reference")
    other = replace(reference, about=replace(reference.about, seed=1))
    by_name, note = recipes(reference, 0.1, 0.3)
    raps = by_name["RAPS"]
    kept = raps.kept(reference)
    assert len(raps.spent) == 30
    assert not raps.spent & set(kept.units)
    assert len(kept) == 280
    assert "120 samples" in note
    assert recipes(reference, 0.1, 0.3)[0]["RAPS"] == raps
    assert recipes(other, 0.1, 0.3)[0]["RAPS"].spent != raps.spent


def test_a_sample_has_one_draw_in_every_condition_and_shard():
    splits = world(4, n=50, reference=50)
    rows = evidence(model(), splits).rows
    assert rows.group_by("sample").agg(pl.col("u").n_unique())["u"].max() == 1
    again = observe_all([PROBE], model(), splits, shard=7)[0][PROBE.name].rows
    assert rows["u"].to_list() == again["u"].to_list()
    other = evidence(model(), splits, seed=1).rows
    assert rows["u"].to_list() != other["u"].to_list()


def test_one_sample_per_cluster_is_judged_by_the_exact_law():
    conclusion = conclude(model(), world(5, n=600, reference=600, per_cluster=4))
    (note,) = (n for n in conclusion.notes if n.startswith("One sample per cluster"))
    control = by_key(conclusion)["shortfall"].controls["coverage, one sample per cluster"]
    assert control.n == 150
    assert "of 150 covered" in note
    assert not [n for n in conclude(model(), world(5)).notes if n.startswith("One sample per cluster")]


def test_too_small_a_reference_says_so():
    conclusion = conclude(model(), world(6, n=100, reference=6))
    found = by_key(conclusion)
    assert found["coverage"].estimate.value == 1
    assert found["set_size"].estimate.value == len(CLASSES)
    assert any("too small for alpha" in n for n in conclusion.notes)
    assert failed(model(), world(6, n=100, reference=6)) == set()


def test_classes_without_a_threshold_of_their_own_are_named_not_counted_as_covered():
    splits = world(7, n=400, reference=200)
    keep = [i for i, y in enumerate(splits.reference._targets) if y != 3]
    few = Splits(splits.audited, splits.reference.subset(keep))
    finding = by_key(conclude(model(), few))["coverage_gap"]
    assert "1 of 4 classes have too few samples" in finding.note
    rare = sum(y == 3 for y in splits.audited._targets)
    assert finding.controls["with a threshold per class"].n == 400 - rare


def test_no_usable_reference_is_not_applicable():
    found = evidence(model(), world(8, n=50, reference=50))
    alone = Evidence(found.rows.filter(pl.col("split") == "audited"), found.about)
    (finding,) = PROBE.conclude(alone).findings
    assert finding.verdict is Verdict.NOT_APPLICABLE
    assert finding.reason == "the reference has no sample that could be scored"


def test_charts_show_the_promise_inputs_groups_sizes_and_scores():
    conclusion = conclude(model(), world(9, n=600, reference=600))
    lines = [c for c in conclusion.charts if isinstance(c, LineChart)]
    bars = [c for c in conclusion.charts if isinstance(c, BarChart)]
    (table,) = (c for c in conclusion.charts if isinstance(c, TableChart))
    assert lines[0].diagonal
    assert [line.control for line in lines[0].lines] == [True, False]
    assert {b.title for b in bars} == {
        "Coverage when inputs are missing",
        "Coverage by group",
        "Coverage by number of labels in the set",
    }
    assert all(b.limit == pytest.approx(0.9) for b in bars)
    assert len(table.rows) == 9
    assert {row[0] for row in table.rows} == {"APS", "LAC", "RAPS"}


def test_missing_inputs_of_the_data_are_a_group():
    splits = world(10, n=400, reference=400)
    found = by_key(conclude(model(), Splits(with_gaps(splits.audited, "right", 2), splits.reference)))
    assert found["coverage[group=missing inputs=right]"].estimate.n == 200
    assert "group_shortfall[group=missing inputs]" in found


def test_settings_are_checked():
    with pytest.raises(ValueError, match="alpha is 1"):
        Conformal(alpha=1)
    with pytest.raises(ValueError, match="score is 'THR'"):
        Conformal(score="THR")
    with pytest.raises(ValueError, match="tuning is 0"):
        Conformal(tuning=0)
