"""Inputs that do not belong together: who lends what, whom planted models follow, and what their confidence hides."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.checks.bed import PlantedModel, planted
from muroan.clean import Clean
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.finding import Finding, Verdict
from muroan.interventions.swaps import SWAPS, TABLE, Delayed, Frozen, Matched
from muroan.meter import Metered
from muroan.modality import Audio, Series, Tabular
from muroan.model import BlackBox, Model, TorchModel
from muroan.organism import World
from muroan.organisms import pairs
from muroan.organisms.clinic import CLINIC, TRUTH, Clinician, world
from muroan.organisms.confidence import usual_odds
from muroan.organisms.sensors import TWO_SENSORS
from muroan.registry import organism
from muroan.robustness.distribution_shift.mismatch.probe import Mismatch
from muroan.selftest.trial import findings

Told = dict[tuple[str, str | None, str | None], Finding]


def asked(where: World, seed: int = 0, **settings: object) -> tuple[pl.DataFrame, Told]:
    """Evidence rows and judged findings by metric, modality and condition."""
    probe = Mismatch.configured(settings)
    evidence, quarantined = observe_all([probe], *where, seed=seed)
    assert not quarantined
    rows = evidence[probe.name]
    named = pl.col("condition").str.splitn(": ", 2).struct.rename_fields(["modality", "mismatch"])
    return rows.rows.with_columns(named.alias("named")).unnest("named"), {
        (f.metric, f.modality, f.condition): f for f in findings(probe, rows)
    }


@cache
def clinic(fault: str = "", dose: float = 0.0, seed: int = 0) -> tuple[pl.DataFrame, Told]:
    return asked(organism(fault).world(dose, seed) if fault else CLINIC.world(seed), seed)


def value(told: Told, metric: str, modality: str | None = None, condition: str | None = None) -> float:
    estimate = told[metric, modality, condition].estimate
    assert estimate is not None
    return estimate.value


# Views: two columns, each of which tells the class by its sign and its size how surely.

DEAF, SYNCHRONY = organism("robustness.deaf-to-mismatch"), organism("robustness.needs-synchrony")
VIEWS = {m: Tabular(columns=(m,), fill=(0.0,)) for m in ("left", "right")}


def two_views(weights: tuple[float, float], n: int = 200) -> World:
    """Both views are the class's sign; the model adds them up with these weights."""

    def part(name: str) -> InMemory:
        y = np.random.default_rng([n, *name.encode()]).integers(0, 2, n)
        noise = np.random.default_rng([1, *name.encode()]).uniform(-0.01, 0.01, (2, n))
        x = ((2 * y - 1 + noise)[:, :, None]).astype(np.float32)
        return InMemory(
            {"left": x[0], "right": x[1]},
            targets=y,
            modalities=VIEWS,
            classes=("no", "yes"),
            groups={"ward": [("a", "b")[i % 2] for i in range(n)]},
            ids=[f"{name} {i}" for i in range(n)],
        )

    model = TorchModel(
        encoders={"left": lambda x: weights[0] * x, "right": lambda x: weights[1] * x},
        fusion=lambda codes: codes["left"] + codes["right"],
        head=lambda z: torch.cat([-z, z], dim=1),
        classes=("no", "yes"),
    )
    return model, Splits(part("audited"), part("reference"))


def test_the_model_follows_the_view_with_more_weight_and_never_the_other() -> None:
    rows, told = asked(two_views((2.0, 0.5)))
    assert value(told, "dominance", "left") == 1.0
    assert value(told, "dominance", "right") == 0.0
    assert value(told, "accuracy_lost", "left", "other_class") == 1.0
    assert value(told, "accuracy_lost", "right", "other_class") == 0.0
    assert value(told, "accuracy_lost", "left", "same_class") == 0.0
    # Who follows, loses: all that are swapped for another class, half of those swapped for anybody.
    left = rows.filter(pl.col("modality") == "left")
    classes = pl.col("said").cast(pl.String).replace_strict({"no": 0, "yes": 1}, return_dtype=pl.Int64)
    follows = (classes == pl.col("donor_class")) & (classes != pl.col("target"))
    shares = dict(left.group_by("mismatch").agg(follows.mean()).iter_rows())
    assert shares["other_class"] == 1.0
    assert shares["same_class"] == shares[Matched.name] == 0.0
    assert shares["swapped"] == pytest.approx(0.5, abs=0.1)
    assert shares["stale"] == pytest.approx(0.5, abs=0.1)
    # Confidence falls from sigmoid(2 · 2.5) to sigmoid(2 · 1.5), always, and as the parts say that it should.
    sure = left.group_by("mismatch").agg(pl.col("confidence").mean(), pl.col("parts_confidence").mean())
    for name, c, p in sure.iter_rows():
        if name in (Matched.name, "other_class"):
            assert c == pytest.approx(1 / (1 + np.exp(-2 * (2.5 if name == Matched.name else 1.5))), abs=1e-3)
            assert p == pytest.approx(c, abs=1e-6)
    assert value(told, "detection", "left", "other_class") == 1.0
    assert value(told, "hidden_conflict", "left") == pytest.approx(0.0, abs=1e-6)


