"""Five rewrites of whole texts, each by a model or function that the user names: MM_Robustness's sentence level.

Formal, casual, passive and active style, and there and back through another language. Each has one severity. A
rewriter that is a model takes the likeliest token after the other, so a text has one rewrite. What comes back empty is
kept as it was, as what comes back unchanged is; evidence says which texts changed.

The source's rewriters are Styleformer's four models and a translator from English to German and back; any others of
the same task do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from muroan.errors import AskedWrongly
from muroan.interventions.language_models import rewriter
from muroan.interventions.perturbations.base import Draws, Perturbation, rows
from muroan.modality import Modality
from muroan.registry import open_function

SENTENCE = "sentence"
STYLES = ("formal", "casual", "passive", "active")
BACK_TRANSLATION = "back_translation"

Rewriter = Callable[[list[str]], Sequence[str | None]]
"""Texts -> as many texts; "" or None where it has nothing to say."""

REWRITER = "hf:FOLDER of a sequence-to-sequence model, or python:package.module:name, a function texts -> texts"
TRANSLATORS = "hf:FOLDER+hf:FOLDER, translators there and back, or python:package.module:name, texts -> texts"


def open_rewriter(ref: str) -> Rewriter:
    """One model after the other, "hf:there+hf:back", or a function."""
    if not ref.startswith("hf:"):
        return open_function(ref)
    first, *others = ref.split("+hf:")
    steps = [rewriter(first), *(rewriter(f"hf:{other}") for other in others)]

    def rewrite(texts: list[str]) -> list[str]:
        for step in steps:
            texts = step(texts)
        return texts

    return rewrite


def open_translators(ref: str) -> Rewriter:
    """As `open_rewriter`; a single model translates there and not back."""
    if ref.startswith("hf:") and ref.count("+hf:") != 1:
        raise AskedWrongly(f"{ref!r} names no translation there and back; give hf:THERE+hf:BACK, or a function")
    return open_rewriter(ref)


def _rewritten(
    texts: list[str], level: float, draws: Draws, modality: Modality, scale: float, *, tool: Rewriter
) -> list[str]:
    """Every distinct text as the tool says it; as it was where the tool says nothing."""
    asked = list(dict.fromkeys(t for t in texts if t.strip()))
    found: Any = tool(asked) if asked else []
    said = [found] if isinstance(found, str) else list(found)
    if len(said) != len(asked) or not all(s is None or isinstance(s, str) for s in said):
        raise AskedWrongly(
            f"a rewriter gave {len(said)} answers to {len(asked)} texts, or what is no text; it takes a list of texts "
            "and returns a list of as many"
        )
    new = {t: s if s and s.strip() else t for t, s in zip(asked, said, strict=True)}
    return [new.get(t, t) for t in texts]


BACK = "translation to German and back, MM_Robustness"
_row = rows("text", "Styleformer by way of MM_Robustness")

TABLE: tuple[Perturbation, ...] = (
    *(_row(_rewritten, SENTENCE, (1.0,), name=style, wants=style, gated=True) for style in STYLES),
    # The source leaves what was translated there and back out of its gate.
    _row(_rewritten, SENTENCE, (1.0,), BACK, name=BACK_TRANSLATION, wants=BACK_TRANSLATION),
)
