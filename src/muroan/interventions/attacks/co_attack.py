"""Co-Attack: words first, then the picture, pushed away from its own code and from the code of the new words at once.

Perturbations of picture and text that were found apart can cancel each other; found one after the other they cannot.
Source: Zhang, Yi & Sang, ACM MM 2022 (arXiv 2206.09391), written from its equations alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs
from muroan.interventions.attacks.candidates import Lexicon, Slip, Source
from muroan.interventions.attacks.code_attack import CodeAttack, Goal, Stage, chosen, flat
from muroan.interventions.attacks.guided_text import Score, Spoken, guided
from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Codes, Metered
from muroan.modality import Text
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

    def _some(
        self, model: Metered, batch: Batch, moving: Mapping[str, Budget], words: Mapping[str, int], seed: int
    ) -> Attacked:
        aligned = Capability.ALIGNED in model.model.capabilities
        variant = self.variant if self.variant != "auto" else "codes" if aligned else "classes"
        if variant == "codes":
            model.require(Capability.ALIGNED)
        clean = Stage.of(model, batch)
        every = torch.arange(len(batch))
        spoken = self._words(clean, clean, words, variant)
        stage = clean.spoken({m: s.texts for m, s in spoken.items()}, {m: s.codes for m, s in spoken.items()})
        none = torch.zeros(len(batch), dtype=torch.long)
        count = sum((s.words for s in spoken.values()), none)
        tried = sum((s.tried for s in spoken.values()), none)
        open_ = (~stage.left({}, every)).nonzero().flatten() if self.stop and words else every
        best = self._ascent(stage, moving, self._goal(clean, stage, moving, variant), open_, seed)
        if variant != "codes" and words and moving:
            stage, count, again = self._again(clean, stage, best.inputs, words, count, variant)
            tried = tried + again
        return self._done(stage, batch, best, count, tried)

    def _words(self, clean: Stage, stage: Stage, words: Mapping[str, int], variant: str) -> dict[str, Spoken]:
        """One text modality after the other, each from its original text, beside the inputs of `stage`."""
        out: dict[str, Spoken] = {}
        for m, k in words.items():
            beside = stage.spoken({n: s.texts for n, s in out.items()}, {n: s.codes for n, s in out.items()})
            score = _away(clean, m) if variant == "codes" else _deciding(beside, m)
            texts = clean.batch.inputs[m]
            modality = clean.batch.modalities[m]
            assert isinstance(modality, Text)
            out[m] = guided(clean.model, m, modality, texts, clean.codes[m], k, score, self.sources, self.tries)
        return out

    def _again(
        self, clean: Stage, stage: Stage, moved: Inputs, words: Mapping[str, int], count: Tensor, variant: str
    ) -> tuple[Stage, Tensor, Tensor]:
        """Words searched anew on the moved picture; those that the picture was moved under stay where they suffice."""
        model = clean.model
        codes = {m: model.encode(m, v) for m, v in moved.items()}
        stays = stage.left(codes, torch.arange(len(clean.batch)))
        anew = self._words(clean, Stage(model, clean.batch, {**clean.codes, **codes}, clean.labels), words, variant)
        texts = {m: chosen(stays, stage.batch.inputs[m], s.texts) for m, s in anew.items()}
        total = sum((s.words for s in anew.values()), torch.zeros_like(count))
        tried = sum((s.tried for s in anew.values()), torch.zeros_like(count))
        return stage.spoken(texts, {}), torch.where(stays, count, total), tried

    def _goal(self, clean: Stage, stage: Stage, moving: Mapping[str, Budget], variant: str) -> Goal:
        if variant == "codes":
            return self._of_codes(clean, stage)
        every = torch.arange(len(clean.batch))
        model, before = clean.model, model_fused(clean, every)
        after = model_fused(stage, every)

        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            codes = {m: model.encode_differentiable(m, v) for m, v in x.items()}
            still = {m: c.take(sample) for m, c in stage.codes.items() if m not in x}
            coded = {m: Codes(m, c, len(sample), True) for m, c in codes.items()}
            fused, logits = model.fused_differentiable({**still, **coded}, stage.present(sample))
            value = divergence(after[sample], flat(fused))
            if variant == "fused":
                value = value + self.alpha * divergence(before[sample], flat(fused))
            else:
                value = value + self.alpha * functional.cross_entropy(
                    logits.double(), clean.labels[sample], reduction="none"
                )
            return value, codes

        return goal

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


def model_fused(stage: Stage, rows: Tensor) -> Tensor:
    """Fused codes [N, D] of a stage."""
    with torch.no_grad():
        fused, _ = stage.model.fused_differentiable(
            {m: c.take(rows) for m, c in stage.codes.items()}, stage.present(rows)
        )
    return flat(fused)


def _away(clean: Stage, m: str) -> Score:
    """How far a text's code is from that of the text as it was."""
    return lambda codes, which, text: divergence(clean.vectors[m][text], flat(codes.take(which).data))


def _deciding(stage: Stage, m: str) -> Score:
    """What the decision loses by a text, beside the other inputs of the stage."""

    def score(codes: Codes, which: Tensor, text: Tensor) -> Tensor:
        return loss_of(stage.logits({m: codes.take(which)}, text), stage.labels[text])

    return score
