"""SGA, set-level guidance: move a picture, at several scales, away from several captions, and the captions from it.

What fools one model by one picture and one caption is often an accident of that model; what holds for sets transfers.
Source: Lu et al., ICCV 2023 (arXiv 2307.14061).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs
from muroan.interventions.attacks.candidates import Lexicon, Slip, Source
from muroan.interventions.attacks.code_attack import CodeAttack, Goal, Plan
from muroan.interventions.attacks.guided_text import Spoken, guided
from muroan.interventions.attacks.stage import Stage
from muroan.meter import Codes
from muroan.modality import Modality, Text
from muroan.model import Capability
from muroan.randomness import normal, sample_keys
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class SGA(CodeAttack):
    """Three stages: captions away from the picture; the picture away from all of them; its caption away from it again.

    A caption is moved by replacing words so that its cosine with the picture falls. The picture climbs
    -(sum over captions and copies of cos(e(copy), e(caption'))), with copies of it at other scales (resized there and
    back, with noise before) beside the unscaled one, which gets no noise. Noise is drawn anew for every sample and
    step, one picture of it for all scales. Inputs that are not pictures have noisy copies only.

    captions: sample id -> further captions of the same picture; the sample's own is always among them, and stands
    alone where none are given. Only the sample's own caption is handed back. scales () and no captions: the same attack
    without sets. sources: where replacements of words come from; tries: of each word.

    Constants of the paper: 10 steps of a quarter of the radius, noise 0.05, ten substitutes a word.
    """

    name = "sga"
    source = "Lu et al., ICCV 2023 (arXiv 2307.14061)"
    needs = CodeAttack.needs | {Capability.ALIGNED}

    step: float = 0.25
    scales: tuple[float, ...] = (0.5, 0.75, 1.25, 1.5)
    noise: float = 0.05
    captions: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    sources: tuple[Source, ...] = (Lexicon(), Slip())
    tries: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise < 0 or any(s <= 0 for s in self.scales):
            raise AskedWrongly(f"sga: scales are above 0 and noise not below it, got {self.scales} and {self.noise}")

    def plan(self, clean: Stage, moving: Budgets, words: Budgets, seed: int) -> Plan:
        texts = [m for m, kind in clean.model.modalities.items() if isinstance(kind, Text)]
        sets = {m: self._captions(clean, m) for m in texts}
        first = {m: self._words(clean, m, sets[m], b.words) for m, b in words.items()}
        guides = {m: s.guide(first[m].codes.data if m in first else s.codes.data) for m, s in sets.items()}

        def again(beside: Stage) -> dict[str, Spoken]:
            """The samples' own captions, from the original words, away from the moved picture."""
            return {m: self._words(beside, m, sets[m].alone(), b.words) for m, b in words.items()}

        return Plan(
            climb=lambda stage: self._goal(stage, stage.vectors | guides, seed),
            said={m: sets[m].own_of(s) for m, s in first.items()},
            again=again,
            # A decision that the first words have changed under this picture is not given up for a lower cosine.
            holds=self.stop,
            copies=1 + len(self.scales),
        )

    def _captions(self, clean: Stage, m: str) -> _Captions:
        """All captions of the stage's samples; each sample's own comes first and is not encoded again."""
        named = zip(clean.batch.ids, clean.batch.inputs[m], strict=True)
        sets = [list(dict.fromkeys([said, *self.captions.get(name, ())])) for name, said in named]
        size = torch.tensor([len(s) for s in sets], dtype=torch.long)
        own = size.cumsum(0) - size
        codes = clean.codes[m]
        if further := [t for s in sets for t in s[1:]]:
            at = torch.arange(int(size.sum())) + len(own) - torch.arange(len(own)).repeat_interleave(size) - 1
            at[own] = torch.arange(len(own))
            codes = Codes.concat([codes, clean.model.encode(m, further)]).take(at)
        return _Captions([t for s in sets for t in s], torch.arange(len(own)).repeat_interleave(size), own, codes)

    def _words(self, stage: Stage, m: str, captions: _Captions, words: int) -> Spoken:
        """Captions moved away from what the other modalities of the stage say: their cosines fall."""
        others = [v for n, v in stage.vectors.items() if n != m]
        beside = torch.stack(others).sum(dim=0) if others else torch.zeros_like(stage.vectors[m])

        def unlike(codes: Codes, which: Tensor, text: Tensor) -> Tensor:
            gain: Tensor = -(codes.take(which).data * beside[captions.sample[text]]).sum(dim=1)
            return gain

        return guided(stage, m, captions.texts, captions.codes, words, unlike, self.sources, self.tries)

    def _goal(self, stage: Stage, guides: Mapping[str, Tensor], seed: int) -> Goal:
        model, batch, step = stage.model, stage.batch, [0]

        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            value, codes = torch.zeros(len(sample), dtype=torch.double), {}
            for m, v in x.items():
                keys = sample_keys([batch.ids[i] for i in sample.tolist()], seed, self.name, "noise", m, step[0])
                drawn = torch.from_numpy(normal(keys, *v.shape[1:])).to(v.dtype) * self.noise if self.scales else v
                seen = [v, *(scaled(v, drawn, s, batch.modalities[m]) for s in self.scales)]
                coded = model.encode_differentiable(m, torch.cat(seen))
                codes[m] = coded[: len(sample)]
                away = torch.stack([g[sample] for n, g in guides.items() if n != m]).sum(dim=0)
                value = value - (coded * away.repeat(len(seen), 1)).sum(dim=1).view(len(seen), -1).sum(dim=0).double()
            step[0] += 1
            return value, codes

        return goal


@dataclass(frozen=True)
class _Captions:
    """Captions of a stage's samples: texts [T], codes row by row; sample [T]: whose; own [N]: which is its own."""

    texts: list[str]
    sample: Tensor
    own: Tensor
    codes: Codes

    def guide(self, codes: Tensor) -> Tensor:
        """The sum of the codes [T, D] of each sample's captions, [N, D]: its inner product is the sum of cosines."""
        total = torch.zeros(len(self.own), codes.shape[1], dtype=codes.dtype)
        return total.index_add(0, self.sample, codes)

    def alone(self) -> _Captions:
        """Each sample's own caption only."""
        texts = [self.texts[k] for k in self.own.tolist()]
        return _Captions(texts, self.sample[self.own], torch.arange(len(texts)), self.codes.take(self.own))

    def own_of(self, spoken: Spoken) -> Spoken:
        """What became of each sample's own caption; what was tried of all of them counts."""
        texts = [spoken.texts[k] for k in self.own.tolist()]
        tried = torch.zeros(len(self.own)).long().index_add(0, self.sample, spoken.tried)
        return Spoken(texts, spoken.codes.take(self.own), spoken.words[self.own], tried)


def scaled(x: Tensor, noise: Tensor, scale: float, modality: Modality) -> Tensor:
    """Copies with noise, resized by `scale` and back (bicubic) where they are pictures; within the valid range."""
    noisy = (x + noise).clamp(modality.low, modality.high)
    if modality.kind != "image":
        return noisy
    size = [max(1, round(scale * s)) for s in x.shape[-2:]]
    there = functional.interpolate(noisy, size=size, mode="bicubic", align_corners=False)
    back = functional.interpolate(there, size=list(x.shape[-2:]), mode="bicubic", align_corners=False)
    return back.clamp(modality.low, modality.high)
