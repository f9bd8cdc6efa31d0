"""Wearables: as many windows as published, nobody on two sides, and no pickle opened that is not the published one."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from muroan import checks
from muroan.data import watch as source
from muroan.data.watch import HELD_OUT, SUBJECTS, watch, watch_other_arm, watch_same_subjects
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, CannotComplete
from muroan.references import open_data


def subjects(data: Dataset | None) -> set[str]:
    assert data is not None
    return {data.sample(i).groups["subject"] for i in range(len(data))}


def test_counts_are_those_published() -> None:
    found = source.recordings()
    assert len(found) == 140
    assert sum(len(r.windows) for r in found) == 2_369
    lengths = sorted(len(r.values) for r in found)
    assert (lengths[0], lengths[-1], np.median(lengths)) == (947, 2_618, 1_769.5)
    per_subject = Counter({s: sum(len(r.windows) for r in found if r.subject == s) for s in SUBJECTS})
    assert (min(per_subject.values()), max(per_subject.values())) == (150, 284)
    assert np.bincount([r.exercise for r in found]).tolist() == [20] * 7
    assert Counter(r.side for r in found) == {"left": 70, "right": 70}


def test_held_out_subjects_are_audited_and_nowhere_else() -> None:
    splits = open_data("watch")
    assert subjects(splits.audited) == set(HELD_OUT)
    assert subjects(splits.reference) == subjects(splits.members) == set(SUBJECTS) - set(HELD_OUT)
    assert sum(len(d) for _, d in splits.items()) == 2_369
    assert len({d.schema.cluster for _, d in splits.items()}) == 1
    assert splits.audited.schema == splits.reference.schema == splits.members.schema  # type: ignore[union-attr]
    only = watch((3,))
    assert subjects(only.audited) == {"03"}
    assert len(set(only.audited.clusters())) == 14
    kept, trains = (set(d.clusters()) for d in (only.reference, only.members) if d is not None)
    assert (len(kept), len(trains)) == (41, 85)


def test_a_recording_is_on_one_side_and_trains_whoever_is_held_out() -> None:
    for splits in (watch(), watch_same_subjects(), watch_other_arm()):
        parts = [set(d.clusters()) for _, d in splits.items()]
        assert not (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
    trains = {r for s in (watch((1,)), watch((2,))) for r in s.members.clusters()}  # type: ignore[union-attr]
    assert trains == set(watch_same_subjects(()).members.clusters())  # type: ignore[union-attr]
    assert len(trains) == 94


def test_the_other_arm_is_of_the_same_people_at_the_same_exercises() -> None:
    splits = open_data("watch-other-arm")
    parts = {n: [d.sample(i) for i in range(len(d))] for n, d in splits.items()}
    assert {n: {s.groups["side"] for s in p} for n, p in parts.items()} == {
        "audited": {"left"},
        "reference": {"right"},
        "members": {"right"},
    }
    done = {n: {(s.groups["subject"], s.target) for s in p} for n, p in parts.items()}
    assert done["audited"] == done["reference"]
    assert len(done["audited"]) == 21
    assert subjects(splits.members) == set(SUBJECTS) - set(HELD_OUT)


def test_with_the_same_subjects_only_the_audited_recordings_differ() -> None:
    away, same = watch(), watch_same_subjects()
    assert same.members is not None
    assert away.members is not None
    assert list(same.members.ids) == list(away.members.ids)
    assert np.array_equal(same.members.sample(5).inputs["gyroscope"], away.members.sample(5).inputs["gyroscope"])
    assert away.reference is not None
    assert same.reference is not None
    assert set(same.audited.ids) | set(same.reference.ids) == set(away.reference.ids)
    for part in (same.audited, same.reference):
        assert subjects(part) == subjects(away.members)
        classes = Counter(part.sample(i).target for i in range(len(part)))
        assert len(classes) == 7


def test_members_are_standardised() -> None:
    batch = watch().members.load(range(800)).batch  # type: ignore[union-attr]
    assert batch is not None
    for m in ("accelerometer", "gyroscope"):
        assert batch.inputs[m].shape[1:] == (100, 3)
        assert np.allclose(batch.inputs[m].mean((0, 1)), 0, atol=0.05)
        assert np.allclose(batch.inputs[m].std((0, 1)), 1, atol=0.05)


@pytest.mark.parametrize("split", ["audited", "reference", "members"])
def test_contract(split: str) -> None:
    for check in checks.of(getattr(watch(), split)):
        check()


def test_only_the_published_pickle_is_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "gone off",))  # type: ignore[return-value]

    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CannotComplete, match="18,118,091"):
        source.read(path)
    raw = bytearray(source.file().read_bytes())
    raw[-9] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(CannotComplete, match="opened only if it is known"):
        source.read(path)
    assert not (tmp_path / "gone off").exists()
    with pytest.raises(AskedWrongly, match=r"seglearn==1\.2\.5"):
        source.read(tmp_path / "elsewhere.npy")


def test_what_cannot_be_held_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AskedWrongly, match="unknown subject '11'"):
        watch((11,))
    for held_out in ((), SUBJECTS):
        for make in (watch, watch_other_arm):
            with pytest.raises(AskedWrongly, match="hold out one to nine"):
                make(held_out)
    with pytest.raises(AskedWrongly, match="leave one in"):
        watch_same_subjects(SUBJECTS)
    assert isinstance(watch_same_subjects(()), Splits)
    monkeypatch.setattr(source, "find_spec", lambda _: None)
    source.recordings.cache_clear()
    with pytest.raises(AskedWrongly, match=r"pip install --no-deps seglearn==1\.2\.5 .*only its data file is read"):
        open_data("watch")


def test_the_package_is_never_imported() -> None:
    watch()
    assert not [m for m in sys.modules if m.split(".")[0] == "seglearn"]
