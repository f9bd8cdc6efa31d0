"""Names -> methods. A file in a pillar's folder is found by being there; a third party's through entry points.

A plugin is a distribution with an entry point in the group `muroan.plugins` that names a module; importing the
module runs its `@register` decorators. One that fails to import warns and does not break anything else.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from muroan.attack import Attack
from muroan.dataset import Splits
from muroan.errors import FOREIGN, told, unknown
from muroan.explainer import Explainer
from muroan.intervention import Intervention
from muroan.mitigation import Mitigation
from muroan.model import Model
from muroan.organism import Organism
from muroan.probe import Probe

PILLARS = ("robustness", "alignment", "monitoring", "controllability")
GROUP = "muroan.plugins"

KINDS: dict[str, type] = {
    "probes": Probe,
    "interventions": Intervention,
    "attacks": Attack,
    "explainers": Explainer,
    "mitigations": Mitigation,
    "organisms": Organism,
}
HOMES = ("interventions", "mitigations", *PILLARS, "organisms")
_found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

C = TypeVar("C", bound=type | Organism)


def register(method: C) -> C:
    """Makes a method of one of the `KINDS` known under its `name`: a class, which it decorates, or an organism."""
    kind = _kind(method)
    name = method.name  # type: ignore[union-attr]
    known = _found[kind].get(name)
    if known is not None and (known.__module__, known.__qualname__) != (method.__module__, method.__qualname__):  # type: ignore[union-attr]
        raise ValueError(f"{name!r} is already registered by {known.__module__}")
    _found[kind][name] = method
    return method


def _kind(method: type | Organism) -> str:
    if isinstance(method, Organism):
        return "organisms"
    for kind, base in KINDS.items():
        if issubclass(method, base) and base is not Organism:
            return kind
    raise TypeError(f"{method.__name__} is none of {', '.join(KINDS)}; organisms are declared by `muroan.plant`")


@cache
def load() -> None:
    """Import every method that ships and every plugin that is installed, once."""
    for home in HOMES:
        try:
            package = importlib.import_module(f"muroan.{home}")
        except ModuleNotFoundError:
            continue
        for module in pkgutil.walk_packages(package.__path__, f"muroan.{home}."):
            importlib.import_module(module.name)
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except FOREIGN as error:  # anything can happen, nothing may break
            text = told(error) if isinstance(error, SystemExit) else str(error)
            why = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
            warnings.warn(f"plugin {entry.name!r} could not be loaded: {why}", RuntimeWarning, stacklevel=2)


def methods(kind: str) -> dict[str, Any]:
    """All methods of a kind ("probes", "attacks", ...: `KINDS`), by name: classes, and organisms."""
    load()
    return dict(sorted(_found[kind].items()))


def probe(name: str) -> type[Probe]:
    """The probe of that name; raises `AskedWrongly` with the nearest one."""
    found: type[Probe] = _of("probes", name)
    return found


def mitigation(name: str) -> type[Mitigation]:
    """The mitigation of that name; raises `AskedWrongly` with the nearest one."""
    found: type[Mitigation] = _of("mitigations", name)
    return found


def organism(name: str) -> Organism:
    """The planted fault of that name; raises `AskedWrongly` with the nearest one."""
    planted: Organism = _of("organisms", name, "fault")
    return planted


def _of(kind: str, name: str, called: str = "") -> Any:
    known = methods(kind)
    if name not in known:
        raise unknown(called or kind[:-1], name, known)
    return known[name]


def open_function(ref: str) -> Callable[..., Any]:
    """The function that a reference names, for a method that lets a user plug one in (as `open_model`)."""
    found: Callable[..., Any] = importlib.import_module("muroan.references").open_function(ref)
    return found


def open_model(ref: str, data: Splits | None = None) -> Model:
    """The model that a reference names, for a method that takes another model beside the audited one.

    References are opened in a layer above methods (some name what methods have made), so it is found by its name.
    """
    found: Model = importlib.import_module("muroan.references").open_model(ref, data)
    return found
