"""Gaps between groups: known answers, a planted gap that must be found, equal groups that must not alarm."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from fairlearn import metrics as fairlearn

from muroan import BlackBox, Splits, Tabular, TorchModel
from muroan.auditing.gate import Gate
from muroan.auditing.observe import observe_all
from muroan.controllability.fairness.group_gaps import GroupGaps, equity_scaled
from muroan.data.memory import InMemory
from muroan.estimate import max_gap
from muroan.estimate.clusters import sums_by_group
from muroan.evidence import About, Evidence
from muroan.finding import Verdict, judge


def largest_difference(hits, groups) -> float:
    known = sorted(set(groups.astype(str)))
    return max_gap(sums_by_group(hits, groups, known), known, draws=100).estimate.value


def test_golden_value_of_equity_scaling():
    assert equity_scaled(np.array([[[85, 100], [95, 100]]])) == pytest.approx(0.8181818)
    assert equity_scaled(np.array([[[90, 100], [0, 0]]])) == pytest.approx(0.9)  # a group without samples adds nothing


def test_gaps_of_decisions_are_fairlearns_parity_and_odds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        y, yes, g = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.integers(0, 3, 200)
        odds = max(largest_difference(yes[y == k], g[y == k]) for k in (0, 1))
        theirs = (
            fairlearn.demographic_parity_difference(y, yes, sensitive_features=g),
            fairlearn.equalized_odds_difference(y, yes, sensitive_features=g),
        )
        assert (largest_difference(yes, g), odds) == pytest.approx(theirs, abs=1e-12)


def world(seed: int, error_b: float, n: int = 600) -> tuple[TorchModel, Splits]:
    """Two groups; the model errs on 10 % of group a and `error_b` of group b, equally confident everywhere."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    group = np.where(np.arange(n) % 3 == 0, "b", "a")
    wrong = rng.random(n) < np.where(group == "b", error_b, 0.1)
    logit = np.where((y == 1) != wrong, 1.0, -1.0) * 2.2
    x = torch.tensor(np.stack([-logit / 2, logit / 2], axis=1), dtype=torch.float32)
    data = InMemory(
        {"table": x},
        targets=y,
        modalities={"table": Tabular(columns=("no", "yes"))},
        classes=["no", "yes"],
        groups={"sex": group.tolist()},
    )
    model = TorchModel(
        encoders={"table": lambda v: v},
        fusion=lambda codes: codes["table"],
        head=lambda z: z,
        classes=["no", "yes"],
    )
    return model, Splits(data)


def gaps(seed: int, error_b: float, n: int = 600) -> dict[str, Verdict]:
    probe = GroupGaps()
    evidence, quarantined = observe_all([probe], *world(seed, error_b, n))
    assert not quarantined
    found = probe.conclude(evidence[probe.name]).findings
    judged = judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))
    return {f.metric: f.verdict for f in judged if f.judged}


def test_a_planted_gap_is_found_in_accuracy_and_in_calibration():
    found = gaps(0, error_b=0.45)
    assert found["accuracy_gap"] is Verdict.FAIL
    assert found["calibration_gap"] is Verdict.FAIL
    assert found["leaning_gap"] is not Verdict.FAIL  # it errs both ways alike


def test_an_answer_given_to_one_group_too_readily_is_found_though_groups_are_served_nearly_alike():
    """One in eight of group b gets “yes” that should not; group a has as many errors, but both ways."""
    rng = np.random.default_rng(0)
    n = 2000
    y, group = np.arange(n) % 2, np.where(np.arange(n) % 4 < 2, "a", "b")
    wrong = rng.random(n) < np.where(group == "a", 0.125, np.where(y == 0, 0.25, 0.0))
    given = np.where(wrong, 1 - y, y)
    rows = pl.DataFrame({
        "sample": [f"{i:04}" for i in range(n)], "split": "audited", "condition": "clean", "cluster": None,
        "target": y, "clean_predicted": given, "correct": ~wrong, "confidence": 0.875, "group.sex": group,
    }, schema_overrides={"cluster": pl.String})  # fmt: skip
    known = About(("no", "yes"), {"table": "table"}, {"sex": ("a", "b")}, None)
    found = {f.metric: f for f in GroupGaps().conclude(Evidence(rows, known)).findings if f.judged}
    assert found["leaning_gap"].estimate.value == pytest.approx(given[group == "b"].mean() - given[group == "a"].mean())
    assert found["leaning_gap"].estimate.low > 0.05
    assert found["leaning_gap"].note == "highest: b; lowest: a"
    assert found["accuracy_gap"].estimate.low < 0.05


def test_equal_groups_alarm_no_more_often_than_the_level_says():
    verdicts = [v for seed in range(40) for v in gaps(seed, error_b=0.1, n=1500).values()]
    assert verdicts.count(Verdict.FAIL) == 0
    assert verdicts.count(Verdict.PASS) > len(verdicts) / 2


def test_details_name_every_group_and_the_notes_count_the_unknown():
    model, splits = world(1, 0.3)
    splits.audited._groups["sex"][:7] = [""] * 7
    probe = GroupGaps()
    evidence, _ = observe_all([probe], model, splits)
    conclusion = probe.conclude(evidence[probe.name])
    keys = {f.key for f in conclusion.findings}
    assert "controllability.fairness/accuracy[group=sex=a]" in keys
    assert "controllability.fairness/accuracy_gap[group=sex]" in keys
    assert any(note.startswith("7 of 600 samples have no known sex") for note in conclusion.notes)


def test_data_without_groups_are_not_applicable():
    model, splits = world(0, 0.1)
    assert GroupGaps().applies(model, InMemory({}, targets=[], modalities={}, classes=[]).schema)
    assert GroupGaps().applies(model, splits.audited.schema) is None


def test_a_model_that_gives_labels_alone_is_not_judged_by_a_confidence_that_it_never_gave():
    model, splits = world(0, error_b=0.3)
    labels = BlackBox(
        lambda inputs: model.predict(inputs).argmax(dim=1).numpy(),
        modalities=model.modalities,
        classes=model.classes,
        output="labels",
        name="labels alone",
    )
    probe = GroupGaps()
    evidence = observe_all([probe], labels, splits)[0][probe.name]
    assert (
        evidence.rows["clean_confidence"].null_count() == evidence.rows["confidence"].null_count() == len(evidence.rows)
    )
    findings = probe.conclude(evidence).findings
    gaps = {f.metric: f for f in findings if f.judged}
    assert gaps["accuracy_gap"].estimate is not None
    assert gaps["calibration_gap"].estimate is None
    assert gaps["calibration_gap"].verdict is Verdict.NOT_APPLICABLE
    assert "labels alone" in gaps["calibration_gap"].reason
    assert not [f for f in findings if f.metric == "overconfidence"]
