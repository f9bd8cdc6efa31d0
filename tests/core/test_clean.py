"""The clean pass: shared codes stay aligned with their samples, and removing an input equals its being missing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan import BlackBox, Tabular
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.clean import Clean
from muroan.data.memory import InMemory
from muroan.intervention import outcome
from muroan.interventions.removals import Removal
from muroan.meter import Metered
from muroan.modality import take
from tests.core.test_meter import TABLES, Labelled

N = 20
SUBSETS = [s for k in range(4) for s in combinations(MODALITIES, k)]


def clean(apart: bool = True) -> Clean:
    model = Metered(PlantedModel(), MODALITIES, apart=apart)
    return Clean.observe(model, planted(N).audited.load(range(N)).batch, split="reference", seed=5)


def test_a_clean_pass_says_what_the_model_says():
    c = clean()
    expected = PlantedModel().predict(c.batch.inputs)
    assert torch.allclose(c.logits, expected, atol=1e-6)
    assert c.predicted.tolist() == expected.argmax(dim=1).tolist()
    assert c.correct.tolist() == (expected.argmax(dim=1) == c.batch.targets).tolist()
    assert torch.allclose(c.probabilities.sum(dim=1), torch.ones(N, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(index=st.lists(st.integers(0, N - 1), min_size=1, max_size=N + 5))
def test_codes_stay_with_their_samples_whichever_are_taken(index):
    some = clean().take(index)
    assert some.batch.ids == [clean().batch.ids[i] for i in index]
    assert torch.equal(some.logits, clean().logits[index])
    assert torch.allclose(some.model.logits(some.codes, some.index), some.logits, atol=1e-6)
    for m, code in some.own_codes().items():
        assert torch.allclose(code.data, PlantedModel().encode(m, some.batch.inputs[m]), atol=1e-6)
    assert all(code.n <= len(set(index)) for code in some.codes.values())
    assert (some.split, some.seed) == ("reference", 5)


def test_all_samples_in_another_order_are_in_that_order():
    turned = clean().take(range(N)[::-1])
    assert turned.batch.ids == clean().batch.ids[::-1]
    assert torch.equal(turned.logits, clean().logits.flip(0))


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("missing", SUBSETS)
def test_without_an_input_equals_predicting_the_batch_that_lacks_it(missing, apart):
    c = clean(apart)
    expected = PlantedModel().predict(c.batch.without(*missing).inputs)
    assert torch.allclose(outcome(c, Removal(missing)).logits, expected, atol=1e-6)


@pytest.mark.parametrize("apart", [True, False])
def test_other_codes_of_an_input_are_what_the_model_says_of_other_values(apart):
    c, (m, *_) = clean(apart), MODALITIES
    order, at = torch.arange(N).flip(0), torch.tensor([3, 0, 7])
    swapped = take(c.batch.inputs[m], order)
    expected = PlantedModel().predict({**c.batch.inputs, m: swapped})
    own = c.model.encode(m, c.batch.inputs[m])
    assert torch.allclose(c.having({m: (own, order)}), expected, atol=1e-6)
    assert torch.allclose(c.having({m: (own, order[at])}, at), expected[at], atol=1e-6)
    assert torch.allclose(c.having({}), c.logits, atol=1e-6)


def test_confidence_is_the_largest_probability_and_null_for_a_model_that_shows_none():
    c = clean()
    assert c.confidence(c.logits).to_list() == pytest.approx(c.probabilities.amax(dim=1).tolist())
    box = BlackBox(lambda x: np.zeros(len(x["a"])), modalities=("a", "b"), classes=("no", "yes"), output="labels")
    batch = InMemory(
        {m: torch.zeros(3, 2) for m in TABLES}, targets=[0, 1, 0], modalities=TABLES, classes=("no", "yes")
    )
    of_labels = Clean.observe(Metered(box, TABLES), batch.load(range(3)).batch)
    assert of_labels.confidence(of_labels.logits).to_list() == [None] * 3


def test_one_neutral_value_for_all_is_encoded_once():
    c = clean()
    c.model.meter.counts.clear()
    outcome(c, Removal(("image", "text")))
    assert c.model.meter.counts == {"encode image": 1, "encode text": 1, "fuse": N}


def test_a_model_that_handles_absence_is_told_what_is_missing_and_what_was_before():
    x = np.zeros((4, 2), dtype=np.float32)
    data = InMemory(
        {"a": [*x[:3], None], "b": x}, targets=[0] * 4, modalities=TABLES, classes=Labelled.classes, name="gaps"
    )
    c = Clean.observe(Metered(Labelled(), TABLES), data.load(range(4)).batch)
    assert c.logits[:, 1].tolist() == [2, 2, 2, 1]
    assert outcome(c, Removal(("b",))).logits[:, 1].tolist() == [1, 1, 1, 0]
    assert outcome(c.take([3, 1]), Removal(("b",))).logits[:, 1].tolist() == [0, 1]


def test_neutral_values_of_different_rows_keep_their_rows():
    """A modality whose neutral value differs by sample: each sample gets its own."""

    class Halved(Tabular):
        def neutral(self, x):
            return x / 2

    modalities = {"a": Halved(columns=("x", "y")), "b": TABLES["b"]}
    x = torch.arange(8.0).view(4, 2)
    data = InMemory(
        {"a": x, "b": x}, targets=[0] * 4, modalities=modalities, classes=Labelled.classes, keys={"a": [0, 1, 2, 3]}
    )
    c = Clean.observe(Metered(Labelled(), modalities), data.load(range(4)).batch).take([2, 0])
    codes, own = c.neutral("a")
    assert codes.data[0][own].flatten().tolist() == [2.0, 0.0]


def test_random_keys_belong_to_samples_purposes_and_seeds():
    c = clean()
    assert np.array_equal(c.take([7, 3]).keys("noise"), c.keys("noise")[[7, 3]])
    assert not np.isin(c.keys("noise"), c.keys("other")).any()
    again = Clean(c.model, c.batch, c.codes, c.index, c.logits, seed=6)
    assert not np.isin(c.keys("noise"), again.keys("noise")).any()


def test_rows_are_one_a_sample_in_order():
    c = clean()
    rows = c.rows("clean", score=c.logits[:, 1], right=c.correct, split=[c.split] * N)
    assert rows.columns == ["sample", "condition", "score", "right", "split"]
    assert rows["sample"].to_list() == c.batch.ids
    assert rows["score"].to_list() == c.logits[:, 1].tolist()
