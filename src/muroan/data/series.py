"""Time series from files: CSV with a header, NumPy arrays, Parquet. Nothing is unpickled."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muroan.errors import BadSample, nearest, shown


def read_series(path: Path, *, length: int, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """A time series [length, channels] from a .csv (with a header), .npy or .parquet file.

    A .npy file is [steps, channels], or [steps] for a single channel; the others have the channels as columns,
    in any order and among others.
    """
    readers = {".csv": _series_csv, ".npy": _series_npy, ".parquet": _series_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadSample(f"{shown(path.name)} is not a series file (known: {', '.join(readers)})")
    values = reader(path, length, channels)
    if values.shape != (length, len(channels)):
        steps = f"more than {length}" if len(values) > length else f"{len(values)}"
        wide = f" of {values.shape[1]} channels" if values.shape[1] != len(channels) else ""
        raise BadSample(
            f"{shown(path.name)} has {steps} steps{wide}, expected {length} steps of {len(channels)} channels"
        )
    return values


def _series_csv(path: Path, length: int, channels: tuple[str, ...]) -> NDArray[np.float64]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            at = [_position(path, c, header) for c in channels]
            rows: list[list[float]] = []
            for line in lines:
                if not line:
                    continue
                if len(line) != len(header):
                    raise BadSample(
                        f"{shown(path.name)} line {lines.line_num} has {len(line)} values, expected {len(header)}"
                    )
                rows.append([_number(path, line[a], lines.line_num, header[a]) for a in at])
                if len(rows) > length:
                    break
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadSample(f"{shown(path.name)} is not readable CSV: {shown(str(error), 200)}") from error
    except OSError as error:
        raise BadSample(f"{shown(path.name)} cannot be read: {error.strerror}") from error
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(channels))


def _position(path: Path, channel: str, header: list[str]) -> int:
    if channel not in header:
        raise BadSample(f"{shown(path.name)} has no column {channel!r}. {nearest(channel, header)}")
    return header.index(channel)


def _number(path: Path, text: str, line: int, column: str) -> float:
    try:
        return number(text)
    except ValueError as error:
        raise BadSample(f"{shown(path.name)} line {line}: {column!r} is {shown(text)}, not a number") from error


def number(text: str) -> float:
    """A decimal number, NaN and infinity included; `ValueError` for anything else (also for Python's 1_000)."""
    if "_" in text:
        raise ValueError("not a number")
    return float(text)


def _series_npy(path: Path, length: int, channels: tuple[str, ...]) -> NDArray[np.float64]:
    try:
        # A map, so that a header that promises more than the file holds is an error and not an allocation.
        # It refuses arrays of Python objects, whose content is a pickle.
        values: NDArray[np.generic] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise BadSample(f"{shown(path.name)} is not a readable array: {shown(str(error), 200)}") from error
    if values.dtype.kind not in "biuf":
        raise BadSample(f"{shown(path.name)} holds {values.dtype}, expected numbers")
    if values.ndim == 1 and len(channels) == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise BadSample(f"{shown(path.name)} has shape {values.shape}, expected {(length, len(channels))}")
    return np.array(values[: length + 1], dtype=np.float64)


def _series_parquet(path: Path, length: int, channels: tuple[str, ...]) -> NDArray[np.float64]:
    import polars as pl

    try:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        columns = scan.collect_schema()
        for c in channels:
            _position(path, c, columns.names())
            if not (columns[c].is_numeric() or columns[c] == pl.Boolean):
                raise BadSample(f"{shown(path.name)} column {c!r} holds {columns[c]}, expected numbers")
        frame = scan.select(pl.col(list(channels)).cast(pl.Float64)).head(length + 1).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadSample(f"{shown(path.name)} is not readable Parquet: {shown(str(error), 200)}") from error
    if frame.null_count().sum_horizontal().item():
        raise BadSample(f"{shown(path.name)} has steps without a value")
    return frame.to_numpy()
