"""What perturbations want that does not ship: models and files that the user names.

A setting `given` of a probe pairs a name from `TOOLS` with a reference to what the user has:

    given: [[frost, ./frost], [back_translation, "python:my_rewrites:there_and_back"]]

References are permission to read or run what they name; they come from the user alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from muroan.errors import AskedWrongly, unknown
from muroan.interventions.perturbations import fidelity, sentences
from muroan.interventions.perturbations.textures import open_textures
from muroan.registry import open_function


@dataclass(frozen=True)
class Tool:
    """what: what is wanted, as a message says it; opened: reference -> the thing that a perturbation uses."""

    what: str
    opened: Callable[[str], Any]


TOOLS: dict[str, Tool] = {
    **{style: Tool(sentences.REWRITER, sentences.open_rewriter) for style in sentences.STYLES},
    sentences.BACK_TRANSLATION: Tool(sentences.TRANSLATORS, sentences.open_translators),
    fidelity.MEANING: Tool(fidelity.JUDGES, fidelity.open_judge),
    "frost": Tool("a folder of pictures of frost", open_textures),
    "stylize": Tool(
        "a function (pictures [N, C, H, W] in [0, 1], seeds [N]) -> pictures in the style of others "
        "(python:package.module:name)",
        open_function,
    ),
}
"""Everything that can be given, by name."""


@lru_cache(maxsize=32)
def opened(name: str, ref: str) -> Any:
    """The tool of that name, opened once."""
    if name not in TOOLS:
        raise unknown("tool for a perturbation", name, TOOLS)
    return TOOLS[name].opened(ref)


def named(given: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Name -> reference, of a setting `given`; raises `AskedWrongly` for a name that no perturbation wants."""
    for pair in given:
        if len(pair) != 2:
            raise AskedWrongly(f"given holds pairs of a name and a reference, got {pair!r}")
        if pair[0] not in TOOLS:
            raise unknown("tool for a perturbation", pair[0], TOOLS)
    return dict(given)


def missing(name: str) -> str:
    """Why a perturbation that wants this tool is left out."""
    return f"needs {TOOLS[name].what}: given: [[{name}, REFERENCE]]"