def test_an_ignored_view_costs_nothing_and_hides_nothing() -> None:
    _, told = asked(two_views((1.0, 0.0)))
    assert value(told, "accuracy_lost", "right", "other_class") == 0.0
    assert value(told, "detection", "right", "other_class") == 0.5
    assert value(told, "not_less_sure", "right") == 1.0
    for m in (None, "left", "right"):
        assert value(told, "hidden_conflict", m) == pytest.approx(0.0, abs=1e-6)


def test_donors_are_other_samples_of_the_class_asked_for_and_the_same_in_any_batch() -> None:
    model, splits = CLINIC.world(0)
    assert splits.reference is not None
    probe = Mismatch(donors=64)
    metered = Metered(model, splits.audited.schema.modalities)
    pool = probe.prepare(metered, splits.reference, 3)
    turned = probe.prepare(metered, splits.reference.subset(range(len(splits.reference) - 1, -1, -1)), 3)
    assert list(pool.batch.ids) == list(turned.batch.ids) == sorted(pool.batch.ids)
    batch = splits.audited.load(range(100)).batch
    assert batch is not None
    clean = Clean.observe(metered, batch)
    for swap in SWAPS:
        donor, any_ = swap("scan", pool).donors(clean)
        some = torch.tensor([70, 3, 8])
        again, _ = swap("scan", pool).donors(Clean.observe(metered, batch.take(some)))
        assert torch.equal(again, donor[some])
        same = pool.batch.targets[donor] == batch.targets
        if swap.name == "stale":
            for g in batch.groups:
                theirs = np.asarray(pool.batch.groups[g])[donor.numpy()]
                assert (theirs == np.asarray(batch.groups[g]))[any_.numpy()].all()
            continue
        assert any_.all()
        assert {"other_class": not same.any(), "same_class": same.all(), "swapped": 10 < same.sum() < 60}[swap.name]
        assert len(set(donor.tolist())) > 15
    # Nobody lends what the sample has already.
    donor, _ = SWAPS[0]("scan", pool).donors(Clean.observe(metered, pool.batch))
    assert (pool.contents["scan"][donor.numpy()] != pool.contents["scan"]).all()


def test_an_input_that_comes_late_holds_its_first_value_and_one_that_stops_its_last() -> None:
    x = torch.arange(10.0)[None]
    delayed, frozen = Delayed().moved, Frozen().moved
    assert delayed(x, 0.3).tolist() == [[0, 0, 0, 0, 1, 2, 3, 4, 5, 6]]
    assert frozen(x, 0.3).tolist() == [[0, 1, 2, 3, 4, 5, 6, 6, 6, 6]]
    assert frozen(x, 1.0).tolist() == [[0] * 10]
    both = torch.stack([x, -x], dim=2)
    assert torch.equal(delayed(both, 0.2)[..., 1], -delayed(x, 0.2))
    assert delayed(x, 0.01).tolist() == [[0, *range(9)]], "no delay at all"


# What is silent, and what alarms.


@pytest.mark.parametrize("seed", range(3))
def test_bayes_rule_hides_nothing_and_finds_its_own_values_where_it_left_them(seed: int) -> None:
    rows, told = clinic(seed=seed)
    assert abs(value(told, "hidden_conflict")) < 1e-5
    assert told["hidden_conflict", None, None].verdict is Verdict.PASS
    assert told["delay_loss", None, None].verdict is Verdict.PASS
    matched = rows.filter(pl.col("mismatch") == Matched.name)
    assert (matched["same"] == 1).all()
    assert np.allclose(matched["confidence"], matched["clean_confidence"], atol=1e-6)
    for m in TRUTH:
        # Another patient of the same disease says as much as this one.
        assert abs(value(told, "accuracy_lost", m, "same_class")) < 0.06
        assert abs(value(told, "detection", m, "same_class") - 0.5) < 0.05
        assert value(told, "detection", m, "other_class") > value(told, "detection", m, "same_class")
    assert value(told, "dominance", "scan") > value(told, "dominance", "table")


