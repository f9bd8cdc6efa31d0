"""The file of a table: what columns it has, whole columns of it, and single cells without keeping all of it."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from muroan.errors import AskedWrongly, shown

BLOCK = 8192
"""Rows of a Parquet table that are in memory at a time. Rows are mostly asked for in order, and a block costs
about one pass over its row group: small blocks make a table slow, large ones make it big."""
SUFFIXES = (".csv", ".parquet", ".jsonl")
"""The tables that can be read, by the ending of their name."""

_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class TableFile:
    """A table on this machine. `AskedWrongly` if it is missing, of an unknown kind, unreadable or without rows.

    types: the type of each column. Every cell of a CSV file stays the text that it is: "007", "=1+1" and
    "2024-01-01" mean nothing else here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _existing(Path(path))
        if self.path.stat().st_size == 0:
            raise AskedWrongly(f"{self.path} is empty; give a table that has rows")
        try:
            self.types = self._scan().collect_schema()
            self.height = int(self._scan().select(pl.len()).collect(engine="streaming").item())
        except _FAILURES as error:
            raise self._unreadable(error) from error
        twice = [c for c in self.types if f"{c}_duplicated_0" in self.types]  # how the reader tells them apart
        if twice:
            raise AskedWrongly(f"{self.path} has two columns {twice[0]!r}; rename one")
        if self.height == 0:
            raise AskedWrongly(f"{self.path} has no rows; give a table that has some")

    @property
    def lazy(self) -> bool:
        """Whether parts of the table can be read without reading all of it."""
        return self.path.suffix.lower() == ".parquet"

    def _scan(self) -> pl.LazyFrame:
        suffix, path = self.path.suffix.lower(), self.path.absolute()  # absolute: never taken for an address
        if suffix == ".csv":
            # An empty line is no row. That this looks at all columns matters: only then is a line with too many
            # cells noticed, and a comma too many would move cells to where they mean something else.
            return pl.scan_csv(path, infer_schema=False, glob=False).filter(pl.any_horizontal(pl.all().is_not_null()))
        if suffix == ".jsonl":
            return pl.scan_ndjson(path, infer_schema_length=None)
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        coded = [c for c, dtype in scan.collect_schema().items() if dtype in (pl.Categorical, pl.Enum)]
        return scan.with_columns(pl.col(coded).cast(pl.String)) if coded else scan

    def _unreadable(self, error: BaseException) -> AskedWrongly:
        hint = "; save it as UTF-8" if "utf-8" in str(error).lower() or "utf8" in str(error).lower() else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return AskedWrongly(f"{self.path} is not readable as {self.path.suffix}: {shown(reason, 200)}{hint}")

    def read(self, columns: Sequence[str], start: int = 0, rows: int | None = None) -> pl.DataFrame:
        """These columns of some rows, of all by default."""
        try:
            return self._scan().select(list(dict.fromkeys(columns))).slice(start, rows).collect()
        except _FAILURES as error:
            raise self._unreadable(error) from error

    def digest(self) -> str:
        """A text that changes when the file's content does."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()


class Cells:
    """Single cells of some columns: of a Parquet file a block of rows is kept, of other files the columns."""

    def __init__(self, file: TableFile, columns: Sequence[str]) -> None:
        self._file, self._columns = file, list(columns)
        self._size = BLOCK if file.lazy else file.height
        self._block: tuple[int, pl.DataFrame] = (-1, pl.DataFrame())

    def row(self, i: int) -> dict[str, Any]:
        """Column -> cell of the i-th row: text, numbers, bytes, lists (arrays where they are plain), or None."""
        number, block = self._block
        if number != i // self._size:
            number = i // self._size
            block = self._file.read(self._columns, number * self._size, self._size)
            self._block = number, block
        return {c: _plain(block[c][i % self._size]) for c in self._columns}


def _plain(cell: Any) -> Any:
    if not isinstance(cell, pl.Series):
        return cell
    return cell.to_list() if cell.dtype.is_nested() or cell.null_count() else cell.to_numpy()


def _existing(path: Path) -> Path:
    known = ", ".join(SUFFIXES)
    if path.suffix.lower() not in SUFFIXES:
        raise AskedWrongly(f"{path} has the ending {path.suffix!r}; tables are {known}: save it as one of these")
    if path.is_dir():
        raise AskedWrongly(f"{path} is a directory; give a table ({known})")
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        raise AskedWrongly(f"{path} is not there." + (f" Did you mean {close[0]!r}?" if close else ""))
    if not path.is_file():
        raise AskedWrongly(f"{path} is not a regular file; give a table ({known})")
    return path
