"""Any word for any other, by the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from muroan.interventions.attacks.candidates import Source, Vocabulary
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.model import Capability
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class HotFlip(WordSubstitution):
    """Replaces words by any of the model's vocabulary, those tried that the gradient ranks first.

    Nothing keeps the meaning unless `meaning` says what does: without it, success is an upper bound on what a person
    would call an error.
    """

    name = "hotflip"
    source = "Ebrahimi et al., ACL 2018, over whole words"
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.EMBEDDINGS})

    sources: tuple[Source, ...] = (Vocabulary(),)
