"""Settings of a method, from what a user names: the fields of its dataclass, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from muroan.errors import AskedWrongly, nearest

T = TypeVar("T")


def configured(method: type[T], settings: Mapping[str, Any]) -> T:
    """The method with these settings; raises `AskedWrongly` for one that it does not have, or cannot have."""
    name = getattr(method, "name", method.__name__)
    known = {f.name: f for f in fields(method)}  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise AskedWrongly(f"{name} has no setting {setting!r}. {nearest(setting, known)}")
    try:
        return method(**{n: _frozen(v) for n, v in settings.items()})
    except (TypeError, ValueError) as error:
        raise AskedWrongly(f"{name}: {error}") from error


def settings(method: Any) -> dict[str, Any]:
    """Settings of an instance by name."""
    return {f.name: getattr(method, f.name) for f in fields(method)}


def _frozen(value: Any) -> Any:
    """Lists as tuples: settings come from YAML and JSON, and a method is hashable."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value