@pytest.mark.parametrize(
    ("fault", "dose"),
    [
        ("robustness.missing-modality", 1.0),
        ("robustness.ignored-modality", 1.0),
        ("robustness.collapse", 0.9),
        ("monitoring.overconfident", 2.0),
    ],
)
def test_other_faults_are_not_taken_for_this_one(fault: str, dose: float) -> None:
    _, told = clinic(fault, dose)
    assert not [f.key for f in told.values() if f.verdict is Verdict.FAIL]
    assert abs(value(told, "hidden_conflict")) < 1e-5


def test_a_task_about_the_relation_of_inputs_is_silent() -> None:
    """Picture and words agree or not: any picture with any words is a sample like another."""
    _, told = asked((PlantedModel(noise=0.2), planted(seed=1)))
    assert value(told, "accuracy_lost", "image", "other_class") > 0.3
    assert told["hidden_conflict", None, None].verdict is Verdict.PASS


def test_a_model_deaf_to_mismatch_is_heard_over_the_dose() -> None:
    found = [value(clinic(DEAF.name, dose)[1], "hidden_conflict") for dose in (0.0, *DEAF.doses)]
    assert found == sorted(found)
    for seed in range(3):
        _, told = clinic(DEAF.name, DEAF.matters, seed)
        assert told["hidden_conflict", None, None].verdict is Verdict.FAIL
    _, told = clinic(DEAF.name, 1.0)
    assert value(told, "detection") == pytest.approx(0.5, abs=0.02)
    # Its answers are the twin's.
    assert value(told, "accuracy_lost") == value(clinic()[1], "accuracy_lost")


def test_the_deaf_model_is_as_sure_as_it_is_right_on_average() -> None:
    model, splits = DEAF.world(1.0, 0)
    batch = splits.audited.load(range(1000)).batch
    assert batch is not None
    metered = Metered(model, batch.modalities)
    for missing in ((), ("scan",), ("note", "table"), ("scan", "note", "vitals")):
        p = metered.of(batch.without(*missing)).softmax(dim=1)
        right = (p.argmax(dim=1) == batch.targets).float()
        assert float(p.amax(dim=1).mean()) == pytest.approx(float(right.mean()), abs=0.04)
    assert float(usual_odds()[0]) == pytest.approx(0.0, abs=1e-6)
    one = torch.zeros(3).index_fill(0, torch.tensor([0]), float(usual_odds()[1])).softmax(dim=0)[0]
    assert float(one) == pytest.approx(TRUTH["scan"], abs=1e-6)


def test_a_model_that_needs_synchrony_is_heard_and_its_twin_is_not() -> None:
    for seed in range(3):
        _, told = asked(TWO_SENSORS.world(seed), seed)
        assert told["delay_loss", None, None].verdict is Verdict.PASS
        _, told = asked(SYNCHRONY.world(SYNCHRONY.matters, seed), seed)
        assert told["delay_loss", None, None].verdict is Verdict.FAIL
    rows, told = asked(SYNCHRONY.world(1.0, 0))
    late = rows.filter(pl.col("mismatch").str.starts_with("delayed"))
    unrelated = late.filter(pl.col("target") == 2)
    assert float(unrelated["right"].mean()) > 0.95  # type: ignore[arg-type]
    assert float(late.filter(pl.col("target") < 2)["right"].mean()) < 0.05  # type: ignore[arg-type]
    assert (rows.filter(pl.col("mismatch") == Matched.name)["right"]).mean() > 0.95  # type: ignore[operator]


# Other models and data.


def test_of_pairs_what_is_swapped_should_be_missed() -> None:
    rows, told = asked(pairs.world(0, pairs.model()))
    assert {m for m, _, _ in told} == {
        "false_match",
        "detection",
    }
    swapped = rows.filter(pl.col("mismatch") == "swapped")
    assert set(rows["mismatch"]) == {Matched.name, "swapped", "stale"}
    assert (swapped["right"] == (swapped["said"] == "missed")).all()
    # Six things: one swap in six is about the same thing, and found.
    assert 0.1 < value(told, "false_match", "image") < 0.25
    assert value(told, "detection") > 0.85


def labels_only(where: World) -> World:
    model, splits = where

    def predict(inputs: dict[str, Tensor]) -> Tensor:
        said: Tensor = model.predict(inputs).argmax(dim=1)
        return said

    return BlackBox(predict, modalities=model.modalities, classes=model.classes, output="labels"), splits


