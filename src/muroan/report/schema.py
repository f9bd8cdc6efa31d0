"""The published shape of `findings.json`, as JSON Schema (2020-12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muroan.auditing.result import FORMAT, Result

PUBLISHED = "docs/findings.schema.json"


def document() -> dict[str, Any]:
    """The schema of what `Result.to_json` writes."""
    found = Result.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Muroan findings, format {FORMAT}",
    }
    return {**head, **{k: _numbers(v) for k, v in found.items() if k != "title"}}


def _numbers(node: Any) -> Any:
    """JSON has no infinity and no NaN: where a number is allowed, these are too, as words."""
    if isinstance(node, list):
        return [_numbers(child) for child in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "number":
        rest = {k: v for k, v in node.items() if k != "type"}
        return {**rest, "anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity", "NaN"]}]}
    return {k: _numbers(v) for k, v in node.items()}


def text() -> str:
    """The schema as it is published."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def write(root: Path) -> Path:
    """Publish the schema below `root`."""
    path = root / PUBLISHED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
    return path
