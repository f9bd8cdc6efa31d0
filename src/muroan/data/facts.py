"""What a table says about its rows: names, labels, groups, as text."""

from __future__ import annotations

import polars as pl

from muroan.data.spec import TableSpec
from muroan.data.tablefile import TableFile
from muroan.errors import AskedWrongly, shown


def words(file: TableFile, cells: pl.Series, where: str) -> pl.Series:
    """A column of names or labels as text; whole numbers without the ".0" that a gap elsewhere gives them."""
    dtype = cells.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise AskedWrongly(f"{file.path}: column {cells.name!r} ({where}) holds {dtype}, expected names or labels")
    if dtype.is_float():
        cells = cells.fill_nan(None)
        whole = cells.cast(pl.Int64, strict=False)
        if (whole.cast(dtype) == cells).fill_null(cells.is_null()).all():
            cells = whole
        elif where == "target":
            raise AskedWrongly(
                f"{file.path}: column {cells.name!r} (target) holds decimal numbers, expected labels of classes"
            )
    return cells.cast(pl.String)


def ids(file: TableFile, cells: pl.Series | None) -> list[str]:
    """Distinct names of the rows; without a column of names, the table's name and their numbers from 0.

    The table's name keeps the rows of an audited table and of a reference in another file apart.
    """
    if cells is None:
        return [f"{file.path.stem}-{i}" for i in range(file.height)]
    names = words(file, cells, "id")
    if names.null_count():
        row = int(names.is_null().arg_true()[0]) + 1
        raise AskedWrongly(f"{file.path}: column {cells.name!r} (id) has no value in row {row}; fill it in")
    twice = names.is_duplicated()
    if twice.any():
        first = names.filter(twice)[0]
        one, other, *_ = [r + 1 for r in (names == first).arg_true().to_list()]
        raise AskedWrongly(
            f"{file.path}: column {cells.name!r} (id) has {shown(first)} in rows {one} and {other}; ids must be "
            "distinct (leave `id` out and rows are numbered)"
        )
    return names.to_list()


def classes(file: TableFile, spec: TableSpec, labels: pl.Series) -> tuple[str, ...]:
    """The labels that were named, else the distinct ones: by number if all are numbers, else by text."""
    found = labels.drop_nulls().unique().to_list()
    if spec.classes is not None:
        if not set(found) & set(spec.classes):
            raise AskedWrongly(
                f"{file.path}: no label in column {spec.target!r} ({', '.join(map(shown, sorted(found)[:5]))}) is "
                f"among the classes ({', '.join(map(shown, spec.classes[:5]))}); spell them as the column does"
            )
        return spec.classes
    if len(found) < 2:
        raise AskedWrongly(
            f"{file.path}: column {spec.target!r} (target) has {len(found)} distinct labels; name all `classes`"
        )
    numbered = all(v.isascii() and v.isdigit() for v in found)
    return tuple(sorted(found, key=lambda v: (int(v), v)) if numbered else sorted(found))
