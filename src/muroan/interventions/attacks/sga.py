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

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs
from muroan.interventions.attacks.candidates import Lexicon, Slip, Source
from muroan.interventions.attacks.code_attack import CodeAttack, Goal, Stage, chosen
from muroan.interventions.attacks.guided_text import Score, Spoken, guided
from muroan.meter import Codes, Metered
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

    def _some(
        self, model: Metered, batch: Batch, moving: Mapping[str, Budget], words: Mapping[str, int], seed: int
    ) -> Attacked:
        clean = Stage.of(model, batch)
        every = torch.arange(len(batch))
        sets = {m: self._captions(clean, m) for m in model.modalities if isinstance(batch.modalities[m], Text)}
        first = {m: self._words(clean, m, sets[m], k) for m, k in words.items()}
        own = {m: _first(s, sets[m].own) for m, s in first.items()}
        stage = clean.spoken({m: s.texts for m, s in own.items()}, {m: s.codes for m, s in own.items()})
        none = torch.zeros(len(batch), dtype=torch.long)
        count = sum((s.words for s in own.values()), none)
        tried = none.clone()
        for m, s in first.items():
            tried.index_add_(0, sets[m].sample, s.tried)
        open_ = (~stage.left({}, every)).nonzero().flatten() if self.stop and words else every
        guides = {m: s.guide(first[m].codes.data if m in first else s.codes.data) for m, s in sets.items()}
        for m in model.modalities:
            guides.setdefault(m, stage.vectors[m])
        best = self._ascent(stage, moving, self._goal(stage, guides, moving, seed), open_, seed)
        if moving and words:
            stage, count, again = self._again(clean, stage, best.inputs, sets, words, count)
            tried = tried + again
        return self._done(stage, batch, best, count, tried, copies=1 + len(self.scales))

    def _captions(self, clean: Stage, m: str) -> _Captions:
        """All captions of the stage's samples; each sample's own comes first and is not encoded again."""
        texts: list[str] = []
        sample: list[int] = []
        own: list[int] = []
        for i, (name, said) in enumerate(zip(clean.batch.ids, clean.batch.inputs[m], strict=True)):
            mine = list(dict.fromkeys([said, *self.captions.get(name, ())]))
            own.append(len(texts))
            texts += mine
            sample += [i] * len(mine)
        rows = torch.tensor(own, dtype=torch.long)
        codes = clean.codes[m]
        if len(texts) > len(own):
            further = [t for k, t in enumerate(texts) if k not in set(own)]
            at = torch.zeros(len(texts), dtype=torch.long)
            at[rows] = torch.arange(len(own))
            others = torch.ones(len(texts), dtype=torch.bool)
            others[rows] = False
            at[others] = len(own) + torch.arange(len(further))
            codes = Codes.concat([codes, clean.model.encode(m, further)]).take(at)
        return _Captions(texts, torch.tensor(sample, dtype=torch.long), rows, codes)

    def _words(self, stage: Stage, m: str, captions: _Captions, words: int) -> Spoken:
        """Captions moved away from what the other modalities of the stage say."""
        modality = stage.batch.modalities[m]
        assert isinstance(modality, Text)
        score = _unlike(stage, m, captions.sample)
        return guided(stage.model, m, modality, captions.texts, captions.codes, words, score, self.sources, self.tries)

    def _again(
        self,
        clean: Stage,
        stage: Stage,
        moved: Inputs,
        sets: Mapping[str, _Captions],
        words: Mapping[str, int],
        count: Tensor,
    ) -> tuple[Stage, Tensor, Tensor]:
        """The samples' own captions, from the original words, away from the moved picture."""
        coded = {m: clean.model.encode(m, v) for m, v in moved.items()}
        there = Stage(clean.model, clean.batch, {**clean.codes, **coded}, clean.labels)
        every = torch.arange(len(clean.batch))
        anew = {m: self._words(there, m, sets[m].alone(), k) for m, k in words.items()}
        # A decision that the first words have changed under this picture is not given up for a lower cosine.
        stays = stage.left(coded, every) if self.stop else torch.zeros(len(every), dtype=torch.bool)
        texts = {m: chosen(stays, stage.batch.inputs[m], s.texts) for m, s in anew.items()}
        total = sum((s.words for s in anew.values()), torch.zeros_like(count))
        tried = sum((s.tried for s in anew.values()), torch.zeros_like(count))
        return stage.spoken(texts, {}), torch.where(stays, count, total), tried

    def _goal(self, stage: Stage, guides: Mapping[str, Tensor], moving: Mapping[str, Budget], seed: int) -> Goal:
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
        out = torch.zeros(len(self.own), codes.shape[1], dtype=codes.dtype)
        return out.index_add(0, self.sample, codes)

    def alone(self) -> _Captions:
        """Each sample's own caption only."""
        texts = [self.texts[k] for k in self.own.tolist()]
        return _Captions(texts, self.sample[self.own], torch.arange(len(texts)), self.codes.take(self.own))


def scaled(x: Tensor, noise: Tensor, scale: float, modality: Modality) -> Tensor:
    """Copies with noise, resized by `scale` and back (bicubic) where they are pictures; within the valid range."""
    noisy = (x + noise).clamp(modality.low, modality.high)
    if modality.kind != "image":
        return noisy
    size = [max(1, round(scale * s)) for s in x.shape[-2:]]
    there = functional.interpolate(noisy, size=size, mode="bicubic", align_corners=False)
    back = functional.interpolate(there, size=list(x.shape[-2:]), mode="bicubic", align_corners=False)
    return back.clamp(modality.low, modality.high)


def _first(spoken: Spoken, own: Tensor) -> Spoken:
    """The samples' own captions among all."""
    texts = [spoken.texts[k] for k in own.tolist()]
    return Spoken(texts, spoken.codes.take(own), spoken.words[own], spoken.tried[own])


def _unlike(stage: Stage, m: str, sample: Tensor) -> Score:
    """How little a caption agrees with the other modalities of its sample: minus the cosine."""
    others = [v for n, v in stage.vectors.items() if n != m]
    beside = torch.stack(others).sum(dim=0) if others else torch.zeros_like(stage.vectors[m])

    def score(codes: Codes, which: Tensor, text: Tensor) -> Tensor:
        gain: Tensor = -(codes.take(which).data * beside[sample[text]]).sum(dim=1)
        return gain

    return score
