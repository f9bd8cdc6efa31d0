"""Making one encoder of an aligned pair robust: what FARE, TeCoA and PMG-AFT share.

The encoder of pictures (or sounds) is trained on the worst inputs in a ball around each training input, the encoder of
text stays as it is, bit for bit, so that whatever was built on the space can go on using it. The methods differ in
what the attacker climbs and what training lowers. Source of the common recipe: Schlarmann et al., ICML 2024 (PGD with
a random start, the encoder as it was as the target); perturbations are in the value space, pixels in [0, 1].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch, Schema
from muroan.budget import RADII, Budget
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Climb, Inputs, Room, ascend
from muroan.interventions.attacks.pgd import Steps
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Metered
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.models.two_encoder import ZeroShot
from muroan.training import Loss, differentiable, standing_in

SCALE = 100.0
"""What cosines are multiplied by where a model does not say (CLIP's own, trained to its bound)."""

Climbed = Callable[[Tensor, Tensor], Tensor]
"""(inputs [R, ...], sample [R] that each is of) -> what the attacker climbs, [R]."""
Lowered = Callable[[Tensor], Tensor]
"""The worst inputs [N, ...] of a batch -> what training lowers, [N]."""


@runtime_checkable
class ShowsVectors(Protocol):
    """A model that shows codes before they are made of length 1."""

    def vectors(self, modality: str, values: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Tower:
    """An encoder in training, which still knows what it was.

    parameters: those that its codes depend on; kept: their values before training; classes [K, D]: what codes are
    compared with, None where a batch's other inputs are; scale: of their cosines.
    """

    model: Model
    modality: str
    parameters: tuple[nn.Parameter, ...]
    kept: tuple[Tensor, ...]
    classes: Tensor | None
    scale: float

    @staticmethod
    def of(model: Model, modality: str, example: Tensor) -> Tower:
        """The encoder of `modality`; example [1, ...]: any input, to see what its codes depend on."""
        parameters = _behind(model, modality, example)
        if not parameters:
            raise AskedWrongly(f"{model.name}: no parameter that it shows for training reaches the codes of {modality}")
        kept = tuple(p.detach().clone() for p in parameters)
        # Prompts are encoded once: the text encoder does not move.
        classes = model.fixed()["classes"].detach() if isinstance(model, ZeroShot) else None
        return Tower(model, modality, parameters, kept, classes, float(getattr(model, "scale", SCALE)))

    def vectors(self, x: Tensor) -> Tensor:
        """Codes [N, D], of the length that the encoder gives them where the model shows that."""
        return vectors_of(self.model, self.modality, x)

    @torch.no_grad()
    def vectors_before(self, x: Tensor) -> Tensor:
        """Codes [N, D] of the encoder as it was."""
        with self.before():
            return self.vectors(x)

    def before(self) -> AbstractContextManager[None]:
        """While this lasts the encoder is what it was."""
        return standing_in(self.parameters, self.kept)

    def logits(self, x: Tensor, anchors: Tensor | None) -> Tensor:
        """How well inputs match each of `anchors` [K, D]; without any, the model's own answer."""
        codes = functional.normalize(self.vectors(x), dim=1)
        if anchors is None:
            return self.model.decide(self.model.fuse({self.modality: codes}))
        return self.scale * codes @ anchors.T

    @torch.no_grad()
    def anchors(self, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """(what inputs are compared with [K, D], which of it is right [N]): classes, else the batch's own partners."""
        if self.classes is not None or len(self.model.modalities) == 1:
            return self.classes, batch.targets
        (other,) = (m for m in self.model.modalities if m != self.modality)
        return self.model.encode(other, batch.inputs[other]), torch.arange(len(batch))


def vectors_of(model: Model, modality: str, x: Tensor) -> Tensor:
    """Codes [N, D] as the encoder gives them; of length 1 where the model shows no others."""
    codes: Tensor = model.vectors(modality, x) if isinstance(model, ShowsVectors) else model.encode(modality, x)
    return codes


def _behind(model: Model, modality: str, example: Tensor) -> tuple[nn.Parameter, ...]:
    """The parameters that codes of a modality depend on: names of modules say nothing where two encoders share one."""
    parameters = list(model.trainable().parameters())
    with differentiable(parameters, parameters), torch.enable_grad():
        reached = torch.autograd.grad(vectors_of(model, modality, example).sum(), parameters, allow_unused=True)
    return tuple(p for p, g in zip(parameters, reached, strict=True) if g is not None)


def worst(
    model: Model, batch: Batch, modality: str, budget: Budget, climbed: Climbed, *, steps: int, seed: int | None
) -> Worst:
    """The inputs of one modality in the ball that raise `climbed` most, by PGD from a random point of the ball.

    seed None: from the input itself, where the gradient of a distance to that very input vanishes.
    """
    sample = torch.arange(len(batch))
    moving = {modality: budget}
    room = Room.around(batch, moving, sample)
    undecided = torch.zeros(len(batch), dtype=torch.bool)
    x = dict(room.origin) if seed is None else {modality: room.drawn(modality, seed, "robust encoder")}

    def objective(x: Inputs, sample: Tensor) -> Seen:
        loss = climbed(x[modality], sample)
        return Seen(loss, undecided[sample], loss.detach())

    with torch.enable_grad():
        first = climbed(batch.inputs[modality], sample).detach()
        best = Climb.at(batch, moving, first, first)
        ascend(Metered(model, batch.modalities), objective, Steps(2.5 / steps), room, x, best, steps=steps)
    return best


STRICTER = 4
"""Times as many steps the attack takes by which training is judged."""


@dataclass(frozen=True, kw_only=True)
class RobustEncoder(Retraining):
    """Settings. modality: whose encoder, the first that a radius is known for if left out. radius: of the ball, L∞;
    the usual one of its kind if 0. steps: of the inner attack, 2.5 radii long together. clean: weight of the untouched
    input's loss beside the worst one's. rate: 1e-5 for an encoder of CLIP's size (as the source has it), more for
    small ones.
    """

    needs = frozenset({Capability.GRADIENTS, Capability.TRAIN, Capability.ALIGNED})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}

    modality: str = ""
    radius: float = 0.0
    steps: int = 5
    clean: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.radius < 0 or self.clean < 0:
            raise AskedWrongly(f"{self.name} needs steps of at least 1, a radius and a clean weight of at least 0")

    @abstractmethod
    def losses(self, tower: Tower, batch: Batch) -> tuple[Climbed, Lowered]:
        """What the attacker climbs on this batch, and what training lowers on what the attacker found."""

    def applies(self, model: Model, schema: Schema) -> str | None:
        if self.modality and self.modality not in model.modalities:
            return f"{model.name} has no modality {self.modality!r}; it has {', '.join(model.modalities)}"
        if self._modality(model, schema) is None:
            return "no encoder of continuous inputs can be attacked: give modality and radius"
        return None

    def _modality(self, model: Model, schema: Schema) -> str | None:
        for m in [self.modality] if self.modality else model.modalities:
            kind = schema.modalities[m]
            if kind.continuous and (self.radius or RADII.get(kind.kind)):
                return m
        return None

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        modality = self._modality(model, data.schema)
        if modality is None:
            raise AskedWrongly(f"{self.name}: {self.applies(model, data.schema)}")
        kind = data.schema.modalities[modality]
        tower = Tower.of(model, modality, kind.blank()[None])
        mine = {id(p) for p in tower.parameters}
        # Of the other encoder nothing may change, running means of its layers included.
        parts = model.trainable().items()
        own = nn.ModuleDict({n: part for n, part in parts if any(id(p) in mine for p in part.parameters())})
        budget = Budget(radius=self.radius or RADII[kind.kind])
        return Objective(
            self.loss(tower, budget, self.steps),
            # An untouched encoder looks harder to move than it is to a short attack: what stops training looks longer.
            self.loss(tower, budget, STRICTER * self.steps),
            modules=own,
            parameters=tower.parameters,
            notes=lambda: self.notes(tower),
        )

    def notes(self, tower: Tower) -> Sequence[str]:
        """What is to be said of training this encoder."""
        return ()

    def loss(self, tower: Tower, budget: Budget, steps: int) -> Loss:
        """The mean over a batch of what training lowers, on the worst of every input that so many steps find."""

        def hardest(batch: Batch) -> Tensor:
            climbed, lowered = self.losses(tower, batch)
            # Drawn by the step's own generator: another start for the same sample in every epoch.
            seed = int(torch.randint(2**31, ()))
            best = worst(tower.model, batch, tower.modality, budget, climbed, steps=steps, seed=seed)
            loss = lowered(best.inputs[tower.modality]).mean()
            if self.clean:
                loss = loss + self.clean * climbed(batch.inputs[tower.modality], torch.arange(len(batch))).mean()
            return loss

        return hardest
