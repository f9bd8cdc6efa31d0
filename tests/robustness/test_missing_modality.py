"""Missing modalities: planted faults are found, their clean twins raise no alarm, and the figures are closed forms."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.batch import Schema
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.estimate.curves import curve_area, curve_excess_over_baseline
from muroan.estimate.totals import totals, worst
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Finding, Verdict, judge
from muroan.interventions.removals import CLEAN, Removal, subsets
from muroan.meter import Meter, Metered
from muroan.modality import Audio, Image, Tabular, Text
from muroan.model import BlackBox, Capability, TorchModel
from muroan.robustness.distribution_shift.missing_modality.grid import RATES, Grid, condition
from muroan.robustness.distribution_shift.missing_modality.probe import MissingModality

CLASSES = ("a", "b", "c", "d")
PROBE = MissingModality()


def views(n: int = 400, names: Sequence[str] = ("left", "right"), seed: int = 0, noise: float = 0.0) -> InMemory:
    """Each view is the one-hot label (a share `noise` of them of a random class); erased it is all zeros."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, n)
    inputs: dict[str, Any] = {}
    for m in names:
        told = np.where(rng.random(n) < noise, rng.integers(0, 4, n), targets)
        inputs[m] = torch.nn.functional.one_hot(torch.from_numpy(told), 4).float()
    return InMemory(
        inputs,
        targets=targets,
        modalities={m: Tabular(columns=CLASSES) for m in names},
        classes=CLASSES,
        groups={"half": ["first" if i < n // 2 else "second" for i in range(n)]},
    )


def model(
    decide: Callable[[dict[str, Tensor]], Tensor], names: Sequence[str] = ("left", "right"), **more: Any
) -> TorchModel:
    """A model whose logits are a function of the views themselves."""
    return TorchModel(
        encoders={m: (lambda x: x) for m in names},
        fusion=lambda codes: decide(dict(codes)),
        head=lambda logits: logits,
        classes=CLASSES,
        gradients=False,
        **more,
    )


def redundant(x: dict[str, Tensor]) -> Tensor:
    """Adds up what the views say: right with any of them, unsure with none."""
    return 4.0 * sum(x.values(), torch.zeros(()))


def concluded(m: Any, data: InMemory, **more: Any) -> tuple[Conclusion, Evidence, list[Finding]]:
    evidence, quarantined = observe_all([PROBE], m, Splits(data), **more)
    assert not quarantined
    found = PROBE.conclude(evidence[PROBE.name])
    return found, evidence[PROBE.name], verdicts(found)


def verdicts(found: Conclusion) -> list[Finding]:
    """With the default limits."""
    limited = []
    for f in found.findings:
        metric = PROBE.metric(f.metric)
        limit = metric.limited(metric.limit) if f.judged and metric.limit is not None else None
        limited.append(f.model_copy(update={"limit": limit}))
    return judge(limited)


def value(findings: Sequence[Finding], metric: str, modality: str | None = None, group: str | None = None) -> float:
    (found,) = [f for f in findings if (f.metric, f.modality, f.group) == (metric, modality, group) and not f.condition]
    assert found.estimate is not None
    return found.estimate.value


# Known answers.


def test_a_redundant_model_loses_nothing() -> None:
    found, evidence, judged = concluded(model(redundant), views())
    for metric in ("worst_accuracy", "average_accuracy", "curve_area"):
        assert value(judged, metric) == 1.0
    for metric in ("worst_single_drop", "silent_loss", "confidence_rise"):
        assert value(judged, metric) == 0.0
    assert {f.verdict for f in judged if f.limit} == {Verdict.PASS}
    assert evidence.conditions() == sorted([CLEAN, *(Removal((m,)).condition for m in ("left", "right"))])
    assert all(f.judged == (f.modality is None and f.condition is None and f.group is None) for f in found.findings)


def test_a_model_that_trusts_one_view_alone_loses_it_all_without_it() -> None:
    _, _, judged = concluded(model(lambda x: 4 * x["left"]), views())
    constant = max(np.bincount([views().sample(i).target for i in range(400)])) / 400
    first = np.mean([views().sample(i).target == 0 for i in range(400)])  # all zeros: argmax is the first class
    assert value(judged, "worst_accuracy") == pytest.approx(first)
    assert value(judged, "worst_single_drop") == pytest.approx(1 - first)
    assert value(judged, "drop", "left") == pytest.approx(1 - first)
    assert value(judged, "average_accuracy") == pytest.approx((2 + first) / 3)
    assert value(judged, "below_guessing") == pytest.approx(constant - first)
    assert value(judged, "curve_area", "left") == pytest.approx((1 + first) / 2)
    # The other one it ignores, exactly.
    assert value(judged, "drop", "right") == 0.0
    assert value(judged, "answer_changes", "right") == 0.0
    (note,) = [f.note for f in judged if (f.metric, f.modality) == ("answer_changes", "right")]
    assert "ignores the right" in note
    # Unsure without it: a loss, but not a silent one.
    assert value(judged, "silent_loss") == 0.0


def overconfident(x: dict[str, Tensor]) -> Tensor:
    """Says the last class, surer than ever, where the left view is all zeros."""
    gone = (x["left"].abs().sum(dim=1, keepdim=True) == 0).float()
    return redundant(x) + 50 * gone * torch.tensor([0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_goes_wrong_with_confidence_alarms(seed: int) -> None:
    _, _, judged = concluded(model(overconfident), views(120, seed=seed))
    (headline,) = [f for f in judged if f.metric == "hidden_loss" and f.modality is None]
    assert headline.verdict is Verdict.FAIL
    assert "without the left" in headline.title
    assert value(judged, "hidden_loss", "right") <= 0.0
    assert value(judged, "silent_loss") > 0.5
    assert value(judged, "silent_loss", "right") == 0.0


def test_of_what_bayes_rule_loses_nothing_is_hidden_though_some_of_it_is_silent() -> None:
    """Two views, each right in 7 of 10: where they contradict each other the tie was broken by luck."""
    weight = float(np.log(0.7 * 3 / 0.3))
    _, _, judged = concluded(model(lambda x: weight * sum(x.values(), torch.zeros(()))), views(4000, noise=0.4))
    (headline,) = [f for f in judged if f.metric == "hidden_loss" and f.modality is None]
    assert headline.verdict is Verdict.PASS
    assert abs(value(judged, "hidden_loss")) < 0.03
    assert value(judged, "silent_loss") > 0.08


def test_a_confidence_that_falls_too_little_hides_a_loss_though_none_is_silent() -> None:
    def half_aware(x: dict[str, Tensor]) -> Tensor:
        """Without the left view a class that is mostly wrong, at 0.9 where it said 0.99."""
        gone = (x["left"].abs().sum(dim=1, keepdim=True) == 0).float()
        return 6 * x["left"] + 3.3 * gone * torch.tensor([0.0, 0.0, 0.0, 1.0])

    _, _, judged = concluded(model(half_aware), views())
    assert value(judged, "silent_loss") == 0
    (headline,) = [f for f in judged if f.metric == "hidden_loss" and f.modality is None]
    assert headline.verdict is Verdict.FAIL
    # Three of four are lost; the confidence falls from 0.99 to 0.90.
    fall = float(torch.tensor([6.0, 0, 0, 0]).softmax(0)[0] - torch.tensor([3.3, 0, 0, 0]).softmax(0)[0])
    right = np.mean([views().sample(i).target == 3 for i in range(400)])
    assert value(judged, "hidden_loss") == pytest.approx(1 - right - fall, abs=1e-4)


def rare(x: dict[str, Tensor]) -> Tensor:
    """Says the class that never occurs, unsurely, where a view is missing."""
    gone = torch.stack([(v.abs().sum(dim=1) == 0) for v in x.values()]).any(dim=0)[:, None]
    return torch.where(gone, torch.tensor([0.0, 0.0, 0.1, 0.0]), redundant(x))


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_is_worse_than_guessing_alarms(seed: int) -> None:
    data = views(200, seed=seed)
    keep = [i for i in range(200) if data.sample(i).target != 2]
    _, _, judged = concluded(model(rare), data.subset(keep))
    (found,) = [f for f in judged if f.metric == "below_guessing"]
    assert found.verdict is Verdict.FAIL
    assert value(judged, "worst_accuracy") == 0.0
    assert value(judged, "silent_loss") == 0.0


def test_clean_twins_raise_no_alarm() -> None:
    """Redundant over noisy views, and one that trusts one view but is unsure without it: 30 data sets each."""
    alarms = 0
    for seed in range(30):
        for decide in (redundant, lambda x: 4 * x["left"]):
            _, _, judged = concluded(model(decide), views(150, seed=seed, noise=0.2))
            alarms += any(f.verdict is Verdict.FAIL for f in judged)
    assert alarms <= 3  # 5 % of 60


def test_a_calibrated_model_without_information_is_not_below_guessing() -> None:
    """The worst case for that alarm: chance accuracy, and a constant chosen on the same labels."""
    alarms = 0
    for seed in range(40):
        _, _, judged = concluded(model(lambda x: 0 * x["left"]), views(80, seed=seed))
        alarms += any(f.verdict is Verdict.FAIL for f in judged)
    assert alarms <= 2


# What it does with the model.


def test_neutral_values_are_encoded_once_and_nothing_else_is() -> None:
    data = views(50)
    metered = Metered(model(redundant), data.schema.modalities)
    from muroan.clean import Clean

    clean = Clean.observe(metered, data.load(range(50)).batch)
    metered.meter = Meter()
    rows = PROBE.observe(clean).rows
    assert metered.meter.passes == 100
    encoded = {k: n for k, n in metered.meter.counts.items() if k.startswith("encode")}
    assert encoded == {"encode left": 1, "encode right": 1}
    assert len(rows) == 3 * 50


@pytest.mark.parametrize("apart", [True, False])
def test_shards_order_and_way_do_not_change_rows(apart: bool) -> None:
    data = views(60, noise=0.3)
    whole = concluded(model(overconfident), data)[1].rows
    shuffled = data.subset([int(i) for i in np.random.default_rng(1).permutation(60)])
    parts = concluded(model(overconfident), shuffled, shard=7, apart=apart)[1].rows
    columns = ["sample", "condition", "said", "right", "same", "done"]
    assert whole.select(columns).equals(parts.select(columns))
    assert np.allclose(whole["confidence"], parts["confidence"])


class Absent(TorchModel):
    """Leaves absent views out of the sum, and says so."""

    def __init__(self) -> None:
        super().__init__(
            encoders={"left": lambda x: x, "right": lambda x: x},
            fusion=lambda codes: codes["left"],
            head=lambda logits: logits,
            classes=CLASSES,
            gradients=False,
        )
        self.capabilities = self.capabilities | {Capability.ABSENT}

    def fuse(self, codes: Any, present: Any = None) -> Tensor:
        if present is None:
            return redundant(dict(codes))
        told = sum(c * present[m][:, None] for m, c in codes.items())
        blind = ~torch.stack(list(present.values())).all(dim=0)
        # A neutral value that it takes for real makes it say the last class.
        fooled = torch.stack([(c.abs().sum(dim=1) == 0) & present[m] for m, c in codes.items()]).any(dim=0)
        out = (4.0 - blind.float())[:, None] * told
        return torch.where(fooled[:, None], torch.tensor([0.0, 0.0, 0.0, 9.0]), out)


def test_native_absence_is_the_headline_and_neutral_the_comparison() -> None:
    found, evidence, judged = concluded(Absent(), views())
    assert value(judged, "worst_accuracy") == 1.0
    assert value(judged, "confidence_rise") == 0.0
    last = np.mean([views().sample(i).target == 3 for i in range(400)])
    by = {f.condition: f.estimate for f in judged if f.metric == "accuracy"}
    assert by[condition("absent", ("left",))].value == 1.0
    assert by[condition("neutral", ("left",))].value == pytest.approx(last)
    assert len(evidence.conditions()) == 5
    assert any("own handling" in note for note in found.notes)


def test_a_model_that_gives_labels_only_has_no_figures_of_confidence() -> None:
    box = BlackBox(
        lambda x: (x["left"] + x["right"]).argmax(dim=1).numpy(),
        modalities=("left", "right"),
        classes=CLASSES,
        output="labels",
    )
    found, evidence, judged = concluded(box, views(80))
    assert {f.metric for f in judged} & {"silent_loss", "confidence_rise"} == set()
    assert value(judged, "worst_accuracy") == 1.0
    assert evidence.rows["confidence"].null_count() == len(evidence.rows)
    assert any("labels only" in note for note in found.notes)


def test_samples_that_lack_an_input_are_left_out_of_figures_and_kept_in_evidence() -> None:
    full = views(100)
    lacking = InMemory(
        {
            "left": [None if i < 30 else full.sample(i).inputs["left"] for i in range(100)],
            "right": full._inputs["right"],
        },
        targets=[full.sample(i).target for i in range(100)],
        modalities=full.schema.modalities,
        classes=CLASSES,
    )
    found, evidence, judged = concluded(model(lambda x: 4 * x["left"]), lacking, shard=40)
    assert len(evidence.rows) == 300
    assert all(f.estimate is None or f.estimate.n == 70 for f in judged)
    assert any(note.startswith("30 samples") for note in found.notes)
    none = InMemory(
        {"left": [None] * 100, "right": full._inputs["right"]},
        targets=[full.sample(i).target for i in range(100)],
        modalities=full.schema.modalities,
        classes=CLASSES,
    )
    judged = concluded(model(redundant), none)[2]
    assert {f.verdict for f in judged} == {Verdict.NOT_APPLICABLE}
    assert all("no sample" in f.reason for f in judged)


def test_it_works_for_any_kinds_of_inputs() -> None:
    n = 40
    g = torch.Generator().manual_seed(0)
    data = InMemory(
        {
            "image": torch.rand(n, 3, 8, 8, generator=g),
            "text": [f"word{i % 4} again" for i in range(n)],
            "sound": torch.rand(n, 320, generator=g) - 0.5,
        },
        targets=[i % 4 for i in range(n)],
        modalities={"image": Image(size=(8, 8)), "text": Text(), "sound": Audio(rate=100, length=320)},
        classes=CLASSES,
    )

    def words(texts: list[str]) -> Tensor:
        told = torch.tensor([int(t[4]) if t else 0 for t in texts])
        return torch.nn.functional.one_hot(told, 4).float()

    m = TorchModel(
        encoders={"image": lambda x: x.mean(dim=(2, 3)), "text": words, "sound": lambda x: x[:, :1]},
        fusion=lambda codes: 3 * codes["text"],
        head=lambda logits: logits,
        classes=CLASSES,
    )
    found, evidence, judged = concluded(m, data)
    assert len(evidence.conditions()) == 7
    assert value(judged, "drop", "image") == 0.0
    assert value(judged, "worst_accuracy") == 0.25
    assert len(found.charts) == 3


def test_one_modality_is_not_enough() -> None:
    one = model(lambda x: x["left"], names=("left",))
    assert "two modalities" in str(PROBE.applies(one, Schema(modalities={"left": Text()}, classes=CLASSES)))


# Subsets, curves.


def test_subsets() -> None:
    assert subsets("ab") == [("a",), ("b",)]
    assert subsets("abc") == [("a", "b"), ("a", "c"), ("b", "c"), ("a",), ("b",), ("c",)]
    assert [len(subsets("abcdefg"[:n])) for n in (4, 6, 7)] == [14, 62, 14]


def test_seven_modalities_are_asked_one_missing_and_one_alone() -> None:
    names = tuple("abcdefg")
    found, _, judged = concluded(model(redundant, names), views(40, names))
    assert value(judged, "worst_accuracy") == 1.0
    assert "curve_area" not in {f.metric for f in judged if f.modality is None}
    assert any("7 inputs" in note for note in found.notes)


def test_curves_are_the_mixture_that_random_missing_gives() -> None:
    """Against drawing who misses what, 3 modalities, keeping the one with the largest draw where all would go."""
    names = ("a", "b", "c")
    rng = np.random.default_rng(5)

    def hard(x: dict[str, Tensor]) -> Tensor:
        """Right if at least two views are there, or the first alone."""
        there = torch.stack([v.abs().sum(dim=1) > 0 for v in x.values()])
        right = (there.sum(dim=0) >= 2) | there[0]
        return torch.where(right[:, None], redundant(x), -redundant(x))

    data = views(300, names)
    _, evidence, judged = concluded(model(hard, names), data)
    grid = Grid(evidence)
    joint = grid.joint_curve().mean(axis=0)
    draws = rng.random((200_000, 3))
    for eta, ours in zip(RATES, joint, strict=True):
        there = draws >= eta
        nobody = ~there.any(axis=1)
        there[nobody, draws[nobody].argmax(axis=1)] = True
        assert ours == pytest.approx(((there.sum(axis=1) >= 2) | there[:, 0]).mean(), abs=0.004)
    assert value(judged, "curve_area") == pytest.approx(curve_area(joint, RATES))
    assert grid.curve("a").mean(axis=0) == pytest.approx(1 - 0 * np.asarray(RATES))


def test_curve_areas_of_known_curves() -> None:
    eleven = np.arange(11) / 10
    assert curve_area(np.ones(11), eleven) == pytest.approx(1.0)
    assert curve_area(1 - 0.05 * np.arange(11), eleven) == pytest.approx(0.75)
    fusion = 0.9 - 0.04 * np.arange(11)
    assert curve_excess_over_baseline(fusion, fusion) == 0
    assert curve_excess_over_baseline(fusion + 0.05, fusion) == pytest.approx(0, abs=1e-12)
    better = fusion.copy()
    better[5] += 0.2
    assert curve_excess_over_baseline(better, fusion) == pytest.approx(0.2)


def test_a_group_that_pays_more_is_named() -> None:
    data = views(400)

    def unfair(x: dict[str, Tensor]) -> Tensor:
        return redundant(x)

    _, evidence, _ = concluded(model(unfair), data)
    # Without the left view every second sample of one group is wrong: written into the evidence itself.
    hurt = (
        (pl.col("condition") == Removal(("left",)).condition)
        & (pl.col("group.half") == "second")
        & (pl.col("sample").cast(pl.Int64) % 2 == 0)
    )
    rows = evidence.rows.with_columns(right=pl.when(hurt).then(0.0).otherwise(pl.col("right")))
    found = PROBE.conclude(Evidence(rows, evidence.about)).findings
    (gap,) = [f for f in found if f.metric == "group_drop_gap"]
    assert gap.estimate.value == pytest.approx(0.5)
    assert gap.estimate.low > 0.3
    assert (gap.modality, gap.group) == ("left", "half")
    assert "'second' more than 'first'" in gap.title


def test_conclusions_are_a_function_of_the_evidence() -> None:
    found, evidence, _ = concluded(model(overconfident), views(80, noise=0.2))
    again = PROBE.conclude(Evidence(evidence.rows.clone(), evidence.about))
    assert found.model_dump_json() == again.model_dump_json()


# The worst of several figures.


def test_the_worst_of_equal_shares_is_not_taken_for_worse() -> None:
    """Ten equal shares of 0.3: the interval of the largest holds 0.3 about as often as it says."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(120):
        hits = (rng.random((100, 10)) < 0.3).astype(float)
        sums = totals(np.column_stack([np.ones(100), hits]), None, [[1] * 11, [1] + [0] * 10])
        found = worst(sums, lambda t: t[:, 1:] / t[:, :1], seed=seed)
        assert found.estimate.value == hits.mean(axis=0).max()
        assert found.at == hits.mean(axis=0).argmax()
        held += found.estimate.low <= 0.3 <= found.estimate.high
    assert held >= 0.93 * 120


def test_the_worst_of_clustered_shares() -> None:
    """Five equal answers a cluster are worth one: the interval is as wide as that of the clusters."""
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(120):
        hits = np.repeat((rng.random((40, 4)) < 0.3).astype(float), 5, axis=0)
        names = np.repeat(np.arange(40), 5).astype(str)
        sums = totals(np.column_stack([np.ones(200), hits]), list(names), [[1] * 5, [1] + [0] * 4])
        found = worst(sums, lambda t: t[:, 1:] / t[:, :1], seed=seed)
        held += found.estimate.low <= 0.3 <= found.estimate.high
        assert found.estimate.clusters == 40
    assert held >= 0.92 * 120


@pytest.mark.parametrize("n", [1, 5, 50])
def test_no_loss_at_all_is_not_certainty(n: int) -> None:
    sums = totals(np.column_stack([np.ones(n), np.zeros((n, 3))]), None, [[1] * 4, [1, 0, 0, 0]])
    found = worst(sums, lambda t: t[:, 1:] / t[:, :1]).estimate
    assert found.value == 0
    assert found.high > 1 / (n + 1)
