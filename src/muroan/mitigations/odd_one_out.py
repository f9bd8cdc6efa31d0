"""Odd-one-out fusion: find the one input that does not fit the others, and decide without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.budget import Budget
from muroan.dataset import Splits
from muroan.losses import fused, vectors
from muroan.mitigation import Fitting, Mitigated, Objective, members, state
from muroan.mitigations.single_source import allowed_of, copies_loss, no_input, single_source
from muroan.model import Capability, Code, Model, weights_fingerprint
from muroan.models.defended import DefendedInside
from muroan.randomness import seeded
from muroan.registry import register
from muroan.training import Trainer

TWO = (
    "with two inputs, that they disagree does not tell which of them was attacked: the detector knows it only from the "
    "attacks it was trained on, and another attack may pass for the honest input"
)


class OddOneOutFusion(nn.Module):
    """Codes of k inputs -> which one is odd, and the experts that do without it.

    widths: input -> length of its code, in order; fused: length of the fused code that experts give; common: of the
    space in which codes are compared; hidden: units of detector and experts.
    """

    def __init__(self, widths: Mapping[str, int], fused: int, common: int, hidden: int) -> None:
        super().__init__()
        k, self.length = len(widths), common**0.5
        self.align = nn.ModuleList(nn.Linear(w, common) for w in widths.values())
        pairs = k * (k - 1) // 2
        self.detect = nn.Sequential(nn.Linear(common * (k + pairs), hidden), nn.ReLU(), nn.Linear(hidden, k + 1))
        total = sum(widths.values())
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(total - w, hidden), nn.ReLU(), nn.Linear(hidden, fused)) for w in widths.values()
        )

    def odd(self, codes: Sequence[Tensor]) -> Tensor:
        """Logits [N, k + 1]: input i is the odd one, or (last) none is. Pairs are compared by products."""
        aligned = [align(z) for align, z in zip(self.align, codes, strict=True)]
        common = [functional.normalize(z, dim=1) * self.length for z in aligned]
        compared = [a * b for a, b in combinations(common, 2)]
        logits: Tensor = self.detect(torch.cat([*common, *compared], dim=1))
        return logits

    def without(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Fused codes [N, D] of the k experts, the i-th of all codes but the i-th."""
        return [e(torch.cat([z for j, z in enumerate(codes) if j != i], dim=1)) for i, e in enumerate(self.experts)]


def mixed(weights: Tensor, without: Sequence[Tensor], full: Tensor) -> Tensor:
    """The experts' codes weighted by how likely each is the one to trust: weights [N, k + 1], the last of `full`."""
    return torch.stack([w[:, None] * e for w, e in zip(weights.T, [*without, full], strict=True)]).sum(dim=0)


class OddOneOutModel(DefendedInside):
    """The model with its fusion replaced by a mixture of experts; its own fusion is the expert on all inputs."""

    def __init__(self, inner: Model, fusion: OddOneOutFusion) -> None:
        super().__init__(inner, "odd-one-out fusion")
        self.fusion = fusion

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.mixed(codes, self.odd(codes).softmax(dim=1), present)

    def mixed(self, codes: Mapping[str, Code], weights: Tensor, present: Mapping[str, Tensor] | None = None) -> Tensor:
        """The fused code [N, D] that these weights [N, k + 1] of the experts give."""
        full = fused(self.inner, codes, present)
        here = [e.to(full.device) for e in self.fusion.without(self._vectors(codes))]
        return mixed(weights.to(full.device), here, full)

    def odd(self, codes: Mapping[str, Code]) -> Tensor:
        """Logits [N, k + 1] of the detector: which input is odd, the last one: none."""
        return self.fusion.odd(self._vectors(codes)).cpu()

    def _vectors(self, codes: Mapping[str, Code]) -> list[Tensor]:
        device = next(self.fusion.parameters()).device
        return [codes[m].to(device) for m in self.modalities]

    def trainable(self) -> nn.ModuleDict:
        return nn.ModuleDict({"inner": self.inner.trainable(), "odd one out": self.fusion})

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} by {weights_fingerprint(self.fusion)}"


