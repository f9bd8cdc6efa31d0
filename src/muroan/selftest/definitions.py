"""What something in a module is made of: its definition, and those of all that it uses, one by one."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterable
from functools import cache


def reached(module: str, names: Iterable[str], within: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """The definitions that these names of a module come down to, without comments, by module and name.

    What is imported is followed into the packages `within`; a module that is imported whole counts with all it defines.
    """
    seen: dict[tuple[str, str], str] = {}
    waiting = [(module, name) for name in names]
    while waiting:
        here, name = at = waiting.pop()
        node = _defined(here).get(name)
        if node is None or at in seen:
            continue
        if isinstance(node, ast.ImportFrom):
            waiting += _imported(node, name) if any(f"{node.module}.".startswith(f"{w}.") for w in within) else []
        elif not isinstance(node, ast.Import):
            seen[at] = ast.dump(node)
            waiting += [(here, used.id) for used in ast.walk(node) if isinstance(used, ast.Name)]
    return seen


@cache
def _defined(module: str) -> dict[str, ast.stmt]:
    """What stands at the top of a module, by the names that it gives."""
    given: dict[str, ast.stmt] = {}
    for node in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.asname or a.name for a in node.names]
        else:
            targets = [*getattr(node, "targets", ()), *filter(None, [getattr(node, "target", None)])]
            names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        given |= dict.fromkeys(names, node)
    return given


def _imported(node: ast.ImportFrom, name: str) -> list[tuple[str, str]]:
    """What a name is that a module imports: one definition of another, or all of it."""
    origin = next(a.name for a in node.names if (a.asname or a.name) == name)
    home = str(node.module)
    if origin in _defined(home):
        return [(home, origin)]
    return [(f"{home}.{origin}", each) for each in _defined(f"{home}.{origin}")]
