"""Methods with settings, as words name them: `name` or `name:setting=value,setting=value`."""

from __future__ import annotations

from typing import Any

from muroan import plain_yaml
from muroan.errors import AskedWrongly


def parse(text: str, option: str) -> tuple[str, dict[str, Any]]:
    """Name and settings; values are read as YAML scalars. option: where the words were given, for errors."""
    name, _, rest = text.partition(":")
    settings: dict[str, Any] = {}
    for item in filter(None, _split(rest)):
        key, equals, value = item.partition("=")
        if not equals:
            raise AskedWrongly(f"{option} {text}: {item!r} is not of the form setting=value")
        settings[key.strip()] = plain_yaml.parse(f"value: {value}", f"{option} {text}")["value"]
    return name, settings


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside brackets: "radii=[[image,0.1]],steps=3" are two."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "[{") - (c in "]}")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts
