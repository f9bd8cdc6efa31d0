"""Reading the files that benchmarks come in; what is not as published is said, never guessed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from muroan.errors import AskedWrongly, shown


class Entry(dict[str, Any]):
    """An entry of a published file. Asked for a field that it lacks it says so: `AskedWrongly`."""

    def __init__(self, fields: Any, path: Path) -> None:
        super().__init__(fields if isinstance(fields, dict) else {})
        self.path, self._have = path, type(fields).__name__

    def __missing__(self, field: str) -> Any:
        have = ", ".join(sorted(self)[:8]) or self._have
        raise AskedWrongly(f"{self.path}: an entry has no {field!r} (it has {have}); is it the published file?")

    def text(self, field: str) -> str:
        """A field as text."""
        return str(self[field])


def read_json(path: Path) -> Any:
    """A JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AskedWrongly(f"{path} is not readable JSON: {shown(str(error), 200)}") from error


def read_lines(path: Path) -> list[Entry]:
    """A file of JSON objects, a line each."""
    entries = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise AskedWrongly(f"{path}, line {number}: not JSON ({shown(str(error), 200)})") from error
            if not isinstance(entry, dict):
                raise AskedWrongly(f"{path}, line {number}: {type(entry).__name__}, expected an object")
            entries.append(Entry(entry, path))
    return entries


def read_csv(path: Path) -> list[list[str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if row]
