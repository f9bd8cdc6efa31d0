"""The probe of natural shifts: figures that are known, silence where there is no shift, an alarm where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from muroan import checks
from muroan.checks.alarms import findings
from muroan.checks.bed import PlantedModel, planted
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.evidence import About, Evidence
from muroan.finding import Conclusion, Finding, TableChart, Verdict
from muroan.organisms.clinic import CLINIC, Clinician, patients, world
from muroan.organisms.misled import ReadsTheMark, from_two_sites
from muroan.references import open_data, open_model
from muroan.registry import organism
from muroan.robustness.distribution_shift.natural_shift.probe import CONDITION, NaturalShift

PROBE = NaturalShift()
SITE_CUE = organism("robustness.site-cue")


@pytest.mark.parametrize("check", checks.of(PROBE), ids=str)
def test_contract(check: checks.Check) -> None:
    check()


@pytest.mark.parametrize("check", checks.of(SITE_CUE), ids=str)
def test_contract_of_the_fault(check: checks.Check) -> None:
    check()


def evidence(audited: dict[str, Any], reference: dict[str, Any], classes: tuple[str, ...] = ("a", "b")) -> Evidence:
    """Rows of two splits from columns: correct, target, and optionally confidence, site, cluster."""
    frames = []
    for split, columns in (("audited", audited), ("reference", reference)):
        n = len(columns["correct"])
        frames.append(
            pl.DataFrame(
                {
                    "split": [split] * n,
                    "sample": [f"{split}-{i:05d}" for i in range(n)],
                    "condition": [CONDITION] * n,
                    "cluster": pl.Series(columns.get("cluster", [None] * n), dtype=pl.String),
                    "target": np.asarray(columns["target"], dtype=np.int64),
                    "correct": np.asarray(columns["correct"], dtype=bool),
                    "confidence": pl.Series(columns.get("confidence", [0.5] * n), dtype=pl.Float64),
                    "group.site": list(columns.get("site", ["north"] * n)),
                },
                schema_overrides=dict.fromkeys(("split", "sample", "condition", "group.site"), pl.String),
            )
        )
    about = About(classes=classes, modalities={"x": "tabular"}, groups={"site": ("north", "south")}, cluster=None)
    return Evidence(pl.concat(frames), about)


def by_key(conclusion: Conclusion) -> dict[str, Finding]:
    return {f.key.split("/", 1)[1]: f for f in conclusion.findings}


def value(found: dict[str, Finding], key: str) -> float:
    estimate = found[key].estimate
    assert estimate is not None
    return estimate.value


def test_known_answer() -> None:
    """Reference 80 of 100 right at 0.8, audited 50 of 100 right at 0.7: 0.3 lost, of which 0.2 hidden."""
    right = {
        "reference": [1] * 40 + [0] * 10 + [1] * 40 + [0] * 10,
        "audited": [1] * 25 + [0] * 25 + [1] * 25 + [0] * 25,
    }
    target = [0] * 50 + [1] * 50
    sides = [
        {"correct": right[n], "target": target, "confidence": [c] * 100}
        for n, c in (("audited", 0.7), ("reference", 0.8))
    ]
    found = by_key(PROBE.conclude(evidence(*sides)))
    assert value(found, "accuracy_drop") == pytest.approx(0.3)
    assert value(found, "relative_drop") == pytest.approx(0.375)
    assert value(found, "confidence_drop") == pytest.approx(0.1)
    assert value(found, "hidden_drop") == pytest.approx(0.2)
    assert value(found, "reweighted_drop") == pytest.approx(0.3)
    assert value(found, "label_part") == pytest.approx(0.0, abs=1e-12)
    assert value(found, "worst_class_drop") == pytest.approx(0.3)
    assert value(found, "worst_group_drop[group=site]") == pytest.approx(0.3)
    drop = found["accuracy_drop"].estimate
    assert drop is not None
    assert (drop.n, drop.low < 0.2 < 0.4 < drop.high) == (200, True)
    assert found["accuracy_drop"].controls["accuracy, reference"].value == pytest.approx(0.8)


def test_other_class_frequencies_are_told_apart() -> None:
    """Class a is always right, b half of the time, on both sides; b is a fifth of the reference."""

    def side(a: int, b: int) -> dict[str, Any]:
        return {"correct": [1] * a + [1, 0] * (b // 2), "target": [0] * a + [1] * b}

    conclusion = PROBE.conclude(evidence(side(40, 160), side(160, 40)))
    found = by_key(conclusion)
    assert value(found, "accuracy_drop") == pytest.approx(0.3)
    assert value(found, "label_part") == pytest.approx(0.3)
    assert value(found, "reweighted_drop") == pytest.approx(0.0, abs=1e-12)
    part, within = found["label_part"].estimate, found["reweighted_drop"].estimate
    assert part is not None
    assert within is not None
    assert part.low > 0.2
    assert within.low < 0 < within.high
    assert any("total variation" in n and "0.600" in n for n in conclusion.notes)


def test_intervals_of_the_parts_hold_what_is_true() -> None:
    """Both parts' intervals cover the truth about as often as they say, with random class frequencies."""
    rng = np.random.default_rng(0)
    truth = {"reweighted_drop": 0.7 * 0.1 + 0.3 * 0.2, "label_part": (0.7 - 0.4) * 0.8 + (0.3 - 0.6) * 0.4}
    held: dict[str, list[bool]] = {m: [] for m in truth}
    for _ in range(150):
        sides = []
        for share, rights in ((0.4, (0.8, 0.4)), (0.7, (0.9, 0.6))):
            target = (rng.random(200) > share).astype(int)
            sides.append({"correct": rng.random(200) < np.asarray(rights)[target], "target": target})
        found = by_key(PROBE.conclude(evidence(*sides)))
        for m, true in truth.items():
            e = found[m].estimate
            assert e is not None
            held[m].append(e.low <= true <= e.high)
    assert all(np.mean(h) > 0.9 for h in held.values())


