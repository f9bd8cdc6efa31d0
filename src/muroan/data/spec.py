"""How the columns of a table become inputs, targets and groups: what a user writes beside a table.

Each kind of input says which cells it takes, which modality it is, and how one row's cells become its raw value.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from muroan import plain_yaml
from muroan.data.media import content, read_picture, read_sound, read_text
from muroan.data.root import Root
from muroan.data.series import number, read_series
from muroan.errors import AskedWrongly, BadSample, nearest, shown
from muroan.modality import Audio, Image, Modality, Series, Tabular, Text
from muroan.randomness import key


def _word(value: Any) -> Any:
    """Names and labels are text; whole numbers and truth values are taken as a table spells them."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


Word = Annotated[str, BeforeValidator(_word), Field(min_length=1)]
Words = Annotated[tuple[Word, ...], Field(strict=False)]
Numbers = Annotated[tuple[float, ...], Field(strict=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Input(_Strict):
    """One input of the model: where its values are in the table."""

    takes: ClassVar[str]

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that hold this input."""
        column: str = getattr(self, "column")  # noqa: B009 - all but `TabularInput` have one
        return (column,)

    @abstractmethod
    def accepts(self, dtype: pl.DataType) -> bool:
        """Whether a column of this type can hold the input; `takes` says the same in words."""

    @abstractmethod
    def modality(self, means: Mapping[str, float]) -> Modality:
        """The kind of input. means: the mean of each numeric column that the input uses."""

    @abstractmethod
    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        """One row's raw value and its key (see `Batch.keys`); (None, None) where there is none."""

    @property
    def names_files(self) -> bool:
        """Whether cells that are text are names of files."""
        return False


class _FileInput(Input):
    @property
    def names_files(self) -> bool:
        return True


def _key(what: str, value: object) -> int:
    return key(what, value) >> 1  # keys travel as signed 64-bit integers


def _source(cell: Any, root: Root) -> tuple[Path | bytes, int]:
    """The file that a cell names, or the content that it is; and its key."""
    if isinstance(cell, str):
        path = root.file(cell)
        return path, _key("file", path)
    held = content(cell)
    if held is None:
        raise BadSample(f"cell holds {type(cell).__name__} without content, expected a file name or a file's bytes")
    return held, _key("bytes", held.hex())


class ImageInput(_FileInput):
    """Pictures: a column of file names, or of the files' bytes (Parquet).

    size: (height, width). channels: 1 gray, 3 RGB, 4 RGBA. fill: the colour of erased pixels (one number, or one a
    channel, in [0, 1]), best the mean colour of the data. resize: scale pictures of another size.
    """

    takes: ClassVar[str] = "file names or bytes"
    kind: Literal["image"]
    column: Word
    size: Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]
    channels: Literal[1, 3, 4] = 3
    fill: Numbers = (0.5,)
    resize: bool = False

    @model_validator(mode="after")
    def _colour(self) -> ImageInput:
        if len(self.fill) not in (1, self.channels):
            raise ValueError(f"fill has {len(self.fill)} numbers, expected 1 or {self.channels}, one a channel")
        if not all(0 <= f <= 1 for f in self.fill):
            raise ValueError("fill must be in [0, 1]")
        return self

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype in (pl.String, pl.Binary) or isinstance(dtype, pl.Struct)

    def modality(self, means: Mapping[str, float]) -> Image:
        return Image(size=self.size, channels=self.channels, fill=self.fill)

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        cell = cells[self.column]
        if cell is None:
            return None, None
        source, known = _source(cell, root)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[self.channels]
        return read_picture(source, size=self.size, mode=mode, resize=self.resize), known


class TextInput(Input):
    """Texts: a column of strings; with `file: true`, of names of UTF-8 text files.

    lexicon: for a word, others that keep the meaning: the substitutions that attacks on words may use.
    """

    takes: ClassVar[str] = "text"
    kind: Literal["text"]
    column: Word
    file: bool = False
    lexicon: dict[Word, Words] = Field(default_factory=dict)

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype == pl.String

    def modality(self, means: Mapping[str, float]) -> Text:
        return Text(lexicon=tuple(self.lexicon.items()))

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        cell = cells[self.column]
        if cell is None:
            return None, None
        text = read_text(root.file(cell)) if self.file else cell
        return text, _key("text", text)

    @property
    def names_files(self) -> bool:
        return self.file


class AudioInput(_FileInput):
    """Sounds: a column of file names or of the files' bytes, or (Parquet, JSON) of lists of samples in [-1, 1].

    rate: samples a second; length: samples; frame: samples of one part. fit: cut or pad other lengths.
    """

    takes: ClassVar[str] = "file names, bytes or lists of numbers"
    kind: Literal["audio"]
    column: Word
    rate: PositiveInt
    length: PositiveInt
    frame: PositiveInt = 160
    fit: bool = False

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype in (pl.String, pl.Binary) or isinstance(dtype, pl.Struct | pl.List | pl.Array)

    def modality(self, means: Mapping[str, float]) -> Audio:
        return Audio(rate=self.rate, length=self.length, frame=self.frame)

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        cell = cells[self.column]
        if cell is None:
            return None, None
        if isinstance(cell, list | np.ndarray):
            return _array(cell), None
        source, known = _source(cell, root)
        return read_sound(source, rate=self.rate, length=self.length, fit=self.fit), known


class TabularInput(Input):
    """Numbers: one column each. fill: what stands for an erased column, by default the column's mean."""

    takes: ClassVar[str] = "numbers"
    kind: Literal["tabular"]
    columns: Annotated[Words, Field(min_length=1)]
    fill: Numbers | None = None

    @model_validator(mode="after")
    def _one_each(self) -> TabularInput:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns has a column twice")
        if self.fill is not None and len(self.fill) != len(self.columns):
            raise ValueError(f"fill has {len(self.fill)} numbers, expected {len(self.columns)}, one a column")
        return self

    @property
    def used(self) -> tuple[str, ...]:
        return self.columns

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype.is_numeric() or dtype in (pl.Boolean, pl.String)

    def modality(self, means: Mapping[str, float]) -> Tabular:
        return Tabular(columns=self.columns, fill=self.fill or tuple(means[c] for c in self.columns))

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        row = [cells[c] for c in self.columns]
        if all(cell is None for cell in row):
            return None, None
        return np.array([_number(c, v) for c, v in zip(self.columns, row, strict=True)]), None


def _number(column: str, cell: Any) -> float:
    if cell is None:
        raise BadSample(f"column {column!r} has no value")
    try:
        value = number(cell) if isinstance(cell, str) else float(cell)
    except ValueError as error:
        raise BadSample(f"column {column!r} is {shown(cell)}, not a number") from error
    if not np.isfinite(value):
        raise BadSample(f"column {column!r} is {shown(cell)}, expected a finite number")
    return value


class SeriesInput(_FileInput):
    """Time series: a column of names of .csv, .npy or .parquet files, or (Parquet, JSON) of lists.

    A list has one entry a step, itself a list with one number a channel; with a single channel, a number.
    fill: what stands for an erased step, one number a channel, 0 by default.
    """

    takes: ClassVar[str] = "file names or lists of numbers"
    kind: Literal["series"]
    column: Word
    length: PositiveInt
    channels: Annotated[Words, Field(min_length=1)]
    fill: Numbers | None = None

    @model_validator(mode="after")
    def _one_each(self) -> SeriesInput:
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels has a channel twice")
        if self.fill is not None and len(self.fill) != len(self.channels):
            raise ValueError(f"fill has {len(self.fill)} numbers, expected {len(self.channels)}, one a channel")
        return self

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype == pl.String or isinstance(dtype, pl.List | pl.Array)

    def modality(self, means: Mapping[str, float]) -> Series:
        return Series(length=self.length, channels=self.channels, fill=self.fill or (0.0,) * len(self.channels))

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        cell = cells[self.column]
        if cell is None:
            return None, None
        if isinstance(cell, list | np.ndarray):
            values = _array(cell)
            return values[:, None] if values.ndim == 1 and len(self.channels) == 1 else values, None
        path = root.file(cell)
        return read_series(path, length=self.length, channels=self.channels), _key("file", path)


def _array(cell: list[Any] | np.ndarray) -> np.ndarray:
    try:
        values = np.array(cell)
    except ValueError as error:
        raise BadSample("list has entries of unequal length") from error
    if values.dtype.kind not in "biuf":
        raise BadSample("list has entries that are not numbers")
    return values.astype(np.float64)


INPUTS: dict[str, type[Input]] = {
    "image": ImageInput,
    "text": TextInput,
    "audio": AudioInput,
    "tabular": TabularInput,
    "series": SeriesInput,
}
AnyInput = Annotated[ImageInput | TextInput | AudioInput | TabularInput | SeriesInput, Field(discriminator="kind")]


class SplitColumn(_Strict):
    """A column that says which part a row is of, and the names of the parts. Rows of other parts are not used."""

    column: Word
    audited: Word
    reference: Word | None = None
    members: Word | None = None

    @model_validator(mode="after")
    def _disjoint(self) -> SplitColumn:
        named = list(self.parts().values())
        if len(set(named)) < len(named):
            raise ValueError("audited, reference and members must be different parts")
        return self

    def parts(self) -> dict[str, str]:
        """Split -> its value in the column, for the splits that there are."""
        named = {"audited": self.audited, "reference": self.reference, "members": self.members}
        return {split: value for split, value in named.items() if value is not None}


class TableSpec(_Strict):
    """What the columns of a table mean.

    inputs: the inputs by name. target: the column of labels. classes: the labels in the order of the model's
    scores, by default the sorted distinct ones. groups: columns to compare the model across. id: a column of
    distinct names of rows, by default the table's name and their numbers. cluster: a column that is equal for
    dependent rows (a patient, a picture). split: a column of parts. root: the directory, relative to the table's,
    below which files are read, by default the table's own.
    """

    inputs: Annotated[dict[Word, AnyInput], Field(min_length=1)]
    target: Word
    classes: Annotated[Words, Field(min_length=2)] | None = None
    groups: Words = ()
    id: Word | None = None
    cluster: Word | None = None
    split: SplitColumn | None = None
    root: str | None = None

    @field_validator("classes", "groups")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({v for v in value or () if (value or ()).count(v) > 1})
        if twice:
            raise ValueError(f"{shown(twice[0])} is there twice")
        return value

    def facts(self) -> dict[str, str]:
        """Columns that say something about a row, and where the specification names them."""
        named = {self.target: "target"} | dict.fromkeys(self.groups, "groups")
        named |= {c: what for what, c in (("id", self.id), ("cluster", self.cluster)) if c is not None}
        return named | ({self.split.column: "split"} if self.split else {})

    def used(self) -> dict[str, str]:
        """All columns that the specification names, and where."""
        return {c: f"inputs.{name}" for name, spec in self.inputs.items() for c in spec.used} | self.facts()


def parse_spec(raw: Mapping[str, Any], where: str) -> TableSpec:
    """A specification from plain values; `AskedWrongly` names the place in `where` and the nearest known key."""
    try:
        return TableSpec.model_validate(dict(raw))
    except ValidationError as error:
        problems = [_problem(e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors()]
        raise AskedWrongly(f"{where}: " + "; ".join(problems)) from error


def load_spec(path: Path) -> TableSpec:
    """A specification from a YAML file."""
    return parse_spec(plain_yaml.read(path), str(path))


def _problem(place: tuple[int | str, ...], kind: str, message: str, given: Any) -> str:
    known = _fields(place)
    if len(place) > 2 and place[0] == "inputs":  # pydantic names the kind between an input and its keys
        place = place[:2] + place[3:]
    at = ".".join(str(p) for p in place) or "the specification"
    if kind == "extra_forbidden":
        return f"{at} is not known. {nearest(str(place[-1]), known)}"
    if kind == "missing":
        return f"{at} is missing"
    if kind == "union_tag_invalid":
        return f"{at}.kind is {shown(given.get('kind'))}. {nearest(str(given.get('kind')), INPUTS)}"
    if kind == "union_tag_not_found":
        return f"{at}.kind is missing. Known: {', '.join(INPUTS)}."
    message = (
        message.removeprefix("Value error, ")
        .replace("tuple", "list")
        .replace("Tuple", "List")
        .replace(" after validation", "")
    )
    return f"{at} is {shown(given)}: {message}"


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where the last one of `place` stands."""
    if len(place) > 2 and place[0] == "inputs":
        kind = INPUTS.get(str(place[2]))
        return list(kind.model_fields) if kind else []
    if place and place[0] == "split" and len(place) > 1:
        return list(SplitColumn.model_fields)
    return list(TableSpec.model_fields)
