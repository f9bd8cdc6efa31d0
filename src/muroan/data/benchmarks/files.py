"""Reading the files that benchmarks come in; what is not as published is said, never guessed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from muroan.errors import AskedWrongly, shown


def read_json(path: Path) -> Any:
    """A JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AskedWrongly(f"{path} is not readable JSON: {shown(str(error), 200)}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON objects, a line each."""
    out = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError as error:
                raise AskedWrongly(f"{path}, line {number}: not JSON ({shown(str(error), 200)})") from error
            if not isinstance(found, dict):
                raise AskedWrongly(f"{path}, line {number}: {type(found).__name__}, expected an object")
            out.append(found)
    return out


def read_csv(path: Path) -> list[list[str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if row]


def of(entry: Any, field: str, path: Path) -> Any:
    """An entry's field; `AskedWrongly` names what is missing where."""
    if not isinstance(entry, dict) or field not in entry:
        have = ", ".join(sorted(entry)[:8]) if isinstance(entry, dict) else type(entry).__name__
        raise AskedWrongly(f"{path}: an entry has no {field!r} (it has {have}); is it the published file?")
    return entry[field]