def test_groups_that_the_reference_lacks_are_shown_and_not_judged() -> None:
    old = {"correct": [1, 1, 1, 0] * 25, "target": [0, 1] * 50}
    new = {"correct": [0, 0, 1, 0] * 25, "target": [0, 1] * 50, "site": ["south"] * 100}
    conclusion = PROBE.conclude(evidence(new, old))
    found = by_key(conclusion)
    assert "worst_group_drop[group=site]" not in found
    unjudged = found["worst_group_drop[group=site,condition=new values]"]
    assert not unjudged.judged
    assert value(found, "worst_group_drop[group=site,condition=new values]") == pytest.approx(0.5)
    tables = {c.title.split(" (")[0]: c for c in conclusion.charts if isinstance(c, TableChart)}
    assert tables["By site"].rows[0][0] == "south"
    assert tables["By site"].rows[0][-1] == "the whole reference"


def test_clusters_widen_and_small_groups_are_left_out() -> None:
    alone = {"correct": [1, 0] * 50, "target": [0, 1] * 50, "site": ["north"] * 95 + ["south"] * 5}
    together = alone | {"cluster": [f"c{i // 20}" for i in range(100)], "correct": [1] * 60 + [0] * 40}
    apart = alone | {"correct": [1] * 60 + [0] * 40}
    wide, narrow = (
        by_key(PROBE.conclude(evidence(s, s | {"cluster": [f"r{c}" for c in s["cluster"]]} if "cluster" in s else s)))[
            "accuracy_drop"
        ].estimate
        for s in (together, apart)
    )
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    found = by_key(PROBE.conclude(evidence(apart, alone)))
    worst = found["worst_group_drop[group=site]"]
    assert "the worst of 1" in worst.title


def test_labels_alone_and_nothing_to_compare() -> None:
    plain = {"correct": [1, 0] * 50, "target": [0, 1] * 50}
    found = by_key(PROBE.conclude(evidence(plain | {"confidence": [None] * 100}, plain)))
    assert not {"hidden_drop", "confidence_drop"} & set(found)
    nothing = PROBE.conclude(evidence({"correct": [], "target": []}, plain)).findings
    assert [f.verdict for f in nothing] == [Verdict.NOT_APPLICABLE]
    assert "audited" in nothing[0].reason


def test_no_alarm_where_both_are_random_parts_of_one_world() -> None:
    def parts(seed: int) -> tuple[PlantedModel, Splits]:
        return PlantedModel(noise=3.0), planted(seed=seed)

    assert checks.false_alarms(PROBE, parts, range(24)).value == 0
    assert checks.false_alarms(PROBE, CLINIC.world, range(10)).value == 0


def test_a_mark_that_means_something_at_one_site_alone_is_found() -> None:
    curve = checks.power(PROBE, SITE_CUE, range(4), doses=(0.0, 1.0, SITE_CUE.matters))
    assert curve[0.0].value == 0
    assert curve[SITE_CUE.matters].value == 1


def test_the_mark_is_no_fault_by_itself() -> None:
    """A model that does not read it is as right with it as without, and the one that does is better at its own site."""
    exact = Clinician()
    assert not [f for f in findings(PROBE, *world(0, exact, from_two_sites)) if f.verdict is Verdict.FAIL]
    right = {}
    for name, model in (("exact", exact), ("fault", ReadsTheMark(SITE_CUE.matters))):
        for split in ("reference", "audited"):
            data = from_two_sites(patients(split, 0)).dataset()
            batch = data.load(range(len(data))).batch
            assert batch is not None
            right[name, split] = float((model.predict(batch.inputs).argmax(dim=1) == batch.targets).float().mean())
    assert right["fault", "reference"] > right["exact", "reference"] + 0.03
    assert right["fault", "audited"] < right["exact", "audited"] - 0.03


def test_the_other_arm_is_a_shift_and_who_has_known_both_is_not_hurt() -> None:
    torch.manual_seed(0)
    data = open_data("watch-other-arm")
    found = {f.metric: f for f in findings(PROBE, open_model("watch-right-arm"), data) if f.judged}
    assert found["accuracy_drop"].verdict is Verdict.FAIL
    assert found["hidden_drop"].verdict is Verdict.FAIL
    both = findings(PROBE, open_model("watch"), data)
    assert not [f for f in both if f.verdict is Verdict.FAIL]


def test_another_vendor_costs_groups_some_accuracy() -> None:
    try:
        data = open_data("emoji-groups-twitter")
    except AskedWrongly as error:
        pytest.skip(str(error))
    found = {f.metric: f for f in findings(replace(PROBE, limit=400), open_model("emoji-groups"), data)}
    drop = found["accuracy_drop"].estimate
    assert drop is not None
    assert drop.low > 0
