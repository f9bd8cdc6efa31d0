"""The calibration probe: planted faults are found, an ideal model is left in peace, figures are what they say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from reliability_organisms import CLASSES, STRENGTH, changed, model, sure_without, with_gaps, world

from muroan import Splits, Tabular
from muroan.auditing.observe import observe_all
from muroan.checks.alarms import alarms, findings
from muroan.data.memory import InMemory
from muroan.estimate import Estimate
from muroan.finding import BarChart, Conclusion, LineChart, TableChart, Verdict
from muroan.model import BlackBox
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability.calibration.probe import Calibration

PROBE = Calibration()


def conclude(audited, splits, *, seed=0, **options) -> Conclusion:
    evidence, quarantined = observe_all([PROBE], audited, splits, seed=seed, **options)
    assert not quarantined
    return PROBE.conclude(evidence[PROBE.name])


def by_key(conclusion: Conclusion) -> dict[str, Estimate]:
    return {f.key.removeprefix("monitoring.calibration/"): f.estimate for f in conclusion.findings}


def failed(audited, splits) -> set[str]:
    judged = findings(PROBE, audited, splits)
    return {f.key.removeprefix("monitoring.calibration/") for f in judged if f.verdict is Verdict.FAIL}


def test_a_model_three_times_too_sure_is_found():
    assert {"overconfidence", "ece_excess"} <= failed(model(lambda z, _: 3 * z), world(0))


def test_a_model_too_modest_is_found_by_its_distance_alone():
    broken = failed(model(lambda z, _: 0.4 * z), world(0))
    assert "ece_excess" in broken
    assert "overconfidence" not in broken


def test_a_model_that_is_sure_without_an_input_is_found_with_that_input():
    assert failed(sure_without("left"), world(0)) == {"overconfidence_missing[modality=left,condition=without left]"}


def test_a_model_right_on_average_and_wrong_in_groups_is_found():
    splits = world(0, n=2400, group_strength=(0.65, 1.6))
    found = by_key(conclude(model(), splits))
    assert abs(found["overconfidence"].value) < 0.02
    assert found["overconfidence[group=kind=x]"].low > 0.03
    assert found["overconfidence[group=kind=y]"].high < -0.03
    assert "calibration_gap[group=kind]" in failed(model(), splits)


@pytest.mark.slow
@pytest.mark.parametrize(("per_cluster", "n"), [(1, 400), (5, 750)])
def test_an_ideal_model_is_left_in_peace(per_cluster, n):
    def twin(seed):
        return model(), world(seed, n=n, reference=n, per_cluster=per_cluster)

    keys = alarms(PROBE, twin, range(50))
    # Promised: at most 5 % of audits; 6 of 50 is what a 99 % binomial band leaves to chance.
    assert sum(bool(k) for k in keys) <= 6, keys


def test_without_a_margin_the_lower_bounds_of_an_ideal_model_are_above_0_as_often_as_they_say():
    above = {"overconfidence": 0, "ece_excess": 0, "overconfidence_missing[modality=left,condition=without left]": 0}
    for seed in range(60):
        found = by_key(conclude(model(), world(seed, n=400, reference=50)))
        for name in above:
            above[name] += found[name].low > 0
    # 2.5 % promised; 6 of 60 is the 99.9 % binomial band.
    assert max(above.values()) <= 6, above


def test_weighted_gaps_of_the_diagram_are_the_error():
    conclusion = conclude(model(), world(1, n=500, reference=100))
    diagram = next(c for c in conclusion.charts if isinstance(c, LineChart) and c.diagonal)
    (line,) = diagram.lines
    assert diagram.title == "How often right, by how sure (all inputs)"
    gaps = [n * abs(y - x) for x, y, n in zip(line.x, line.y, line.n, strict=True) if y is not None]
    assert sum(line.n) == 500
    assert sum(gaps) / 500 == pytest.approx(by_key(conclusion)["ece"].value, abs=1e-12)
    assert all((y is None) == (n == 0) for y, n in zip(line.y, line.n, strict=True))
    assert any(y is None for y in line.y)


def test_three_inputs_give_seven_diagrams_from_one_call():
    names = ("one", "two", "three")
    conclusion = conclude(model(modalities=names), world(0, n=300, reference=100, modalities=names))
    diagrams = [c for c in conclusion.charts if isinstance(c, LineChart) and c.diagonal]
    assert len(diagrams) == 7
    assert all(sum(d.lines[0].n) == 300 for d in diagrams)
    missing = [f for f in conclusion.findings if f.metric == "overconfidence_missing"]
    assert {f.condition for f in missing} == {
        f"without {x}" for x in (*names, "one and two", "one and three", "two and three")
    }
    assert {f.modality for f in missing} == {*names, None}


def test_with_four_inputs_each_is_removed_alone():
    names = ("p", "q", "r", "s")
    conclusion = conclude(model(modalities=names), world(0, n=60, reference=60, modalities=names))
    assert sum(f.metric == "overconfidence_missing" for f in conclusion.findings) == 4
    assert any("each is removed alone" in n for n in conclusion.notes)


def test_one_input_is_never_removed():
    conclusion = conclude(model(modalities=("only",)), world(0, n=100, reference=100, modalities=("only",)))
    assert not [f for f in conclusion.findings if f.condition]


def test_rows_hold_what_the_model_says_without_an_input():
    splits, audited = world(3, n=40, reference=40), model()
    evidence, _ = observe_all([PROBE], audited, splits)
    rows = evidence[PROBE.name].of("audited", "without left").sort("sample")
    data = splits.audited.load(range(40)).batch
    expected = torch.log_softmax(STRENGTH * data.inputs["right"].double(), dim=1).numpy()
    order = np.argsort(data.ids)
    np.testing.assert_allclose(rows["log_probabilities"].to_numpy(), expected[order], atol=1e-5)
    assert rows["confidence"].to_numpy() == pytest.approx(np.exp(expected[order]).max(axis=1), abs=1e-5)
    assert rows["predicted"].to_list() == expected[order].argmax(axis=1).tolist()
    assert evidence[PROBE.name].rows["log_probabilities"].dtype == pl.Array(pl.Float32, len(CLASSES))


def test_neutral_inputs_are_encoded_once_a_shard_not_once_a_sample():
    from muroan.auditing.observe import clean_pass, observe
    from muroan.meter import Metered

    splits = world(0, n=64, reference=64)
    metered = Metered(model(), splits.audited.schema.modalities)
    pieces, _ = clean_pass(metered, splits.audited.load(range(64)).batch, "audited", 0)
    meter = observe(PROBE, pieces).meter
    assert meter.counts == {"encode left": 1, "encode right": 1, "fuse": 2 * 64}


def test_a_black_box_gives_the_same_figures():
    apart, splits = model(), world(4, n=200, reference=200)

    def probabilities(inputs):
        return torch.softmax(STRENGTH * (inputs["left"] + inputs["right"]), dim=1).numpy()

    box = BlackBox(probabilities, modalities=("left", "right"), classes=CLASSES)
    for a, b in zip(conclude(apart, splits).findings, conclude(box, splits).findings, strict=True):
        assert a.key == b.key
        assert a.estimate.value == pytest.approx(b.estimate.value, abs=1e-4)


def test_temperature_is_fitted_on_the_reference_and_pays_on_the_audited_data():
    conclusion = conclude(model(lambda z, _: 3 * z), world(5, n=1500, reference=1500))
    gain = next(f for f in conclusion.findings if f.metric == "temperature_gain")
    assert gain.estimate.low > 0.1
    assert gain.controls["beyond chance after"].low == 0
    assert float(gain.note.removeprefix("Temperature ").rstrip(".")) == pytest.approx(3, rel=0.15)
    ideal = next(f for f in conclude(model(), world(5)).findings if f.metric == "temperature_gain")
    assert abs(ideal.estimate.value) < 0.01


def test_avu_counts_add_up_and_its_threshold_does_not_see_the_audited_labels():
    splits = world(6)
    conclusion = conclude(model(), splits)
    (table,) = (c for c in conclusion.charts if isinstance(c, TableChart))
    for row, s in zip(table.rows, ("all inputs", "without left", "without right"), strict=True):
        assert row[0] == s
        assert sum(row[2:6]) == 800
        assert row[-1] == pytest.approx((row[2] + row[5]) / 800)
    other = changed(splits.audited, targets=np.roll(splits.audited._targets, 1))
    turned = conclude(model(), Splits(other, splits.reference))
    assert [n for n in turned.notes if n.startswith("Sure means")] == [
        n for n in conclusion.notes if n.startswith("Sure means")
    ]


def test_what_cannot_be_fitted_says_so():
    y = np.arange(60) % 4
    x = torch.tensor(10.0 * np.eye(4)[y], dtype=torch.float32)
    columns = {m: Tabular(columns=CLASSES) for m in ("left", "right")}
    data = [
        InMemory(
            {"left": x, "right": x},
            targets=y,
            modalities=columns,
            classes=CLASSES,
            ids=[f"{s}{i}" for i in y * 0 + range(60)],
        )
        for s in "ar"
    ]
    found = {f.metric: f for f in conclude(model(), Splits(*data)).findings if f.condition is None and f.group is None}
    for metric in ("avu", "fpr95", "error_auc"):
        assert found[metric].verdict is Verdict.NOT_APPLICABLE
        assert "right" in found[metric].reason or "no answer is wrong" in found[metric].reason
    assert found["aurc"].estimate.value == 0


def test_naturally_missing_inputs_are_reported_by_pattern():
    splits = world(7, n=400, reference=200)
    conclusion = conclude(model(), Splits(with_gaps(splits.audited, "left", 4), splits.reference))
    found = by_key(conclusion)
    assert found["overconfidence[group=missing inputs=left]"].n == 100
    assert found["overconfidence[group=missing inputs=none]"].n == 300
    # Without the right input nothing is left to those 100.
    assert found["overconfidence_missing[modality=right,condition=without right]"].n == 300
    assert any(n.startswith("100 rows were left out") for n in conclusion.notes)


def test_confidence_rises_even_in_an_ideal_model_and_never_in_one_that_ignores_the_input():
    found = by_key(conclude(model(), world(8)))
    assert found["confidence_rises[modality=left,condition=without left]"].low > 0.1
    deaf = model(lambda z, codes: STRENGTH * codes["right"])
    found = by_key(conclude(deaf, world(8)))
    assert found["confidence_rises[modality=left,condition=without left]"].value == 0


def test_exhibits_are_the_surest_errors():
    splits = world(9, n=200, reference=20)
    from muroan.auditing.observe import clean_pass, observe
    from muroan.meter import Metered

    metered = Metered(model(), splits.audited.schema.modalities)
    pieces, _ = clean_pass(metered, splits.audited.load(range(200)).batch, "audited", 0)
    shown = observe(PROBE, pieces).shown
    assert 1 <= len(shown) <= 2
    rows = observe_all([PROBE], model(), splits)[0][PROBE.name].of("audited")
    worst = rows.filter(~pl.col("correct")).sort("confidence", descending=True)
    assert shown[0].sample == worst["sample"][0]
    assert shown[0].rank == pytest.approx(1 - worst["confidence"][0], abs=1e-6)


def test_many_classes_are_cut_to_the_likeliest():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(60, 0.05), 200)
    y = (rng.random(200)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=59)
    x = torch.tensor(np.log(p.clip(1e-9)), dtype=torch.float32)
    names = tuple(f"c{k}" for k in range(60))
    columns = {"left": Tabular(columns=names), "right": Tabular(columns=names)}
    data = [
        InMemory(
            {"left": x[part], "right": torch.zeros(100, 60)},
            targets=y[part],
            modalities=columns,
            classes=names,
            ids=[f"{part.start} {i}" for i in range(100)],
        )
        for part in (slice(0, 100), slice(100, 200))
    ]
    box = BlackBox(
        lambda v: (v["left"] + v["right"]).softmax(dim=1).numpy(), modalities=("left", "right"), classes=names
    )
    conclusion = conclude(box, Splits(*data))
    assert any("48 likeliest of 60 classes" in n for n in conclusion.notes)
    assert by_key(conclusion)["classwise_ece"].value > 0


def test_bars_show_every_input_and_group():
    conclusion = conclude(model(), world(10))
    inputs, groups = (c for c in conclusion.charts if isinstance(c, BarChart))
    assert [b.label for b in inputs.bars] == ["all inputs", "without left", "without right"]
    assert [(b.of, b.label) for b in groups.bars] == [("kind", "x"), ("kind", "y")]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="bins is 0"):
        Calibration(bins=0)
    assert Calibration(bins=10).bins == 10
    assert ce.BINS == 15
