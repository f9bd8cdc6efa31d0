"""Shared losses: known values, and what a model is told of inputs that are missing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch.nn import functional

from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet
from muroan.errors import AskedWrongly
from muroan.losses import decided, eased, info_nce, logits, task_loss, told, vectors
from muroan.model import Capability, Code


def test_info_nce_of_known_logits() -> None:
    apart = torch.eye(2)
    assert math.isclose(float(info_nce(apart, apart, 1.0)), math.log(1 + math.exp(-1)), rel_tol=1e-6)
    alike = torch.ones(4, 1)
    assert math.isclose(float(info_nce(alike, alike, 10.0)), math.log(4), rel_tol=1e-6)


class Skipping(TrainableNet):
    """Leaves out the code of what it is told is missing."""

    capabilities = TrainableNet.capabilities | {Capability.ABSENT}

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        return super().fuse({m: c * present[m][:, None] if present and m in present else c for m, c in codes.items()})


def test_only_a_model_that_handles_missing_inputs_is_told_of_them() -> None:
    reference = planted().reference
    assert reference is not None
    batch = reference.first(8)
    less = batch.without("text")
    assert told(TrainableNet(), less.present) is None
    assert told(Skipping(), batch.present) is None
    assert list(told(Skipping(), less.present) or ()) == ["text"]
    for model in (TrainableNet(), Skipping()):
        assert torch.equal(decided(model, vectors(model, less), less.present), logits(model, less))
        assert torch.equal(decided(model, vectors(model, batch)), logits(model, batch))
    assert not torch.equal(logits(TrainableNet(), less), logits(Skipping(), less))
    wanted = functional.cross_entropy(Skipping().predict(less.inputs, less.present), less.targets)
    assert torch.equal(task_loss(Skipping(), less), wanted)


def test_a_hard_loss_is_eased_by_the_share_of_the_untouched_one() -> None:
    reference = planted().reference
    assert reference is not None
    model, batch, hard = TrainableNet(), reference.first(8), torch.tensor(5.0)
    assert torch.allclose(eased(hard, 0.25, model, batch), 0.75 * hard + 0.25 * task_loss(model, batch))
    assert eased(hard, 0.0, model, batch) is hard


def test_codes_that_are_no_vectors_are_refused() -> None:
    reference = planted().reference
    assert reference is not None
    model = TrainableNet()
    model.table = torch.nn.Unflatten(1, (2, 1))  # type: ignore[assignment]
    with pytest.raises(AskedWrongly, match="codes of table"):
        vectors(model, reference.first(4))
