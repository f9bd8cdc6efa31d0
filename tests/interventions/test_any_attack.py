"""AnyAttack: a decoder that learns what its surrogate looks at, and one pass that uses it."""

from __future__ import annotations

import pytest
import torch

from muroan.budget import Budget
from muroan.checks.bed import PlantedModel, planted, planted_pairs
from muroan.checks.trainable import trainable_pairs
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.any_attack import AnyAttack, Decoder, Recipe, fit
from muroan.meter import Metered

RECIPE = Recipe(radius=0.2, steps=40, tuning=10, rows=32)


def world() -> tuple[Metered, torch.Tensor, AnyAttack]:
    members, audited = planted_pairs().members, planted_pairs().audited
    assert members is not None
    batch = members.load(range(len(members))).batch
    held = audited.load(range(len(audited))).batch
    assert batch is not None
    assert held is not None
    model = Metered(trainable_pairs(), batch.modalities)
    return model, held, fit(model, batch, "image", RECIPE, seed=1)


def test_a_picture_is_moved_towards_targets_that_training_never_saw() -> None:
    model, held, attack = world()
    x = held.inputs["image"]
    bright = x[..., :8].mean(dim=(1, 2, 3)) > 0.5
    own, other = x[bright][0], x[~bright][0]
    attack = AnyAttack(modality="image", decoder=attack.decoder, encoder=attack.encoder, target=own)
    budgets = {"image": Budget(radius=0.2)}
    done = attack.run(model, held, budgets)
    moved = done.batch.inputs["image"]
    assert float((moved - x).abs().max()) <= 0.2 + 1e-6
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    codes = {n: model.encode("image", v[None] if v.ndim == 3 else v).data for n, v in (("own", own), ("other", other))}
    before, after = (model.encode("image", v).data for v in (x, moved))

    def lean(code: torch.Tensor) -> float:
        return float((code @ (codes["own"] - codes["other"]).T).mean())

    assert lean(after) > lean(before)
    assert torch.equal(attack.run(model, held.take([3, 1]), budgets).batch.inputs["image"], moved[[3, 1]])


def test_nothing_is_changed_without_a_budget_and_a_target_is_asked_for() -> None:
    model, held, attack = world()
    assert not attack.run(model, held, {}).success.any()
    with pytest.raises(AskedWrongly, match="needs a target"):
        attack.run(model, held, {"image": Budget(radius=0.1)})


def test_it_needs_aligned_codes_and_pictures() -> None:
    model, held, _ = world()
    with pytest.raises(AskedWrongly, match="'text' is text"):
        fit(model, held, "text", RECIPE)
    with pytest.raises(NotApplicable, match="aligned"):
        fit(Metered(PlantedModel(), planted().audited.schema.modalities), held, "image", RECIPE)
    with pytest.raises(AskedWrongly, match="fewer than"):
        fit(model, held.take(range(4)), "image", RECIPE)


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (20, 13)])
def test_noise_has_the_pictures_size(size: tuple[int, int]) -> None:
    noise = Decoder(12, 3, size)(torch.randn(2, 12)).detach()
    assert tuple(noise.shape) == (2, 3, *size)
    assert float(noise.abs().max()) <= 1
