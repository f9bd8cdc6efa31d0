"""Co-Attack: words first, then the picture, pushed away from its own code and from the code of the new words at once.

Perturbations of picture and text that were found apart can cancel each other; found one after the other they cannot.
Source: Zhang, Yi & Sang, ACM MM 2022 (arXiv 2206.09391), written from its equations alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs
from muroan.interventions.attacks.candidates import Lexicon, Slip, Source
from muroan.interventions.attacks.code_attack import CodeAttack, Goal, Plan
from muroan.interventions.attacks.guided_text import Score, Spoken, guided
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.stage import Stage, flat
from muroan.meter import Codes
from muroan.model import Capability
from muroan.registry import register

Variant = Literal["auto", "codes", "fused", "classes"]


def divergence(reference: Tensor, code: Tensor) -> Tensor:
    """KL(softmax(reference) || softmax(code)) a row, [N] in double: 0 where they are equal, and flat there."""
    log = code.double().log_softmax(dim=1)
    target = reference.double().log_softmax(dim=1)
    out: Tensor = (target.exp() * (target - log)).sum(dim=1)
    return out


@register
@dataclass(frozen=True, kw_only=True)
class CoAttack(CodeAttack):
    """Replaces a word so that the text's code moves most, then climbs with the picture x + d, d in the ball:

        "codes"    KL(e(x) || e(x+d)) + alpha KL(e(t') || e(x+d))              encoders into one space
        "fused"    KL(f(x,t') || f(x+d,t')) + alpha KL(f(x,t) || f(x+d,t'))    f: fused codes
        "classes"  KL(f(x,t') || f(x+d,t')) + alpha CE(p(x+d,t'), y)           y: the model's own decision

    "auto" is "codes" where codes share a space, else "classes". Codes of aligned models have length 1 here, so both
    terms of "codes" compare normalised vectors. There the text's search does not look at the picture, so running it
    again after the picture would give the same words; in the other variants it is run again on the moved picture.

    Constants of the paper's experiments: 10 steps of 1.25/10 of the radius, alpha 3, ten substitutes a word; the paper
    starts in [0, radius] (start="positive"). What is not a picture or text is moved as the picture is.
    alpha 0 is the attack on the picture alone. sources: where replacements of words come from; tries: of each word.
    """

    name = "co_attack"
    source = "Zhang, Yi & Sang, ACM MM 2022 (arXiv 2206.09391)"

    alpha: float = 3.0
    variant: Variant = "auto"
    sources: tuple[Source, ...] = (Lexicon(), Slip())
    tries: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in ("auto", "codes", "fused", "classes"):
            raise AskedWrongly(f"co_attack knows 'auto', 'codes', 'fused' and 'classes', not {self.variant!r}")
        if self.alpha < 0 or self.tries < 1:
            raise AskedWrongly(f"alpha is {self.alpha}, tries {self.tries}; they cannot be negative, nor tries 0")

    def plan(self, clean: Stage, moving: Budgets, words: Budgets, seed: int) -> Plan:
        aligned = Capability.ALIGNED in clean.model.model.capabilities
        variant = self.variant if self.variant != "auto" else "codes" if aligned else "classes"
        if variant == "codes":
            clean.model.require(Capability.ALIGNED)
            return Plan(lambda stage: self._of_codes(clean, stage), self._words(clean, clean, words, away=True))

        def again(beside: Stage) -> dict[str, Spoken]:
            return self._words(clean, beside, words, away=False)

        return Plan(lambda stage: self._of_decisions(clean, stage, variant), again(clean), again)

    def _words(self, clean: Stage, beside: Stage, words: Budgets, *, away: bool) -> dict[str, Spoken]:
        """One text modality after the other, each from its original text, beside the inputs of `beside`."""
        said: dict[str, Spoken] = {}
        for m, b in words.items():
            now = beside.changed({}, {n: s.codes for n, s in said.items()})
            score = _away(clean, m) if away else _deciding(now, m)
            texts = clean.batch.inputs[m]
            said[m] = guided(clean, m, texts, clean.codes[m], b.words, score, self.sources, self.tries)
        return said

    def _of_codes(self, clean: Stage, stage: Stage) -> Goal:
        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            codes = {m: clean.model.encode_differentiable(m, v) for m, v in x.items()}
            value = torch.zeros(len(sample), dtype=torch.double)
            for m, code in codes.items():
                value = value + divergence(clean.vectors[m][sample], code)
                for other in stage.codes:
                    if other != m and self.alpha:
                        value = value + self.alpha * divergence(stage.vectors[other][sample], code)
            return value, codes

        return goal

    def _of_decisions(self, clean: Stage, stage: Stage, variant: str) -> Goal:
        with torch.no_grad():
            before, after = (s.fused({}, s.every)[0] for s in (clean, stage))

        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            codes = {m: clean.model.encode_differentiable(m, v) for m, v in x.items()}
            fused, logits = stage.fused({m: Codes(m, c, len(sample), True) for m, c in codes.items()}, sample)
            leave = divergence(after[sample], fused)
            if variant == "fused":
                return leave + self.alpha * divergence(before[sample], fused), codes
            wrong = cross_entropy(logits.double(), clean.predicted[sample], reduction="none")
            return leave + self.alpha * wrong, codes

        return goal


def _away(clean: Stage, m: str) -> Score:
    """How far a text's code is from that of the text as it was."""
    return lambda codes, which, text: divergence(clean.vectors[m][text], flat(codes.take(which).data))


def _deciding(stage: Stage, m: str) -> Score:
    """What the decision loses by a text, beside the other inputs of the stage."""
    return lambda codes, which, text: loss_of(stage.asked({m: codes}, text, which), stage.predicted[text])
