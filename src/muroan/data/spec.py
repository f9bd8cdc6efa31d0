"""How the columns of a table become inputs, targets and groups: what a user writes beside a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from muroan import plain_yaml
from muroan.data.inputs import INPUTS, AnyInput, Strict, Word, Words
from muroan.errors import AskedWrongly, nearest, shown


class SplitColumn(Strict):
    """A column that says which part a row is of, and the names of the parts. Rows of other parts are not used.

    named: further splits by name, for what asks for them: {forget: withdrawn}.
    """

    column: Word
    audited: Word
    reference: Word | None = None
    members: Word | None = None
    named: dict[Word, Word] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _disjoint(self) -> SplitColumn:
        named = list(self.parts().values())
        if len(set(named)) < len(named):
            raise ValueError("all splits must be different parts")
        return self

    def parts(self) -> dict[str, str]:
        """Split -> its value in the column, for the splits that there are."""
        own = {"audited": self.audited, "reference": self.reference, "members": self.members}
        return {split: value for split, value in own.items() if value is not None} | self.named


class TableSpec(Strict):
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
