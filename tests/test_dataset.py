"""Loading: what is good is stacked, what is bad is quarantined with its reason, what is missing says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset, Sample, Splits, split_off
from muroan.errors import AskedWrongly, BadSample
from muroan.modality import Audio, Image, Series, Tabular, Text

MODALITIES = {
    "picture": Image(size=(4, 5), fill=(0.1, 0.2, 0.3)),
    "words": Text(),
    "sound": Audio(rate=8, length=6, frame=2),
    "row": Tabular(columns=("a", "b"), fill=(7.0, 8.0)),
    "series": Series(length=3, channels=("x", "y"), fill=(1.0, 2.0)),
}
NEUTRAL = {
    "picture": torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).expand(3, 4, 5),
    "words": "",
    "sound": torch.zeros(6),
    "row": torch.tensor([7.0, 8.0]),
    "series": torch.tensor([1.0, 2.0]).expand(3, 2),
}


def values(seed: int) -> dict[str, object]:
    draw = np.random.default_rng(seed)
    return {
        "picture": draw.integers(0, 256, (4, 5, 3), dtype=np.uint8),
        "words": f"sample number {seed}",
        "sound": draw.uniform(-1, 1, 6),
        "row": draw.normal(size=2),
        "series": draw.normal(size=(3, 2)),
    }


class Given(Dataset):
    """Samples, or exceptions in the place of samples, by id."""

    def __init__(self, rows: dict[str, Sample | Exception], cluster: str | None = None) -> None:
        self.name = "given"
        self.ids = list(rows)
        self.schema = Schema(MODALITIES, ("no", "yes"), {"site": ("north", "south")}, cluster)
        self._rows = list(rows.values())

    def sample(self, i: int) -> Sample:
        row = self._rows[i]
        if isinstance(row, Exception):
            raise row
        return row


def sample(seed: int, target: str | int = "yes", **changed: object) -> Sample:
    return Sample(inputs={**values(seed), **changed}, target=target, groups={"site": "north"})


def loaded(data: Dataset) -> Batch:
    found = data.load(range(len(data)))
    assert found.batch is not None
    assert found.quarantined == ()
    return found.batch


def test_good_samples_are_stacked_in_the_order_asked_for() -> None:
    data = Given({"a": sample(0), "b": sample(1, "no"), "c": sample(2, 1)})
    found = data.load([2, 0, 1])
    assert found.quarantined == ()
    batch = found.batch
    assert batch is not None
    assert batch.ids == ["c", "a", "b"]
    assert batch.targets.tolist() == [1, 1, 0]
    assert batch.groups == {"site": ["north"] * 3}
    assert batch.clusters is None
    assert batch.present == {}
    assert batch.inputs["picture"].shape == (3, 3, 4, 5)
    assert batch.inputs["words"] == ["sample number 2", "sample number 0", "sample number 1"]
    expected = torch.from_numpy(np.asarray(values(2)["picture"], dtype=np.float32) / 255).permute(2, 0, 1)
    assert torch.equal(batch.inputs["picture"][0], expected)
    assert torch.allclose(batch.inputs["row"][1], torch.tensor(values(0)["row"], dtype=torch.float32))


BAD = {
    "the source": (BadSample("the disk ate it"), "the disk ate it"),
    "a source's own error": (KeyError("column"), "KeyError: \"'column'\""),
    "a blank text": (sample(0, words=" \t"), "words: text is empty"),
    "a number for a text": (sample(0, words=3), "words: text is int, expected a string"),
    "NaN": (sample(0, row=[1.0, float("nan")]), "row: table row has 1 values that are NaN or infinite"),
    "infinity": (
        sample(0, series=np.full((3, 2), np.inf)),
        "series: series has 6 values that are NaN",
    ),
    "text for numbers": (sample(0, row=["a", "b"]), "row: table row is not numeric"),
    "another length": (sample(0, sound=np.zeros(5)), "sound: sound has shape (5,), expected (6,) samples"),
    "too loud": (sample(0, sound=np.full(6, 2.0)), "sound: sound reaches 2, expected values in [-1, 1]"),
    "another size": (
        sample(0, picture=np.zeros((5, 4, 3), dtype=np.uint8)),
        "picture: picture has shape (3, 5, 4), expected (3, 4, 5) (channels, height, width)",
    ),
    "too bright": (sample(0, picture=torch.full((3, 4, 5), 2.0)), "picture: picture has values in [2, 2]"),
    "an unknown label": (sample(0, "Yes"), "label 'Yes' is not among the classes. Did you mean 'yes'?"),
    "a label out of range": (sample(0, 2), "label 2 is not among the 2 classes"),
    "a negative label": (sample(0, -1), "label -1 is not among the 2 classes"),
    "nothing at all": (sample(0, **dict.fromkeys(MODALITIES)), "no input is present"),
}


@pytest.mark.parametrize("what", BAD)
def test_one_bad_sample_is_quarantined_with_its_reason_and_the_others_survive(what: str) -> None:
    row, reason = BAD[what]
    found = Given({"a": sample(1), "bad": row, "c": sample(2)}).load([0, 1, 2])
    assert found.batch is not None
    assert found.batch.ids == ["a", "c"]
    (bad,) = found.quarantined
    assert (bad.sample, bad.stage) == ("bad", "read")
    assert bad.reason.startswith(reason)


def test_all_bad_is_no_batch_and_all_reasons() -> None:
    found = Given({"a": BadSample("one"), "b": BadSample("two")}).load([0, 1])
    assert found.batch is None
    assert [(q.sample, q.reason) for q in found.quarantined] == [("a", "one"), ("b", "two")]


def test_a_request_that_is_wrong_is_not_a_bad_sample() -> None:
    with pytest.raises(AskedWrongly, match="install it"):
        Given({"a": AskedWrongly("install it")}).load([0])


def test_reasons_stay_short_and_printable() -> None:
    found = Given({"a": sample(0, "\x1b[31m" + "x" * 10_000)}).load([0])
    reason = found.quarantined[0].reason
    assert len(reason) < 200
    assert reason.isprintable()


@pytest.mark.parametrize("missing", list(MODALITIES))
def test_a_missing_modality_is_neutral_and_says_so(missing: str) -> None:
    batch = loaded(Given({"a": sample(0), "b": sample(1, **{missing: None}), "c": sample(2)}))
    assert {m: p.tolist() for m, p in batch.present.items()} == {missing: [True, False, True]}
    assert_equal(batch.inputs[missing][1], NEUTRAL[missing])
    whole = loaded(Given({"a": sample(0), "c": sample(2)}))
    for m in MODALITIES:  # the others are not touched
        for here, there in ((0, 0), (2, 1)):
            assert_equal(batch.inputs[m][here], whole.inputs[m][there])


@pytest.mark.parametrize("missing", list(MODALITIES))
def test_a_modality_that_no_sample_of_a_shard_has_is_neutral_too(missing: str) -> None:
    data = Given({"a": sample(0, **{missing: None}), "b": sample(1, **{missing: None}), "c": sample(2)})
    batch = data.load([0, 1]).batch
    assert batch is not None
    assert batch.present[missing].tolist() == [False, False]
    for row in (0, 1):
        assert_equal(batch.inputs[missing][row], NEUTRAL[missing])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_concatenation_keeps_what_is_missing_in_some_batches(order: tuple[int, int]) -> None:
    data = Given({"a": sample(0), "b": sample(1, sound=None)})
    batches = [data.load([i]).batch for i in order]
    joined = Batch.concat([b for b in batches if b is not None])
    assert joined.present["sound"].tolist() == [i == 0 for i in order]
    assert set(joined.present) == {"sound"}


def keyed(seed: int, picture_of: int, key: int) -> Sample:
    inputs = {**values(seed), "picture": values(picture_of)["picture"]}
    return Sample(inputs=inputs, target="no", keys={"picture": key, "words": seed})


def test_unique_gives_each_value_once_and_gives_all_back() -> None:
    batch = loaded(Given({"a": keyed(0, 9, 5), "b": keyed(1, 8, 3), "c": keyed(2, 9, 5), "d": keyed(3, 8, 3)}))
    distinct, index = batch.unique("picture")
    assert len(distinct) == 2
    assert torch.equal(distinct[index], batch.inputs["picture"])
    assert len(batch.unique("words")[0]) == 4
    rows, index = batch.unique("row")  # no keys known: every row
    assert torch.equal(rows, batch.inputs["row"])
    assert index.tolist() == [0, 1, 2, 3]


def test_keys_go_where_a_value_is_missing_or_changed() -> None:
    rows: dict[str, Sample | Exception] = {"a": keyed(0, 9, 5), "b": keyed(1, 9, 5)}
    batch = loaded(Given(rows))
    assert set(batch.keys) == {"picture", "words"}
    assert set(batch.with_inputs(picture=batch.inputs["picture"] * 0).keys) == {"words"}
    one = rows["b"]
    assert isinstance(one, Sample)
    rows["b"] = Sample(inputs={**one.inputs, "picture": None}, target="no", keys=one.keys)
    assert set(loaded(Given(rows)).keys) == {"words"}
    assert set(Batch.concat([batch, loaded(Given(rows))]).keys) == {"words"}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_unique_holds_for_any_repetition(keys: list[int]) -> None:
    batch = loaded(Given({str(n): keyed(n, k, k) for n, k in enumerate(keys)}))
    distinct, index = batch.unique("picture")
    assert len(distinct) == len(set(keys))
    assert torch.equal(distinct[index], batch.inputs["picture"])


def clustered(names: dict[str, str]) -> Given:
    rows: dict[str, Sample | Exception] = {
        i: Sample(inputs=values(0), target="no", cluster=c) for i, c in names.items()
    }
    return Given(rows, cluster="patient")


def test_split_off_keeps_clusters_whole_and_loses_nothing() -> None:
    data = clustered({str(i): f"patient {i // 5}" for i in range(200)})
    splits = split_off(data, 0.25, seed=3)
    assert splits.reference is not None
    splits.check()
    assert sorted([*splits.audited.ids, *splits.reference.ids]) == sorted(data.ids)
    audited, reference = set(splits.audited.clusters()), set(splits.reference.clusters())
    assert not audited & reference
    assert len(reference) == 10  # a quarter of the 40 patients


def test_split_off_depends_on_the_seed_and_not_on_the_order() -> None:
    names = {str(i): f"patient {i // 3}" for i in range(60)}
    backwards = dict(reversed(list(names.items())))

    def reference(of: dict[str, str], seed: int) -> set[str]:
        found = split_off(clustered(of), 0.5, seed).reference
        assert found is not None
        return set(found.ids)

    assert reference(names, 0) == reference(names, 0) == reference(backwards, 0)
    assert reference(names, 0) != reference(names, 1)
    bigger = reference(names | {f"n{i}": f"new {i}" for i in range(20)}, 0)
    assert reference(names, 0) & bigger  # new patients do not shuffle the old ones


def test_split_off_without_clusters_goes_by_sample_and_an_unreadable_one_stays() -> None:
    rows: dict[str, Sample | Exception] = {str(i): sample(i) for i in range(20)}
    rows["7"] = BadSample("gone")
    splits = split_off(Given(rows), 0.5, seed=0)
    assert splits.reference is not None
    assert (len(splits.audited), len(splits.reference)) == (10, 10)
    assert "7" in [*splits.audited.ids, *splits.reference.ids]


def test_an_unreadable_sample_is_a_cluster_of_its_own() -> None:
    rows: dict[str, Sample | Exception] = {
        "a": Sample(values(0), "no", cluster="p"),
        "b": BadSample("gone"),
        "c": ValueError("odd"),
    }
    assert Given(rows, cluster="patient").clusters() == ["p", "b", "c"]


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_split_off_refuses_a_share_that_is_none(share: float) -> None:
    with pytest.raises(AskedWrongly, match="share"):
        split_off(Given({"a": sample(0)}), share, 0)


def test_split_off_of_nothing_and_of_too_few() -> None:
    data = Given({"a": sample(0), "b": sample(1)})
    assert split_off(data, 0, 0).reference is None
    with pytest.raises(AskedWrongly, match="has 2 samples, too few"):
        split_off(data, 0.25, 0)


def test_a_subset_is_those_samples_under_their_names() -> None:
    data = Given({"a": sample(0), "b": BadSample("gone"), "c": sample(2, "no")}, cluster=None)
    part = data.subset([2, 1], "part").subset([0, 1])
    assert (part.name, part.ids, len(part)) == ("part", ["c", "b"], 2)
    found = part.load([0, 1])
    assert found.batch is not None
    assert (found.batch.ids, found.batch.targets.tolist()) == (["c"], [0])
    assert [q.sample for q in found.quarantined] == ["b"]
    assert part.clusters() == ["c", "b"]


def test_the_fingerprint_tells_data_and_subsets_apart() -> None:
    data = Given({"a": sample(0), "b": sample(1)})
    prints = [data.fingerprint(), data.subset([0]).fingerprint(), data.subset([1]).fingerprint()]
    assert len(set(prints)) == 3
    assert data.subset([0]).fingerprint() == prints[1]

    class Changed(Given):
        def fingerprint(self) -> str:
            return "other content under the same ids"

    other = Changed({"a": sample(5), "b": sample(6)})
    assert other.subset([0]).fingerprint() != prints[1]


def test_splits_that_share_a_sample_are_refused() -> None:
    data = Given({"a": sample(0), "b": sample(1)})
    with pytest.raises(AskedWrongly, match="'b' is both audited and members"):
        Splits(data, None, data.subset([1])).check()
    Splits(data.subset([0]), data.subset([1])).check()


def assert_equal(found: object, expected: object) -> None:
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, expected)
    else:
        assert found == expected


def test_a_reference_that_shares_a_cluster_with_the_data_audited_is_refused():
    from muroan.checks import planted

    world = planted()
    half = [i for i in range(len(world.audited)) if i % 2]
    rest = [i for i in range(len(world.audited)) if not i % 2]
    split = Splits(world.audited.subset(half), world.audited.subset(rest))
    with pytest.raises(AskedWrongly, match="clusters are in both the data audited and the reference"):
        split.check()


def test_batches_hold_all_that_can_be_read_in_order_and_the_first_are_asked_by_number():
    data = Given({f"s{i}": BadSample("gone") if i in (0, 3, 4, 5) else sample(i) for i in range(8)})
    assert [list(batch.ids) for batch in data.batches(3)] == [["s1", "s2"], ["s6", "s7"]]
    assert list(data.first(7).ids) == ["s1", "s2", "s6"]
    assert list(data.first(100).ids) == ["s1", "s2", "s6", "s7"]
    with pytest.raises(AskedWrongly, match="none of the first 1 samples"):
        data.first(1)
