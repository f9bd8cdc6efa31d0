"""VILLA: adversarial training on embeddings, with the gradients of every inner step used ("free").

Source: Gan et al., NeurIPS 2020, arXiv 2006.06195. A perturbation d of the word embeddings (or of another input's
code) starts at 0 and takes K − 1 steps uphill; the loss at each of its K places counts 1 / K:

    L(d) = CE(f(x; d), y) + weight · [KL(p(x) ‖ p(x; d)) + KL(p(x; d) ‖ p(x))]

This regularises. It is no defence against changes of pixels or words, and is not to be reported as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import decided, task_loss
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Code, Embedded, Model
from muroan.registry import register

Passed = Callable[[Tensor], Tensor]
"""A perturbation [N, ...] -> logits [N, K]."""


@register
@dataclass(frozen=True, kw_only=True)
class VILLA(Retraining):
    """One modality is perturbed at a time (the source's finding); where several are named, their losses are averaged.

    perturbed: modalities; the text if left out. inner: K, places of the perturbation a step, each with one backward
    pass. step: of the perturbation; radius: of the ball it is kept in, 0 for none (the released configurations). Both
    are shares of the length of what is perturbed, sample by sample: models differ in how long their embeddings are,
    and the source's 1e-3 to 1e-2 are lengths in its own. weight: of the two divergences.
    """

    name = "villa"
    does = "Trains on perturbed word embeddings: regularisation, no defence against changed inputs."
    source = "Gan et al., NeurIPS 2020, arXiv 2006.06195"
    needs = frozenset({
        Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.EMBEDDINGS, Capability.TRAIN,
    })  # fmt: skip

    perturbed: tuple[str, ...] = ()
    inner: int = 3
    step: float = 0.02
    radius: float = 0.0
    weight: float = 1.5
    epochs: int = 6

    def __post_init__(self) -> None:
        if self.inner < 1 or self.step < 0 or self.radius < 0 or self.weight < 0:
            raise AskedWrongly("villa needs inner of at least 1, and step, radius and weight of at least 0")

    def applies(self, model: Model, schema: Schema) -> str | None:
        missing = [m for m in self.perturbed if m not in model.modalities]
        if missing:
            return f"{model.name} has no modality {missing[0]!r}; it has {', '.join(model.modalities)}"
        if not self._perturbed(model, schema):
            return "there is no text whose embeddings could be perturbed: name other inputs in perturbed"
        return None

    def _perturbed(self, model: Model, schema: Schema) -> tuple[str, ...]:
        return self.perturbed or tuple(m for m in model.modalities if schema.modalities[m].kind == "text")

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        parameters, among = list(model.trainable().parameters()), self._perturbed(model, data.schema)
        lengths: dict[str, Any] = {"step": self.step, "radius": self.radius, "weight": self.weight}

        def perturbed(batch: Batch) -> Tensor:
            passes = (pass_of(model, batch, m) for m in among)
            losses = [free(*p, batch.targets, parameters, inner=self.inner, **lengths) for p in passes]
            return torch.stack(losses).mean()

        said = ["trained on perturbed embeddings: not a defence against changed pixels or words"]
        return Objective(perturbed, partial(task_loss, model), notes=lambda: said)


def free(
    passed: Passed,
    start: Tensor,
    mask: Tensor,
    targets: Tensor,
    parameters: Sequence[nn.Parameter],
    *,
    inner: int,
    step: float,
    radius: float,
    weight: float,
) -> Tensor:
    """The mean loss over `inner` places of a perturbation, with one backward pass through the model for each.

    start: what is perturbed [N, ...]; mask: where it may be, broadcastable. The gradients of all but the last place
    are taken here and enter the result through a term that is linear in the parameters, so that the caller's backward
    pass adds the last place's to them: the sum that a loop of `backward` calls before one optimiser step would leave.
    """
    moving = [p for p in parameters if p.requires_grad]
    length = norm(start.detach() * mask)
    delta = torch.zeros_like(start)
    clean = passed(delta).log_softmax(dim=1)
    gradients = [torch.zeros_like(p) for p in moving]
    value = torch.zeros(())
    for k in range(inner):
        last = k == inner - 1
        delta = delta.detach().requires_grad_(not last)
        now = passed(delta).log_softmax(dim=1)
        loss = (functional.nll_loss(now, targets) + weight * both_ways(clean, now)) / inner
        value = value + loss.detach()
        if last:
            break
        slope, *slopes = torch.autograd.grad(loss, [delta, *moving], retain_graph=True, allow_unused=True)
        gradients = [g if s is None else g + s for g, s in zip(gradients, slopes, strict=True)]
        uphill = slope * mask
        delta = (delta + step * length * uphill / norm(uphill).clamp_min(1e-30)).detach() * mask
        if radius:
            delta = delta * (radius * length / norm(delta).clamp_min(1e-30)).clamp_max(1.0)
    for p, g in zip(moving, gradients, strict=True):
        loss = loss + (p * g).sum()
    return loss - loss.detach() + value


def both_ways(first: Tensor, second: Tensor) -> Tensor:
    """KL(p ‖ q) + KL(q ‖ p), the mean over samples of log-probabilities [N, K]."""
    return ((first.exp() - second.exp()) * (first - second)).sum(dim=1).mean()


def norm(x: Tensor) -> Tensor:
    """Each sample's length [N, 1, ...]: of one sample, never of a batch."""
    out: Tensor = x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    return out


def pass_of(model: Model, batch: Batch, modality: str) -> tuple[Passed, Tensor, Tensor]:
    """(a pass with a perturbation, what is perturbed [N, ...], where [N, ...]) for one modality of a batch.

    Everything before the perturbation is computed once; what comes after it draws the same random numbers in every
    pass, so that two passes differ by the perturbation alone (and in nothing at 0), whatever is dropped out.
    """
    kind = batch.modalities[modality].kind
    codes: dict[str, Code] = {m: model.encode(m, batch.inputs[m]) for m in model.modalities if m != modality}
    if kind == "text":
        embedded = model.embed(modality, batch.inputs[modality])
        start, mask = embedded.vectors, embedded.mask[..., None].to(embedded.vectors.dtype)
    else:
        code = model.encode(modality, batch.inputs[modality])
        if not isinstance(code, Tensor):
            raise AskedWrongly(f"only a code that is one tensor can be perturbed; that of {modality!r} is several")
        start, mask = code, torch.ones(1, *[1] * (code.ndim - 1))
    state = torch.get_rng_state()

    def passed(delta: Tensor) -> Tensor:
        torch.set_rng_state(state)
        own = start + delta * mask
        if kind == "text":
            own = model.encode_embedded(modality, Embedded(own, embedded.mask, embedded.words))
        return decided(model, {**codes, modality: own}, batch.present)

    return passed, start, mask
