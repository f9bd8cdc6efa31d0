"""YAML as people mean it: `no` is a word, `01` keeps its zero, a key given twice is an error.

PyYAML reads YAML 1.1, where the class list `[no, yes]` becomes `[False, True]`, `12:30` a number of seconds and
`2024-01-01` a date. Here only true/false, plain decimal numbers and null are anything but text, as in YAML 1.2's
core schema. Aliases are refused: a few of them can stand for gigabytes, and no file of Muroan needs any.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from muroan.errors import AskedWrongly, shown

MAX_BYTES = 4 << 20
"""No plan, gate or table description is longer; a larger file is some other file."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            if key.value in seen:
                problem = f"the key {shown(key.value)} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^[-+]?[0-9]+[eE][-+]?[0-9]+$", "-+0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; `AskedWrongly` names the file, the line and what is wrong there."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise AskedWrongly(f"{path} is larger than {MAX_BYTES >> 20} MiB; is it a YAML file?")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AskedWrongly(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AskedWrongly(f"{path} is not UTF-8 text; save it as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that a YAML text holds. where: what error messages call the text."""
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer types
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise AskedWrongly(f"{where}{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise AskedWrongly(f"{where} is not readable as YAML: {shown(str(error), 200)}") from error
    if not isinstance(found, dict):
        raise AskedWrongly(f"{where} holds {type(found).__name__}, expected keys with values (`key: value`)")
    return found
