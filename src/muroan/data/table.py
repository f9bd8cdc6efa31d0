"""A user's own data: a CSV, Parquet or JSON-lines table whose columns are mapped to modalities.

    table = Table("cases.csv", inputs={"scan": {"kind": "image", "column": "file", "size": [64, 64]}, ...},
                  target="label", groups=["sex"], cluster="patient")

or with the mapping in `cases.yaml` beside the table (see `TableSpec`). A row that cannot be used is quarantined
with its reason when it is read; a table that cannot be used at all is `AskedWrongly`.

Memory: of a Parquet table only labels, groups, ids and the like are kept, and a block of inputs at a time; of CSV
and JSON lines the columns that the mapping names are kept, so a table that is large without its files is best
given as Parquet. Files that a table names are read when their row is.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from muroan.batch import Schema
from muroan.data.facts import classes, ids, words
from muroan.data.inputs import Input, TabularInput
from muroan.data.root import Root
from muroan.data.spec import TableSpec, load_spec, parse_spec
from muroan.data.tablefile import Cells, TableFile
from muroan.dataset import Dataset, Sample, Splits
from muroan.errors import AskedWrongly, BadSample, nearest, shown

SpecLike = TableSpec | Mapping[str, Any] | str | os.PathLike[str]


class Table(Dataset):
    """The rows of one table.

    spec: a `TableSpec`, the same as a mapping, or the path of a YAML file; by default the YAML file that has the
    table's name. Instead of it, the specification's keys can be given one by one.
    root: the directory below which files are read, in place of `spec.root`. A YAML file that is found beside a
    table came with the data, and data do not choose which directories are read: its root must lie within the
    table's directory, while the one given here may be anywhere.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: SpecLike | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        name: str | None = None,
        **mapping: Any,
    ) -> None:
        self._file = TableFile(path)
        self.path = self._file.path
        self.name = name or self.path.stem
        self.spec, came_with_data = _specification(self._file, spec, mapping)
        self.root = _root(self.path, self.spec, root, came_with_data)
        _check_columns(self._file, self.spec)

        inputs = sorted({c for i in self.spec.inputs.values() for c in i.used})
        facts = self._file.read(list(self.spec.facts()))
        self._cells = Cells(self._file, inputs)
        self._labels = words(self._file, facts[self.spec.target], "target")
        self._groups = {g: words(self._file, facts[g], "groups").fill_null("") for g in self.spec.groups}
        cluster, split = self.spec.cluster, self.spec.split
        self._clusters = None if cluster is None else words(self._file, facts[cluster], "cluster")
        self._parts = None if split is None else words(self._file, facts[split.column], "split")
        self.ids = ids(self._file, None if self.spec.id is None else facts[self.spec.id])
        self.schema = Schema(
            modalities={m: i.modality(_means(self._file, m, i)) for m, i in self.spec.inputs.items()},
            classes=classes(self._file, self.spec, self._labels),
            groups={g: tuple(v for v in values.unique().sort() if v) for g, values in self._groups.items()},
            cluster=cluster,
        )

    def sample(self, i: int) -> Sample:
        label = self._labels[i]
        if label is None:
            raise BadSample(f"column {self.spec.target!r} (target) has no value")
        cluster = None if self._clusters is None else self._clusters[i]
        if cluster is None and self._clusters is not None:
            # On whom the sample depends is not known, so no interval could count it rightly.
            raise BadSample(f"column {self.spec.cluster!r} (cluster) has no value")
        cells = self._cells.row(i)
        inputs: dict[str, Any] = {}
        keys: dict[str, int] = {}
        for name, spec in self.spec.inputs.items():
            try:
                inputs[name], known = spec.read(cells, self.root)
            except BadSample as error:
                raise BadSample(f"{name}: {error}") from error
            if known is not None:
                keys[name] = known
        groups = {g: values[i] for g, values in self._groups.items()}
        return Sample(inputs=inputs, target=label, groups=groups, cluster=cluster, keys=keys)

    def clusters(self) -> list[str]:
        if self._clusters is None:
            return list(self.ids)
        return [i if c is None else c for i, c in zip(self.ids, self._clusters, strict=True)]

    def fingerprint(self) -> str:
        """Changes with the table's content, its mapping, and the sizes of the files that it names.

        Known trade-off: a file that is replaced by another of the same size goes unnoticed, so that opening an
        audit does not read every picture.
        """
        digest = hashlib.blake2b(self._file.digest().encode(), digest_size=12)
        digest.update(self.spec.model_dump_json(exclude={"root"}).encode())
        files = sorted({c for i in self.spec.inputs.values() if i.names_files for c in i.used})
        for column in files:
            if self._file.types[column] == pl.String:
                names = self._file.read([column])[column].drop_nulls().unique().sort()
                digest.update(repr([self._size(n) for n in names]).encode())
        return f"{super().fingerprint()}:{digest.hexdigest()}"

    def _size(self, name: str) -> int:
        try:
            return os.stat(self.root.plain(name)).st_size
        except (BadSample, OSError, ValueError):
            return -1

    def splits(self) -> Splits:
        """The parts that `spec.split` names; all rows as the audited data if it names none.

        `AskedWrongly` if a part has no rows, or a cluster is in both the audited data and the reference: what is
        fitted on a patient is not scored on the same patient.
        """
        split = self.spec.split
        if split is None or self._parts is None:
            return Splits(self)
        rows: dict[str, list[int]] = {}
        for name, value in split.parts().items():
            rows[name] = (self._parts == value).fill_null(False).arg_true().to_list()
            if not rows[name]:
                known = self._parts.drop_nulls().unique().to_list()
                raise AskedWrongly(
                    f"{self.path}: no row has {value!r} in column {split.column!r} (split.{name}). "
                    f"{nearest(value, known)}"
                )
        if self._clusters is not None and "reference" in rows:
            known = self.clusters()
            shared = {known[i] for i in rows["audited"]} & {known[i] for i in rows["reference"]}
            if shared:
                raise AskedWrongly(
                    f"{self.path}: {self.spec.cluster} {shown(min(shared))} is in both {split.audited!r} "
                    f"(audited) and {split.reference!r} (reference), and {len(shared) - 1} more are; keep each in "
                    "one part, or name no reference, so that one is split off"
                )
        parts = {
            name: self.subset(index, self.name if name == "audited" else f"{self.name} ({name})")
            for name, index in rows.items()
        }
        return Splits(parts.pop("audited")).having(parts)


