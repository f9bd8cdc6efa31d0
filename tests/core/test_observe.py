"""One bad sample stays one bad sample: bisecting, giving up, which samples are observed, evidence put together."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan import BlackBox
from muroan.auditing.observe import GIVE_UP, about, each_or_halves, gather, observe_all, selection
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly, BadSample, CannotComplete, NotApplicable
from muroan.evidence import MEMBERS, About, Evidence
from muroan.finding import Conclusion
from muroan.modality import Tabular
from muroan.probe import Observation, Probe


def work_with(bad, calls=None, reason=lambda i: f"sample {i}"):
    """Work that fails on the first bad sample that it meets."""

    def work(index):
        if calls is not None:
            calls.append(list(index))
        for i in index:
            if i in bad:
                raise BadSample(reason(i))
        return [10 * i for i in index]

    return work


def names(n):
    return [f"s{i}" for i in range(n)]


def test_what_works_is_done_in_one_go():
    calls = []
    done, bad = each_or_halves(100, work_with((), calls), names(100), "stage")
    assert calls == [list(range(100))]
    assert done == [(list(range(100)), [10 * i for i in range(100)])]
    assert bad == []
    assert each_or_halves(0, work_with(()), [], "stage") == ([], [])


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 40), data=st.data())
def test_exactly_the_samples_to_blame_fall_out_each_with_its_reason(n, data):
    blamed = data.draw(st.sets(st.integers(0, n - 1)))
    done, bad = each_or_halves(n, work_with(blamed), names(n), "stage")
    worked = [i for index, _ in done for i in index]
    assert worked == sorted(set(range(n)) - blamed)
    assert [r for _, result in done for r in result] == [10 * i for i in worked]
    assert {(q.sample, q.stage, q.reason) for q in bad} == {
        (f"s{i}", "stage", f"BadSample: sample {i}") for i in blamed
    }
    assert len(bad) == len(blamed)


def test_one_bad_sample_costs_a_search_not_a_pass_over_all():
    calls = []
    each_or_halves(1024, work_with({700}, calls), names(1024), "stage")
    assert len(calls) == 1 + 2 * 10


def test_after_some_failed_alike_and_none_worked_the_rest_is_not_tried():
    calls = []
    done, bad = each_or_halves(200, work_with(range(200), calls, lambda i: "no weights"), names(200), "stage")
    assert done == []
    assert len([c for c in calls if len(c) == 1]) == GIVE_UP
    assert sorted(q.sample for q in bad) == sorted(names(200))
    tried = [q for q in bad if q.reason == "BadSample: no weights"]
    assert len(tried) == GIVE_UP
    assert {q.reason for q in bad} - {"BadSample: no weights"} == {
        f"not tried after {GIVE_UP} samples failed alike: BadSample: no weights"
    }


def test_nothing_is_given_up_where_reasons_differ_or_something_worked():
    calls = []
    _, bad = each_or_halves(40, work_with(range(40), calls), names(40), "stage")
    assert len([c for c in calls if len(c) == 1]) == 40
    assert not any("not tried" in q.reason for q in bad)
    done, bad = each_or_halves(40, work_with(range(1, 40), None, lambda i: "same"), names(40), "stage")
    assert [index for index, _ in done] == [[0]]
    assert not any("not tried" in q.reason for q in bad)


@pytest.mark.parametrize("error", [CannotComplete("x"), AskedWrongly("x"), NotApplicable("x"), MemoryError()])
def test_what_is_not_about_a_sample_is_not_caught(error):
    def work(index):
        raise error

    with pytest.raises(type(error)):
        each_or_halves(4, work, names(4), "stage")


def test_an_error_without_words_is_named():
    def work(index):
        raise KeyError

    assert each_or_halves(1, work, ["s0"], "stage")[1][0].reason == "KeyError"


# Which samples


def rows_of(n, ids=None):
    x = torch.zeros(n, 1)
    return InMemory({"t": x}, targets=[0] * n, modalities={"t": Tabular(columns=("a",))}, classes=["a"], ids=ids)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), few=st.integers(0, 70), many=st.integers(0, 70), seed=st.integers(0, 99))
def test_subsets_are_nested_and_depend_on_ids_alone(n, few, many, seed):
    few, many = sorted((few, many))
    data, turned = rows_of(n, names(n)), rows_of(n, names(n)[::-1])
    small, large = (selection(data, k, seed, "audited") for k in (few, many))
    assert set(small) <= set(large)
    assert len(small) == min(few, n)
    assert {turned.ids[i] for i in selection(turned, few, seed, "audited")} == {data.ids[i] for i in small}


def test_no_limit_is_everything_and_splits_and_seeds_draw_apart():
    data = rows_of(100)
    assert selection(data, None, 0, "audited") == list(range(100))
    drawn = {tuple(selection(data, 20, seed, split)) for seed in (0, 1) for split in ("audited", "members")}
    assert len(drawn) == 4


# A small audit


@dataclass(frozen=True, kw_only=True)
class Echo(Probe):
    """Writes down what it saw."""

    name = "tests.echo"
    question = "What is there?"
    place = "monitoring/reliability"
    splits = ("audited", MEMBERS)
    joins = ("tests.other", "tests.absent")

    def observe(self, clean):
        if any(i.endswith("-3") for i in clean.batch.ids):
            raise BadSample("ends with 3")
        return Observation(pl.concat([clean.rows(c, score=clean.logits[:, 1].double()) for c in ("one", "two")]))

    def conclude(self, evidence):
        return Conclusion(findings=[])


@dataclass(frozen=True, kw_only=True)
class Other(Echo):
    name = "tests.other"
    splits = ("audited",)
    joins = ()


def echo(shard: int, **options):
    return observe_all([Echo(limit=20), Other()], PlantedModel(), planted(40), seed=3, shard=shard, **options)


def test_the_size_of_the_shards_changes_nothing():
    whole, bad = echo(1000)
    for shard in (1, 7):
        evidence, quarantined = echo(shard)
        for name in whole:
            other = evidence[name].rows
            assert other.drop("score", "clean_confidence").equals(whole[name].rows.drop("score", "clean_confidence"))
            for column in ("score", "clean_confidence"):
                assert torch.allclose(other[column].to_torch(), whole[name].rows[column].to_torch(), atol=1e-6)
        assert {(q.sample, q.stage) for q in quarantined} == {(q.sample, q.stage) for q in bad}


def test_rows_and_quarantined_are_all_the_samples():
    evidence, bad = echo(16)
    for name, splits in (("tests.echo", ("audited", MEMBERS)), ("tests.other", ("audited",))):
        rows = evidence[name].rows
        fell_out = [q.sample for q in bad if q.stage == name]
        for split in splits:
            seen = rows.filter(pl.col("split") == split).group_by("sample").agg(pl.col("condition").sort())
            assert all(c == ["one", "two"] for c in seen["condition"].to_list())
            expected = 40 if name == "tests.other" else 20
            assert len(seen) + sum(s.startswith(split) for s in fell_out) == expected
    assert [q.sample for q in bad if q.stage == "tests.other"] == ["audited-3"]


def test_evidence_knows_its_samples_and_the_probes_it_joins():
    evidence, _ = echo(16)
    rows, data = evidence["tests.echo"].rows, planted(40).audited
    assert list(evidence["tests.echo"].others) == ["tests.other"]
    assert evidence["tests.other"].others == {}
    assert {"cluster", "target", "clean_predicted", "clean_confidence", "clean_correct", "group.site"} <= set(
        rows.columns
    )
    for row in rows.filter(pl.col("split") == "audited").sample(5, seed=0).to_dicts():
        i = data.ids.index(row["sample"])
        sample = data.sample(i)
        assert (row["cluster"], row["target"], row["group.site"]) == (
            sample.cluster,
            sample.target,
            sample.groups["site"],
        )
    key = ["split", "sample", "condition"]
    assert rows.equals(rows.sort(key, maintain_order=True))


def test_a_sample_that_the_model_cannot_take_is_quarantined_and_the_others_are_observed():
    def fragile(inputs):
        if any("warm" in t.split()[:1] for t in inputs["text"]):
            raise ValueError("cannot start warm")
        return torch.ones(len(inputs["text"]), 2)

    model = BlackBox(fragile, modalities=tuple(MODALITIES), classes=PlantedModel.classes, output="logits")
    data = planted(40).audited
    warm = {i for i, t in zip(data.ids, data._inputs["text"], strict=True) if t.split()[0] == "warm"}
    assert 0 < len(warm) < 40
    evidence, bad = observe_all([Other()], model, Splits(data))
    assert {q.sample for q in bad if q.stage == "clean pass"} == warm
    assert all(q.reason == "ValueError: cannot start warm" for q in bad if q.stage == "clean pass")
    seen = set(evidence["tests.other"].rows["sample"])
    assert len(seen) == 40 - len(bad)
    assert not seen & warm


def test_gathering_sorts_joins_facts_and_leaves_out_probes_without_rows():
    known = About(("a",), {"t": "tabular"}, {}, None)

    def frame(*samples):
        n = len(samples)
        return pl.DataFrame({"sample": samples, "condition": ["c"] * n, "split": ["audited"] * n, "x": [1.0] * n})

    facts = pl.DataFrame(
        {"sample": ["b", "a", "b"], "condition": ["clean"] * 3, "split": ["audited"] * 3, "y": [2, 1, 2]}
    )
    found = gather({"p": [frame("b"), frame("a")], "q": []}, [facts], known, {"p": ("q", "p")})
    assert list(found) == ["p"]
    assert found["p"].rows["sample"].to_list() == ["a", "b"]
    assert found["p"].rows["y"].to_list() == [1, 2]
    assert isinstance(found["p"].others["p"], Evidence)
    assert gather({"p": []}, [], known, {}) == {}


def test_what_conclusions_know_is_the_schema_in_words():
    known = about(PlantedModel(), planted(40).audited, seed=7, level=0.9)
    assert known.modalities == {"image": "image", "text": "text", "table": "tabular"}
    assert (known.classes, known.cluster, known.seed, known.level) == (("differ", "agree"), "cluster", 7, 0.9)
    assert known.groups == {"site": ("north", "south")}
