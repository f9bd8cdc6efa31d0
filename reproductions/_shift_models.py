"""Small models of one task that differ in size, regularisation and augmentation, for questions that are over models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.emoji import CLASSES
from muroan.dataset import Dataset, Loaded, Sample
from muroan.losses import task_loss
from muroan.model import TorchModel
from muroan.models.emoji_towers.recipe import Recipe, augmented
from muroan.models.watch.network import network
from muroan.randomness import key
from muroan.training import Schedule, Trainer

Inputs = dict[str, Tensor]
Augment = Callable[[Inputs], Inputs]


class Kept(Dataset):
    """A data set whose samples are read once: training reads them many times."""

    def __init__(self, source: Dataset) -> None:
        self.name, self.schema, self.ids, self._source = source.name, source.schema, source.ids, source
        batch = source.load(range(len(source))).batch
        assert batch is not None
        assert len(batch) == len(source)
        self.batch = batch

    def sample(self, i: int) -> Sample:
        return self._source.sample(i)

    def load(self, index: Sequence[int]) -> Loaded:
        return Loaded(self.batch.take(index))

    def clusters(self) -> list[str]:
        return self._source.clusters()

    def fingerprint(self) -> str:
        return self._source.fingerprint()


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of a population of models: its size, how it is regularised, what is done to its inputs in training."""

    name: str
    width: int
    decay: float
    augment: Augment
    epochs: int


def plain(inputs: Inputs) -> Inputs:
    """As they are."""
    return inputs


def noise(level: float) -> Augment:
    """Normal noise on every number."""
    return lambda inputs: {m: x + level * torch.randn_like(x) for m, x in inputs.items()}


# Pictures


def moved(inputs: Inputs) -> Inputs:
    """Shifted, scaled, turned, mirrored."""
    return {"image": augmented(inputs["image"], Recipe(colour=0.0))}


def coloured(inputs: Inputs) -> Inputs:
    """Each colour stronger or weaker, not moved."""
    still = Recipe(shift=0.0, zoom=0.0, turn=0.0, mirror=0.0, colour=0.4)
    return {"image": augmented(inputs["image"], still)}


def both(inputs: Inputs) -> Inputs:
    """Moved and coloured."""
    return coloured(moved(inputs))


def grey(inputs: Inputs) -> Inputs:
    """Half of the pictures without colour."""
    x = inputs["image"]
    flat = x.mean(dim=1, keepdim=True).expand_as(x)
    return {"image": torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, flat, x)}


def smoothed(inputs: Inputs) -> Inputs:
    """Half of the pictures blurred."""
    x = inputs["image"]
    flat = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return {"image": torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, flat, x)}


PICTURE_MODELS = tuple(
    Member(name=f"{name}, {width}", width=width, decay=decay, augment=augment, epochs=20)
    for width, decay in ((12, 0.0), (32, 0.1))
    for name, augment in (
        ("plain", plain),
        ("noise", noise(0.15)),
        ("moved and coloured", both),
        ("half grey", grey),
        ("half blurred", smoothed),
    )
)


def picture_network(width: int, seed: int) -> TorchModel:
    """Three strided convolutions on pictures of 32 pixels; the weights come from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key("shift models", width, seed) % 2**62)
        body = nn.Sequential(
            *(nn.Conv2d(3, width, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
        )
        head = nn.Linear(2 * width * 16, len(CLASSES))
    return TorchModel(encoders={"image": body}, fusion=lambda c: c["image"], head=head, classes=CLASSES, name="groups")


# Series


def lost_sensor(inputs: Inputs) -> Inputs:
    """In a third of the windows one sensor says nothing."""
    draws = torch.rand(len(next(iter(inputs.values()))), 1, 1)
    return {m: torch.where((draws > k / 6) & (draws < (k + 1) / 6), 0.0, x) for k, (m, x) in enumerate(inputs.items())}


def lost_time(inputs: Inputs) -> Inputs:
    """A stretch of 30 steps, the same in both sensors, says nothing."""
    one = next(iter(inputs.values()))
    at, start = torch.arange(one.shape[1]), torch.randint(0, one.shape[1] - 30, (len(one), 1))
    gone = ((at >= start) & (at < start + 30))[..., None]
    return {m: torch.where(gone, 0.0, x) for m, x in inputs.items()}


def turned(inputs: Inputs) -> Inputs:
    """Each axis of half of the windows points the other way: what the other arm does to some of them."""
    return {m: x * (1 - 2 * (torch.rand(len(x), 1, x.shape[2]) < 0.5).float()) for m, x in inputs.items()}


def scaled(inputs: Inputs) -> Inputs:
    """Faster or slower, stronger or weaker: each channel times 0.6 to 1.4."""
    return {m: x * (0.6 + 0.8 * torch.rand(len(x), 1, x.shape[2])) for m, x in inputs.items()}


SERIES_MODELS = tuple(
    Member(name=f"{name}, {width}", width=width, decay=decay, augment=augment, epochs=16)
    for width, decay in ((8, 0.0), (24, 0.1))
    for name, augment in (
        ("plain", plain),
        ("noise", noise(0.5)),
        ("lost sensor", lost_sensor),
        ("lost time", lost_time),
        ("turned axes", turned),
        ("scaled", scaled),
    )
)


def trained(member: Member, members: Kept, seed: int) -> TorchModel:
    """The model that this recipe gives; when to stop is told by a part of the members."""
    pictures = "image" in members.schema.modalities
    model = picture_network(member.width, seed) if pictures else network(width=member.width, seed=seed)

    def augmented_loss(batch: Batch) -> Tensor:
        return task_loss(model, batch.with_inputs(**member.augment(dict(batch.inputs))))

    def plain_loss(batch: Batch) -> Tensor:
        return task_loss(model, batch)

    schedule = Schedule(epochs=member.epochs, batch=64, rate=2e-3, decay=member.decay, patience=6)
    trainer = Trainer(name=f"shift-{member.name}")
    trainer.fit(model.trainable(), augmented_loss, members, schedule, seed=seed, validation=plain_loss)
    return model
