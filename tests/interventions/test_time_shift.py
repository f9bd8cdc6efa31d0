"""Misalignment in time: a model that multiplies two streams step by step is turned by the offset that was planted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.interventions.attacks.time_shift import TimeShift
from muroan.interventions.perturbations.signal import shifted
from muroan.meter import Metered
from muroan.modality import Series, Value
from muroan.model import BlackBox

LENGTH = 20


def agree(inputs: Mapping[str, Value]) -> Tensor:
    """ "in time" while at least four of the five beats of two streams fall together."""
    together = (inputs["a"] * inputs["b"]).sum(dim=(1, 2))
    return torch.stack([3.5 - together, together - 3.5], dim=1)


def world() -> tuple[Metered, Batch]:
    kind = Series(length=LENGTH, channels=("beat",))
    beats = torch.zeros(3, LENGTH, 1)
    beats[:, 4:9] = 1.0
    beats[1, 2:12] = 1.0  # a longer beat forgives more
    short = beats[:1].expand(3, -1, -1).clone()
    model = BlackBox(agree, modalities=("a", "b"), classes=("off", "in time"), output="logits")
    batch = Batch({"a": kind, "b": kind}, {"a": beats, "b": short}, torch.ones(3, dtype=torch.long), ["x", "y", "z"])
    return Metered(model, batch.modalities), batch


def test_the_smallest_offset_that_turns_a_decision_is_found() -> None:
    model, batch = world()
    done = TimeShift().run(model, batch, {"a": Budget(share=0.25)})
    assert done.success.tolist() == [True, True, True]
    assert torch.equal(done.batch.inputs["a"][0], shifted(batch.inputs["a"], 2)[0])
    assert torch.equal(done.batch.inputs["a"][1], shifted(batch.inputs["a"], 4)[1])
    assert torch.equal(done.batch.inputs["b"], batch.inputs["b"])


@pytest.mark.parametrize(("share", "turned"), [(0.0, 0), (0.05, 0), (0.1, 2), (0.2, 3)])
def test_no_offset_is_beyond_the_budget(share: float, turned: int) -> None:
    model, batch = world()
    done = TimeShift().run(model, batch, {"a": Budget(share=share)})
    assert int(done.success.sum()) == turned


def test_what_stands_at_the_end_is_held() -> None:
    x = torch.arange(4.0).view(1, 4, 1)
    assert shifted(x, 1).flatten().tolist() == [0, 0, 1, 2]
    assert shifted(x, -2).flatten().tolist() == [2, 3, 3, 3]


def test_offsets_are_evenly_spaced_where_only_a_few_are_tried() -> None:
    assert TimeShift(tries=2).offsets(100, 0.2) == [10, -10, 20, -20]
    assert TimeShift().offsets(100, 0.02) == [1, -1, 2, -2]
    assert TimeShift(tries=5).offsets(10, 0.05) == []
