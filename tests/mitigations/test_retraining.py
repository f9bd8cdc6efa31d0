"""A method says its objective, and its base carries that out: what is trained, how long, what is said and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet
from muroan.losses import task_loss
from muroan.mitigation import Objective, Retraining
from muroan.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Scaled(Retraining):
    """The task's loss, which a number beside the model scales; what happened is left in `seen`."""

    name = "scaled"
    does = "Trains."
    stops_early = False

    epochs: int = 6
    batch: int = 48
    seen: list = field(default_factory=list)

    def objective(self, model, data, seed):
        beside = nn.Linear(1, 1)
        self.seen.append(beside)

        def loss(batch):
            self.seen.append(model.head.training)
            return task_loss(model, batch) * (1 + beside(torch.zeros(1)).square()).sum()

        return Objective(
            loss,
            lambda batch: torch.tensor(float(len(self.seen))),  # worse and worse
            beside={"scale": beside},
            notes=lambda: [f"the number is {beside.bias.item():.2f}"],
        )


def test_what_is_beside_the_model_is_trained_and_dropped_and_all_epochs_are_done():
    model = TrainableNet()
    method = Scaled(rate=0.05)
    done = method.apply(model, planted(), Trainer(), seed=0)
    assert set(done.tensors) == set(TrainableNet().trainable().state_dict())
    assert all(method.seen[1:])  # the loss sees the model in training, every time
    assert len(method.seen[1:]) == 6 * -(-136 // 48)  # the usual patience would have ended it after three
    assert "before training" in done.notes[0]
    assert done.notes[1].startswith("the number is")


def test_the_schedule_is_that_of_the_settings_and_what_differs_from_them():
    long = Scaled(epochs=40)
    assert (long.schedule().epochs, long.schedule().patience) == (40, 40)
    assert (long.schedule(epochs=2).patience, long.schedule(rate=1.0).rate) == (2, 1.0)

    class Patient(Scaled):
        stops_early = True

    assert Patient(epochs=40).schedule().patience == 3


def test_only_the_parameters_of_an_objective_move():
    model = TrainableNet()

    class Head(Scaled):
        def objective(self, model, data, seed):
            own = list(model.head.parameters())
            return Objective(lambda batch: task_loss(model, batch), parameters=own)

    before = TrainableNet().trainable().state_dict()
    done = Head(rate=0.05).apply(model, planted(), Trainer(), seed=0)
    moved = {n.split(".")[0] for n, t in done.tensors.items() if not torch.equal(t, before[n])}
    assert moved == {"head"}