@register
@dataclass(frozen=True, kw_only=True)
class OddOneOut(Fitting):
    """Puts a detector and k experts in place of the model's fusion, each expert leaving one input out.

    The detector compares the inputs' codes and says which one does not fit the rest, or that all do; the fused code is
    the experts' mean weighted by that, with the model's own fusion as the expert for "all fit". First the detector and
    each expert by itself are trained while the encoders stay; then everything, on the task and (weight `odd`) on
    telling the odd one. Every step attacks each input alone, through the whole model as it is then.

    It defends against an attack on one input. Against one on two at once nothing is claimed; and with two inputs in
    all, see `TWO`.

    radii: by input name, over the usual ones of its kind, over a quarter of the standard deviation of its values;
    words: replaced in texts. steps: of the inner attack. common, hidden: sizes, chosen here.
    """

    name = "odd_one_out"
    does = "Finds the one input that does not fit the others and decides without it."
    source = "Yang et al., CVPR 2021 (arXiv 2206.12714); sizes and the comparison of codes: chosen here"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.TRAIN})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}
    stops_early = False

    radii: tuple[tuple[str, float], ...] = ()
    words: int = 0
    steps: int = 5
    odd: float = 1.0
    warm_up: int = 10
    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3
    common: int = 16
    hidden: int = 64

    def applies(self, model: Model, schema: Schema) -> str | None:
        if len(model.modalities) < 2:
            return "a single input has no others that it could be compared with"
        return no_input(model, schema, self.words)

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        fit_on = members(data, self.name)
        allowed = allowed_of(fit_on, model, self.radii, self.words)
        facts = self._facts(model, fit_on.first(1), seed)
        defended = self._built(model, facts)
        own = trainer.named(self.name)
        fusion = list(defended.fusion.parameters())
        detector = Objective(lambda batch: self._warm(defended, batch, allowed, seed), parameters=fusion)
        first = self.fit(defended, detector, fit_on, own.named("detector"), seed=seed, epochs=self.warm_up)
        everything = Objective(lambda batch: self._whole(defended, batch, allowed, seed))
        second = self.fit(defended, everything, fit_on, own, seed=seed)
        notes = (f"detector: {first.note}", f"all: {second.note}", *((TWO,) if len(model.modalities) == 2 else ()))
        return Mitigated(defended, state(defended.trainable()), facts, notes)

    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        return super().restore(self._built(model, facts), tensors, facts)

    def _facts(self, model: Model, first: Batch, seed: int) -> dict[str, Any]:
        with torch.no_grad():
            codes = vectors(model, first)
            width = model.fuse(codes).shape[1]
        widths = {m: c.shape[1] for m, c in codes.items()}
        return {"widths": widths, "fused": width, "common": self.common, "hidden": self.hidden, "seed": seed}

    @staticmethod
    def _built(model: Model, facts: Mapping[str, Any]) -> OddOneOutModel:
        with seeded("odd one out", facts["seed"]):
            widths = {m: facts["widths"][m] for m in model.modalities}
            fusion = OddOneOutFusion(widths, facts["fused"], facts["common"], facts["hidden"])
        return OddOneOutModel(model, fusion.eval())

    def _warm(self, model: OddOneOutModel, batch: Batch, allowed: Mapping[str, Budget], seed: int) -> Tensor:
        """Telling the odd one, and every expert's own decision, which its left-out input cannot change."""
        changed, which = single_source(model, batch, allowed, steps=self.steps, seed=seed)
        experts = model.fusion.without(list(vectors(model, batch).values()))
        task = [functional.cross_entropy(model.decide(e), batch.targets) for e in experts]
        return odd_loss(model, batch, changed, which) + torch.stack(task).mean()

    def _whole(self, model: OddOneOutModel, batch: Batch, allowed: Mapping[str, Budget], seed: int) -> Tensor:
        changed, which = single_source(model, batch, allowed, steps=self.steps, seed=seed)
        return copies_loss(model, batch, changed) + self.odd * odd_loss(model, batch, changed, which)


def odd_loss(model: OddOneOutModel, batch: Batch, changed: Batch, which: Tensor) -> Tensor:
    """Cross-entropy of "none" on the samples plus the sum over inputs of that of naming the one attacked."""
    clean, attacked = (model.odd(vectors(model, b)) for b in (batch, changed))
    copies = len(changed) // max(1, len(batch))
    none = torch.full((len(batch),), len(model.modalities))
    return functional.cross_entropy(clean, none) + copies * functional.cross_entropy(attacked, which)
