"""Kinds of input that a table can hold: which cells they take, which modality they are, how a row becomes a value."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from muroan.data.media import content, read_picture, read_sound, read_text
from muroan.data.root import Root
from muroan.data.series import number, read_series
from muroan.errors import BadSample, shown
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


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Input(Strict):
    """One input of the model: where its values are in the table."""

    takes: ClassVar[str]

    @property
    @abstractmethod
    def used(self) -> tuple[str, ...]:
        """The columns that hold this input."""

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


class _ColumnInput(Input):
    """An input that one column holds."""

    column: Word

    @property
    def used(self) -> tuple[str, ...]:
        return (self.column,)

    def read(self, cells: Mapping[str, Any], root: Root) -> tuple[Any, int | None]:
        cell = cells[self.column]
        return (None, None) if cell is None else self.value(cell, root)

    @abstractmethod
    def value(self, cell: Any, root: Root) -> tuple[Any, int | None]:
        """The raw value that a cell holds or names, and its key."""


class _FileInput(_ColumnInput):
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

    def value(self, cell: Any, root: Root) -> tuple[Any, int | None]:
        source, known = _source(cell, root)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[self.channels]
        return read_picture(source, size=self.size, mode=mode, resize=self.resize), known


class TextInput(_ColumnInput):
    """Texts: a column of strings; with `file: true`, of names of UTF-8 text files.

    lexicon: for a word, others that keep the meaning: the substitutions that attacks on words may use.
    """

    takes: ClassVar[str] = "text"
    kind: Literal["text"]
    file: bool = False
    lexicon: dict[Word, Words] = Field(default_factory=dict)

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype == pl.String

    def modality(self, means: Mapping[str, float]) -> Text:
        return Text(lexicon=tuple(self.lexicon.items()))

    def value(self, cell: Any, root: Root) -> tuple[Any, int | None]:
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
    rate: PositiveInt
    length: PositiveInt
    frame: PositiveInt = 160
    fit: bool = False

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype in (pl.String, pl.Binary) or isinstance(dtype, pl.Struct | pl.List | pl.Array)

    def modality(self, means: Mapping[str, float]) -> Audio:
        return Audio(rate=self.rate, length=self.length, frame=self.frame)

    def value(self, cell: Any, root: Root) -> tuple[Any, int | None]:
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
        _distinct("column", self.columns, self.fill)
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


def _distinct(what: str, names: tuple[str, ...], fill: tuple[float, ...] | None) -> None:
    """Refuses a name that is there twice, and another number of fills than of names."""
    if len(set(names)) < len(names):
        raise ValueError(f"{what}s has a {what} twice")
    if fill is not None and len(fill) != len(names):
        raise ValueError(f"fill has {len(fill)} numbers, expected {len(names)}, one a {what}")


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
    length: PositiveInt
    channels: Annotated[Words, Field(min_length=1)]
    fill: Numbers | None = None

    @model_validator(mode="after")
    def _one_each(self) -> SeriesInput:
        _distinct("channel", self.channels, self.fill)
        return self

    def accepts(self, dtype: pl.DataType) -> bool:
        return dtype == pl.String or isinstance(dtype, pl.List | pl.Array)

    def modality(self, means: Mapping[str, float]) -> Series:
        return Series(length=self.length, channels=self.channels, fill=self.fill or (0.0,) * len(self.channels))

    def value(self, cell: Any, root: Root) -> tuple[Any, int | None]:
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
