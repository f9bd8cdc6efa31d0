"""Leaving words out: which few words does the decision hang on?"""

from __future__ import annotations

from dataclasses import dataclass

from muroan.budget import Budget
from muroan.interventions.attacks.candidates import Removal, Source
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class WordRemoval(WordSubstitution):
    """Greedy: of all words the one whose loss hurts most is left out, then the next; one word always stays.

    Of a text with more words than `tries` those are tried that the token gradients rank first. It may leave out
    `Budget.words` words, or `Budget.share` of a text's words where that is more. What is left out may be what the right
    answer hangs on: as with any removal, a changed decision is a fault only where a person would answer as before.
    """

    name = "word_removal"
    source = "removal ranked by token gradients; Feng et al., EMNLP 2018, remove what matters least"

    sources: tuple[Source, ...] = (Removal(),)
    tries: int = 8

    def allowance(self, budget: Budget, text: str) -> int:
        words = len(text.split())
        return min(max(budget.words, int(budget.share * words + 1e-9)), max(words - 1, 0))
