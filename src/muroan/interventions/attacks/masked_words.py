"""Words that a masked language model finds as likely: BERT-Attack (Li et al., EMNLP 2020; with Co-Attack's settings).

Words are tried in the order of how much the decision suffers without each, each with the model's ten likeliest words;
the word itself never counts as a change. A likely word need not mean the same ("red" for "blue"), so a judge of
`meaning` belongs beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from muroan.interventions.attacks.candidates import Candidate, Proposed, Scene, Source, in_place_of
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.language_models import fillers
from muroan.interventions.meaning import Meaning


@dataclass(frozen=True, kw_only=True)
class MaskedWords(Source):
    """The `top` words likeliest in each place, by the masked language model in a folder: model="hf:folder"."""

    model: str
    top: int = 10

    def propose(self, scene: Scene) -> Proposed:
        filled = fillers(self.model, scene.texts, scene.open, self.top)
        return [
            [
                Candidate(k, by)
                for k, (token, words) in enumerate(zip(text.split(), places, strict=True))
                for by in in_place_of(token, words)
            ]
            for text, places in zip(scene.texts, filled, strict=True)
        ]


def bert_attack(model: str, *, top: int = 10, meaning: Meaning | None = None, alike: float = 0.8) -> WordSubstitution:
    """BERT-Attack with the masked language model in a folder: importance by leaving out, `top` substitutes a word."""
    source = MaskedWords(model=model, top=top)
    return WordSubstitution(sources=(source,), order="importance", tries=top, meaning=meaning, alike=alike)