def open_table(path: str | os.PathLike[str], spec: SpecLike | None = None, **given: Any) -> Splits:
    """A table as what an audit reads: its parts where the mapping names them, else the audited data alone.

    given: whatever else `Table` takes.
    """
    return Table(path, spec, **given).splits()


def _specification(file: TableFile, spec: SpecLike | None, mapping: Mapping[str, Any]) -> tuple[TableSpec, bool]:
    """The specification, and whether it was found beside the table instead of given."""
    if mapping and spec is not None:
        raise AskedWrongly(f"the mapping for {file.path} is given twice: as `spec` and as {', '.join(mapping)}")
    if isinstance(spec, TableSpec):
        return spec, False
    if isinstance(spec, str | os.PathLike):
        return load_spec(Path(spec)), False
    if mapping or spec is not None:
        return parse_spec(spec or mapping, f"the mapping for {file.path}"), False
    for suffix in (".yaml", ".yml"):
        beside = file.path.with_suffix(suffix)
        if beside.is_file():
            return load_spec(beside), True
    columns = list(file.types)
    raise AskedWrongly(
        f"it is not known what the columns of {file.path} are ({', '.join(columns[:20])}"
        f"{', …' if len(columns) > 20 else ''}). Write {file.path.stem}.yaml beside it, for example:\n"
        f"inputs:\n  question: {{kind: text, column: {columns[0]}}}\ntarget: {columns[-1]}"
    )


def _root(path: Path, spec: TableSpec, given: str | os.PathLike[str] | None, came_with_data: bool) -> Root:
    if given is not None:
        return Root.at(Path(given))
    home = Root.at(path.absolute().parent)
    if spec.root is None:
        return home
    root = Root.at(home.path / spec.root)
    if came_with_data and not root.path.is_relative_to(home.path):
        raise AskedWrongly(
            f"the mapping beside {path} names the root {spec.root!r}, which is not within {home.path}; data do "
            "not choose which directories are read, so give the root yourself (root=...) or move the files"
        )
    return root


def _check_columns(file: TableFile, spec: TableSpec) -> None:
    for column, where in spec.used().items():
        if column not in file.types:
            raise AskedWrongly(f"{file.path} has no column {column!r} ({where}). {nearest(column, file.types)}")
    for name, given in spec.inputs.items():
        for column in given.used:
            dtype = file.types[column]
            if dtype != pl.Null and not given.accepts(dtype):
                raise AskedWrongly(
                    f"{file.path}: column {column!r} holds {dtype}, but inputs.{name} takes {given.takes}"
                )


def _means(file: TableFile, name: str, spec: Input) -> dict[str, float]:
    """The mean of every column of an input of numbers, over the cells that hold one; 0 where none does."""
    if not isinstance(spec, TabularInput):
        return {}
    means = {}
    table = file.read(spec.used)
    for column in spec.used:
        cells = table[column].drop_nulls()
        numbers = cells.cast(pl.Float64, strict=False).drop_nulls()
        if len(cells) and not len(numbers):
            raise AskedWrongly(
                f"{file.path}: column {column!r} (inputs.{name}) holds no numbers ({shown(cells[0])}, …); an "
                "input of kind tabular takes numbers, so encode it as such"
            )
        finite = numbers.filter(numbers.is_finite()).to_list()
        # fsum: the same to the last bit however the table is cut into chunks
        means[column] = math.fsum(finite) / len(finite) if finite else 0.0
    return means