def test_of_labels_alone_answers_are_judged_and_confidence_is_not() -> None:
    _, whole = asked(two_views((2.0, 0.5)))
    _, told = asked(labels_only(two_views((2.0, 0.5))))
    assert {m for m, _, _ in told} == {"accuracy_lost", "dominance"}
    for key, f in told.items():
        assert f.estimate == whole[key].estimate


def test_samples_that_lack_the_input_or_all_others_are_left_out() -> None:
    model, splits = two_views((1.0, 1.0), n=40)
    column = [None if i < 10 else x for i, x in enumerate(splits.audited._inputs["right"])]  # type: ignore[attr-defined]
    source = splits.audited
    assert isinstance(source, InMemory)
    partial = InMemory(
        {"left": source._inputs["left"], "right": column},
        targets=source._targets,
        modalities=VIEWS,
        classes=("no", "yes"),
        ids=source.ids,
    )
    rows, told = asked((model, Splits(partial, splits.reference)))
    for (metric, modality, _), f in told.items():
        if metric == "accuracy_lost" and modality:
            assert f.estimate is not None
            assert f.estimate.n == 30
    assert not rows.filter(pl.col("sample").is_in(list(source.ids[:10])))["done"].any()
    assert "stale" not in set(rows["mismatch"]), "without groups there is no stream"


def test_every_row_of_the_table_is_observed_on_what_it_fits() -> None:
    rng = np.random.default_rng(0)

    def part(name: str) -> InMemory:
        return InMemory(
            {
                "sound": rng.uniform(-1, 1, (30, 64)).astype(np.float32),
                "watch": rng.normal(0, 1, (30, 20, 2)).astype(np.float32),
                "labs": rng.normal(0, 1, (30, 2)).astype(np.float32),
            },
            targets=rng.integers(0, 2, 30),
            modalities={
                "sound": Audio(rate=8, length=64),
                "watch": Series(length=20, channels=("a", "b")),
                "labs": Tabular(columns=("c", "d")),
            },
            classes=("no", "yes"),
            groups={"who": [str(i % 3) for i in range(30)]},
            ids=[f"{name} {i}" for i in range(30)],
        )

    model: Model = TorchModel(
        encoders={m: lambda x: x.flatten(1)[:, :2] for m in ("sound", "watch", "labs")},
        fusion=lambda codes: sum(codes.values()),
        head=lambda z: z,
        classes=("no", "yes"),
    )
    rows, told = asked((model, Splits(part("a"), part("r"))), limit=None)
    severities = r" \d$"
    assert set(rows["mismatch"].str.replace(severities, "")) == {Matched.name, *(change.name for change in TABLE)}
    assert len(rows) == 30 * (3 * 5 + 2 * 10)
    assert ("accuracy_lost", "labs", "delayed") not in told
    only, _ = asked((model, Splits(part("a"), part("r"))), mismatches=("frozen",))
    assert set(only["mismatch"].str.replace(severities, "")) == {Matched.name, "frozen"}


def test_codes_are_recombined_and_nothing_is_encoded_twice() -> None:
    model, splits = CLINIC.world(0)
    metered = Metered(model, splits.audited.schema.modalities)
    assert splits.reference is not None
    probe = Mismatch()
    pool = probe.prepare(metered, splits.reference, 0)
    assert metered.meter.counts == {f"encode {m}": 256 for m in TRUTH}
    from dataclasses import replace

    from muroan.meter import Meter

    batch = splits.audited.load(range(50)).batch
    assert batch is not None
    clean = replace(Clean.observe(metered, batch), prepared={probe.name: pool})
    metered.meter = Meter()
    probe.observe(clean)
    counts = metered.meter.counts
    # The null change, a neutral value, and of the series ten shifts.
    assert counts["encode scan"] == counts["encode note"] == 51
    assert counts["encode vitals"] == 50 * 11 + 1


def test_what_is_asked_wrongly_says_so() -> None:
    with pytest.raises(AskedWrongly):
        Mismatch(mismatches=("swaped",))
    model, splits = world(0, Clinician())
    assert "no group 'ward'" in str(Mismatch(stream=("ward",)).applies(model, splits.audited.schema))
    alone = TorchModel(encoders={"scan": lambda x: x}, fusion=lambda c: c, head=lambda z: z, classes=("a",))
    assert "two inputs" in str(Mismatch().applies(alone, splits.audited.schema))
