"""Settings of a method, from what a user names: the fields of its dataclass, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from muroan.errors import AskedWrongly, nearest, shown

T = TypeVar("T")


def configured(method: type[T], settings: Mapping[str, Any]) -> T:
    """The method with these settings; raises `AskedWrongly` for one that it does not have, or cannot have."""
    name = getattr(method, "name", method.__name__)
    known = {f.name: f for f in fields(method)}  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise AskedWrongly(f"{name} has no setting {setting!r}. {nearest(setting, known)}")
        wanted = _wanted(known[setting].type)
        if wanted is not None and not _is(settings[setting], wanted):
            raise AskedWrongly(f"{name}: {setting} is {WORDS[wanted]}, not {shown(settings[setting])}")
    try:
        return method(**{n: _frozen(v) for n, v in settings.items()})
    except (TypeError, ValueError) as error:
        raise AskedWrongly(f"{name}: {error}") from error


WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "tuple": "a list, such as [a, b]",
}


def _wanted(annotation: Any) -> str | None:
    """The plain type that a field has, by name; None for one that is not as simple as that."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    name = "tuple" if name.startswith("tuple[") and "|" not in name else name
    return name if name in WORDS else None


def _is(value: Any, wanted: str) -> bool:
    if wanted == "tuple":
        return isinstance(value, list | tuple)
    if wanted == "bool" or isinstance(value, bool):
        return wanted == "bool" and isinstance(value, bool)
    return isinstance(value, {"int": int, "float": int | float, "str": str}[wanted])


def settings(method: Any) -> dict[str, Any]:
    """Settings of an instance by name."""
    return {f.name: getattr(method, f.name) for f in fields(method)}


def _frozen(value: Any) -> Any:
    """Lists as tuples: settings come from YAML and JSON, and a method is hashable."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value
