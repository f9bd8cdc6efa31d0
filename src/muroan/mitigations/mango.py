"""MANGO: training against small networks that turn noise into the change of an embedding that hurts most.

Source: Li, Gan and Liu 2020, arXiv 2012.08673; no code of theirs is known, so this is our reading. For each modality a
generator g maps noise to a change of its word embeddings, or of its code, which is brought to one fixed length:

    min over the model, max over g:   CE(f(e), y) + mean over modalities [CE(f(e'; d), y) + weight · KL(p ‖ p(e'; d))]

e' is the input with random parts (words, regions, columns) masked, which diversifies what g meets; d = g(noise) scaled
to `radius` times the length of what it changes; p is the answer to the untouched input. Both sides move in one step:
the gradient reaches g reversed. Chosen here: the lengths, the masking rate, the generators' size, the clean term, and
that one modality is changed at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.removal import POINTWISE
from muroan.losses import logits, reversed_gradient, task_loss
from muroan.mitigation import Objective, Retraining
from muroan.mitigations.villa import norm, pass_of
from muroan.model import Capability, Model
from muroan.randomness import seeded
from muroan.registry import register

PIECES = 4
"""Regions along each axis of what has no words or columns."""

Direction = Callable[[Tensor], Tensor]
"""What is changed [N, ..., D] -> a direction of the same shape, of any length."""


class Generator(nn.Module):
    """Noise -> a direction of change: one small network for every vector (word, code) of what is changed.

    It sees noise alone, never the sample.
    """

    def __init__(self, width: int, noise: int, hidden: int) -> None:
        super().__init__()
        self.noise = noise
        self.layers = nn.Sequential(nn.Linear(noise, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, start: Tensor) -> Tensor:
        """[N, ..., D] -> the same shape, for new noise."""
        out: Tensor = self.layers(torch.randn(*start.shape[:-1], self.noise))
        return out


def gaussian(start: Tensor) -> Tensor:
    """The control: a direction that is noise itself."""
    return torch.randn_like(start)


def of_length(direction: Tensor, start: Tensor, mask: Tensor, radius: float) -> Tensor:
    """The direction where `mask` allows, each sample's brought to `radius` times the length of what it changes."""
    moving = direction * mask
    return moving * (radius * norm((start * mask).detach()) / norm(moving).clamp_min(1e-12))


def masked(batch: Batch, modality: str, share: float) -> Batch:
    """Each word, column or region of one input erased with this probability; a text keeps a word at least."""
    value, kind = batch.inputs[modality], batch.modalities[modality]
    boxes = kind.parts(value, max(1, int(kind.grid(value).max())) if kind.kind in POINTWISE else PIECES)
    there = boxes[..., kind.axes :].prod(dim=-1) > 0
    gone = (torch.rand(there.shape) < share) & there
    everything = (gone == there).all(dim=1)
    gone[everything] = False
    cover = kind.cover(value, boxes * gone[..., None])
    return batch.with_inputs(**{modality: kind.erase(value, cover)})


def changed_answers(
    model: Model, batch: Batch, modality: str, direction: Direction, radius: float, *, climb: bool = False
) -> Tensor:
    """Logits [N, K] with a change of this length in one modality; climb: what made it gets its gradient reversed."""
    passed, start, mask = pass_of(model, batch, modality)
    drawn = of_length(direction(start.detach()), start, mask, radius)
    return passed(reversed_gradient(drawn, 1.0) if climb else drawn)


@register
@dataclass(frozen=True, kw_only=True)
class MANGO(Retraining):
    """perturbed: modalities, all that can be if left out: texts whose embeddings the model shows, and codes of one
    tensor. radius: length of the change, of the length of what is changed. share: of words, columns or regions that
    are masked. weight: of the divergence. noise, hidden: size of the generators, which are dropped afterwards.
    """

    name = "mango"
    does = "Trains against networks that learn which noise in the embeddings hurts most."
    place = "robustness/distribution_shift"
    source = "Li, Gan & Liu 2020, arXiv 2012.08673 (MANGO); our reading, no code of theirs is known"
    needs = frozenset({Capability.SCORES, Capability.FUSE, Capability.TRAIN})
    stops_early = False

    perturbed: tuple[str, ...] = ()
    radius: float = 0.3
    share: float = 0.15
    weight: float = 1.0
    noise: int = 16
    hidden: int = 32

    def __post_init__(self) -> None:
        if self.radius < 0 or not 0 <= self.share < 1 or self.weight < 0 or min(self.noise, self.hidden) < 1:
            raise AskedWrongly(f"mango needs a radius and weight of at least 0 and a share below 1: {self}")

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m in self.perturbed:
            if m not in model.modalities:
                return f"{model.name} has no modality {m!r}; it has {', '.join(model.modalities)}"
            if not _possible(model, schema, m):
                return f"{model.name} does not show the embeddings of {m!r}, which would be changed"
        return None if self.among(model, schema) else f"{model.name} shows neither word embeddings nor codes to change"

    def among(self, model: Model, schema: Schema) -> tuple[str, ...]:
        """The modalities that are changed."""
        return self.perturbed or tuple(m for m in model.modalities if _possible(model, schema, m))

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        generators = self.generators(model, data, seed)
        said = [f"embeddings or codes of {', '.join(generators)} were changed by {self.radius:.0%} of their length"]
        return Objective(
            partial(self.loss, model, generators),
            partial(task_loss, model),
            beside={"generators": nn.ModuleList(generators.values())},
            notes=lambda: said,
        )

    def generators(self, model: Model, data: Dataset, seed: int) -> dict[str, Generator]:
        """Untrained ones that fit the model's embeddings and codes."""
        with torch.no_grad(), seeded(self.name, seed):
            widths = {m: pass_of(model, data.first(1), m)[1].shape[-1] for m in self.among(model, data.schema)}
            return {m: Generator(w, self.noise, self.hidden) for m, w in widths.items()}

    def loss(self, model: Model, directions: Mapping[str, Direction], batch: Batch) -> Tensor:
        """The model's side of the game; what makes the directions gets the gradient of the other side."""
        clean = logits(model, batch)
        known = clean.log_softmax(dim=1)
        hard = []
        for m, direction in directions.items():
            less = masked(batch, m, self.share) if self.share else batch
            now = changed_answers(model, less, m, direction, self.radius, climb=True).log_softmax(dim=1)
            apart = (known.exp() * (known - now)).sum(dim=1).mean()
            hard.append(functional.nll_loss(now, batch.targets) + self.weight * apart)
        return functional.cross_entropy(clean, batch.targets) + torch.stack(hard).mean()


def _possible(model: Model, schema: Schema, modality: str) -> bool:
    return schema.modalities[modality].kind != "text" or Capability.EMBEDDINGS in model.capabilities
