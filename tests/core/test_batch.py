"""Batches: rows stay together, keys mean equal values, what is missing is said."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.batch import Batch
from muroan.checks import planted
from muroan.modality import Tabular, Text

N = 6


def batch(**changed) -> Batch:
    table = torch.tensor([0.0, 1, 0, 2, 1, 0])[:, None] * torch.ones(1, 2)
    fields = {
        "modalities": {"table": Tabular(columns=("a", "b"), fill=(9.0, 9.0)), "text": Text()},
        "inputs": {"table": table, "text": [f"word {i}" for i in range(N)]},
        "targets": torch.arange(N),
        "ids": [f"s{i}" for i in range(N)],
        "groups": {"site": list("abcabc")},
        "clusters": list("xxyyzz"),
        "present": {"text": torch.tensor([True, False, True, True, True, True])},
        "keys": {"table": torch.tensor([7, 3, 7, 5, 3, 7])},
    }
    return Batch(**fields | changed)


def same(a: Batch, b: Batch) -> bool:
    return (
        list(a.ids) == list(b.ids)
        and torch.equal(a.targets, b.targets)
        and {g: list(v) for g, v in a.groups.items()} == {g: list(v) for g, v in b.groups.items()}
        and (a.clusters and list(a.clusters)) == (b.clusters and list(b.clusters))
        and torch.equal(a.inputs["table"], b.inputs["table"])
        and list(a.inputs["text"]) == list(b.inputs["text"])
        and a.present.keys() == b.present.keys()
        and all(torch.equal(a.present[m], b.present[m]) for m in a.present)
        and a.keys.keys() == b.keys.keys()
        and all(torch.equal(a.keys[m], b.keys[m]) for m in a.keys)
    )


@settings(max_examples=40, deadline=None)
@given(index=st.lists(st.integers(0, N - 1), max_size=10))
def test_everything_about_a_sample_is_taken_with_it(index):
    whole, some = batch(), batch().take(index)
    assert len(some) == len(index)
    for row, i in enumerate(index):
        assert some.ids[row] == whole.ids[i]
        assert some.targets[row] == whole.targets[i]
        assert some.groups["site"][row] == whole.groups["site"][i]
        assert some.clusters[row] == whole.clusters[i]
        assert torch.equal(some.inputs["table"][row], whole.inputs["table"][i])
        assert some.inputs["text"][row] == whole.inputs["text"][i]
        assert some.present["text"][row] == whole.present["text"][i]
        assert some.keys["table"][row] == whole.keys["table"][i]


def test_an_index_may_be_a_tensor_or_a_range():
    assert same(batch().take(torch.tensor([3, 1])), batch().take([3, 1]))
    assert same(batch().take(range(2, 5)), batch().take([2, 3, 4]))


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=3))
def test_pieces_put_together_are_the_whole(cuts):
    edges = [0, *sorted(cuts), N]
    pieces = [batch().take(range(a, b)) for a, b in pairwise(edges)]
    assert same(Batch.concat(pieces), batch())


def test_a_batch_that_does_not_mention_a_modality_has_it():
    joined = Batch.concat([batch(present={}), batch()])
    assert joined.present["text"].tolist() == [True] * N + [True, False, True, True, True, True]


def test_keys_that_one_batch_lacks_are_not_made_up():
    assert "table" not in Batch.concat([batch(), batch(keys={})]).keys


def test_distinct_values_and_which_is_whose():
    values, index = batch().unique("table")
    assert len(values) == 3
    assert torch.equal(values[index], batch().inputs["table"])


def test_without_keys_every_row_is_its_own_value():
    values, index = batch().unique("text")
    assert values == batch().inputs["text"]
    assert index.tolist() == list(range(N))


@settings(max_examples=40, deadline=None)
@given(keys=st.lists(st.integers(0, 5), max_size=12))
def test_as_many_distinct_values_as_keys_each_the_first_of_its_kind(keys):
    n = len(keys)
    b = Batch(
        modalities={"table": Tabular(columns=("a",))},
        inputs={"table": torch.tensor([float(k) for k in keys])[:, None]},
        targets=torch.zeros(n, dtype=torch.long),
        ids=[str(i) for i in range(n)],
        keys={"table": torch.tensor(keys, dtype=torch.long)},
    )
    values, index = b.unique("table")
    assert len(values) == len(set(keys))
    assert torch.equal(values[index], b.inputs["table"])


def test_a_replaced_input_loses_its_keys_and_the_original_is_left_alone():
    before = batch()
    after = before.with_inputs(table=torch.zeros(N, 2))
    assert "table" not in after.keys
    assert "table" in before.keys
    assert before.inputs["table"].sum() > 0
    assert after.inputs["text"] is before.inputs["text"]


def test_without_a_modality_its_input_is_neutral_and_said_to_be_absent():
    gone = batch().without("table")
    assert (gone.inputs["table"] == 9.0).all()
    assert not gone.present["table"].any()
    assert gone.present["text"].tolist() == batch().present["text"].tolist()
    assert "table" not in gone.keys
    both = batch().without("table", "text")
    assert both.inputs["text"] == [""] * N
    assert not both.present["text"].any()


@pytest.mark.parametrize("missing", [(), ("image",), ("text", "table")])
def test_what_is_not_missing_stays(missing):
    b = planted(16).audited.load(range(16)).batch
    gone = b.without(*missing)
    for m in set(b.modalities) - set(missing):
        assert gone.inputs[m] is b.inputs[m]
    assert set(gone.keys) == set(b.keys) - set(missing)
