"""Attacks on codes: what the cards give as known answers, then what each does that a simpler one does not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from muroan import checks
from muroan.budget import Budget
from muroan.checks.bed import MODALITIES as KINDS
from muroan.checks.bed import PlantedAligned, planted
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.attack_vlm import AttackVLM, random_gradient
from muroan.interventions.attacks.co_attack import CoAttack, divergence
from muroan.interventions.attacks.m_attack import MAttack, cropped
from muroan.interventions.attacks.sga import SGA, scaled
from muroan.interventions.attacks.surrogates import Surrogates
from muroan.interventions.attacks.transfer import transfer
from muroan.meter import Metered
from muroan.model import Capability
from muroan.organisms.pairs import MODALITIES, fine_patterns, model, patterns, world
from muroan.randomness import sample_keys

EPS = {"image": Budget(radius=2 / 255), "text": Budget(words=1)}


def pairs(n=24, seed=3):
    batch = world(seed, model())[1].audited.load(range(n)).batch
    assert batch is not None
    return batch


def attackable(dose=1.5):
    return Metered(model(dose), MODALITIES)


class Aligned(CoAttack):
    """Co-Attack on the aligned bed."""

    needs = CoAttack.needs | {Capability.ALIGNED}


@pytest.mark.parametrize("attack", [Aligned(), CoAttack(variant="fused"), AttackVLM(rounds=2)], ids=repr)
def test_contracts_of_variants(attack):
    for check in checks.of(attack):
        check()


def test_divergence_is_flat_where_codes_are_equal():
    code = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    reference = code.detach().clone()
    value = divergence(reference, code)
    (gradient,) = torch.autograd.grad(value.sum(), [code])
    assert value.detach().abs().max() < 1e-12
    assert gradient.abs().max() < 1e-6  # so that an attack that begins at the sample goes nowhere
    two = divergence(torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2))
    assert two.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_a_picture_alone_is_moved_from_a_random_start():
    done = CoAttack(alpha=0.0).run(attackable(), pairs(), {"image": EPS["image"]})
    assert not bool(done.trace["zero_gradient"].any())
    assert done.success.float().mean() > 0.5


def test_one_sided_start_never_begins_below():
    batch = pairs()
    attack = CoAttack(start="positive", steps=1, step=1e-9, stop=False)
    done = attack.run(attackable(), batch, {"image": EPS["image"]})
    assert (done.batch.inputs["image"] - batch.inputs["image"]).min() >= 0


@pytest.mark.parametrize("attack", [CoAttack(), SGA()], ids=lambda a: a.name)
def test_the_planted_direction_is_found_and_its_clean_twin_is_not_hurt(attack):
    batch = pairs()
    assert attack.run(attackable(1.5), batch, EPS).success.float().mean() > 0.9
    assert not bool(attack.run(attackable(0.0), batch, EPS).success.any())


def test_what_is_climbed_rises():
    done = CoAttack(stop=False).run(attackable(), pairs(), EPS)
    assert (done.trace["loss_best"] > done.trace["loss_first"]).float().mean() >= 0.95


def test_stop_leaves_decided_samples_alone():
    batch = pairs()
    few, all_ = attackable(), attackable()
    CoAttack().run(few, batch, EPS)
    CoAttack(stop=False).run(all_, batch, EPS)
    assert few.meter.counts["backward"] < all_.meter.counts["backward"] == 24 * 10


def test_scaled_copies_have_noise_and_the_unscaled_has_none():
    x = torch.full((1, 1, 32, 32), 0.5)
    flat = scaled(x, torch.zeros_like(x), 0.5, MODALITIES["image"])
    assert torch.allclose(flat, x, atol=1e-5)
    noisy = scaled(x, 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), 1.5, MODALITIES["image"])
    assert 0.02 < float(noisy.std()) < 0.06
    asked = []

    class Watching(PlantedAligned):
        def encode(self, modality, values):
            if modality == "image" and values.requires_grad is False and len(values) == 5 * 4:
                asked.append(values)
            return super().encode(modality, values)

    batch = planted().audited.load(range(4)).batch
    SGA(steps=1).run(Metered(Watching(), KINDS), batch, {"image": Budget(radius=0.01)})
    first = asked[0].view(5, 4, *batch.inputs["image"].shape[1:])
    assert torch.equal(first[0], batch.inputs["image"])  # the goal at the sample itself: its own copy is untouched
    assert all((first[k] - first[0]).abs().max() > 0.01 for k in range(1, 5))


def test_further_captions_guide_the_picture_and_only_the_own_one_comes_back():
    batch = pairs(4)
    others = {i: ["a small picture of the old", batch.inputs["text"][k]] for k, i in enumerate(batch.ids)}
    attack = SGA(captions=others, stop=False)
    metered = attackable(1.0)
    done = attack.run(metered, batch, EPS, seed=1)
    alone = SGA(stop=False).run(attackable(1.0), batch, EPS, seed=1)
    assert len(done.batch.inputs["text"]) == 4
    assert not torch.equal(done.batch.inputs["image"], alone.batch.inputs["image"])


def test_targets_are_needed_and_named():
    with pytest.raises(AskedWrongly, match="needs a target"):
        AttackVLM().run(attackable(), pairs(2), EPS)
    with pytest.raises(AskedWrongly, match="no target for 2 of 2"):
        MAttack(target={}).run(attackable(), pairs(2), EPS)


@pytest.mark.parametrize(
    ("attack", "dose", "radius"),
    # Crops move and resize what is painted, so fine patterns do not survive them: smooth ones need more room.
    [(AttackVLM(steps=20), 1.5, 2 / 255), (MAttack(steps=40), 0.0, 0.2), (MAttack(steps=20, crop=()), 1.5, 2 / 255)],
    ids=["attack_vlm", "m_attack", "m_attack without crops"],
)
def test_the_code_moves_towards_the_targets(attack, dose, radius):
    batch = pairs()
    wanted = {i: batch.inputs["image"][(k + 1) % 24] for k, i in enumerate(batch.ids)}
    towers, budgets = model(dose), {"image": Budget(radius=radius), "text": EPS["text"]}
    codes = towers.encode("image", torch.stack([wanted[i] for i in batch.ids]))
    done = replace(attack, target=wanted, stop=False).run(Metered(towers, MODALITIES), batch, budgets)
    before = (towers.encode("image", batch.inputs["image"]) * codes).sum(dim=1)
    after = (towers.encode("image", done.batch.inputs["image"]) * codes).sum(dim=1)
    assert (after - before)[before < 0.5].min() > 0.2
    assert done.batch.inputs["text"] == batch.inputs["text"]


def test_words_can_be_the_target_of_a_picture():
    batch = pairs()
    towers = model(1.5)
    said = batch.inputs["text"][0]
    done = AttackVLM(match="other", target=said, steps=20, stop=False).run(Metered(towers, MODALITIES), batch, EPS)
    code = towers.encode("text", [said])
    gain = (
        towers.encode("image", done.batch.inputs["image"]) @ code.T
        - towers.encode("image", batch.inputs["image"]) @ code.T
    )
    assert gain.median() > 0.2


def test_random_gradient_points_along_the_true_one():
    x = torch.rand(100, 6, generator=torch.Generator().manual_seed(0))
    slope = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])
    asked = []

    def f(values, sample):
        asked.append(len(values))
        return values.sin() @ slope

    keys = sample_keys([str(k) for k in range(100)], "test")
    found = random_gradient(f, x, x.sin() @ slope, keys, directions=20, sigma=1e-3)
    cosine = torch.nn.functional.cosine_similarity(found, x.cos() * slope)
    assert cosine.mean() - 3 * cosine.std() / 10 > 0.5
    assert asked == [2000]


def test_every_query_is_counted():
    batch = pairs(8)
    metered = attackable(0.5)
    silent = AttackVLM(target=batch.inputs["image"][0], steps=1, step=1e-6)
    done = replace(silent, rounds=3).run(metered, batch, {"image": EPS["image"]})
    base = attackable(0.5)
    silent.run(base, batch, {"image": EPS["image"]})
    left = ~done.success
    assert set(done.trace["queries"][left].tolist()) == {3 * 21 + 1}
    # What the stage asks beside its queries: the labels, and the codes of what stays.
    assert metered.meter.passes - base.meter.passes == 8 + int((done.trace["queries"] - 1).sum())


def test_crops_keep_their_share():
    ramp = torch.linspace(0, 1, 32).expand(50, 1, 32, 32).contiguous()
    out = cropped(ramp, (0.5, 0.9), sample_keys([str(k) for k in range(50)], "crop"))
    width = (out[..., -1] - out[..., 0]).mean(dim=(1, 2))
    assert float(width.min()) > 0.5**0.5 - 0.05
    assert float(width.max()) < 0.9**0.5 + 0.05
    assert float(out[..., 0].min()) >= 0


def test_surrogates_agree_by_the_mean():
    first, second = model(0.0), model(2.0)
    both, batch = Surrogates([first, second]), pairs()
    a, b = (both.encode(m, batch.inputs[m]) for m in ("image", "text"))
    wanted = (
        sum(
            (m.encode("image", batch.inputs["image"]) * m.encode("text", batch.inputs["text"])).sum(1)
            for m in (first, second)
        )
        / 2
    )
    assert torch.allclose((a * b).sum(dim=1), wanted, atol=1e-5)
    assert torch.allclose(
        both.predict(batch.inputs), (first.predict(batch.inputs) + second.predict(batch.inputs)) / 2, atol=1e-4
    )


def test_transfer_to_what_shares_the_fault_and_not_to_what_does_not():
    batch = pairs()
    same = transfer(CoAttack(), model(2.0), attackable(1.5), batch, EPS)
    other = transfer(CoAttack(), model(2.0), attackable(0.0), batch, EPS)
    assert same.white_box.float().mean() > 0.9
    assert same.transfer.float().mean() > 0.9
    assert not bool(same.random.any())
    assert not bool(other.transfer.any())
    assert same.spent.counts["backward"] == 24 * 10  # it goes on after the surrogate is fooled


def test_the_bed_is_what_it_says():
    flat = patterns().flatten(1)
    assert torch.allclose(flat @ flat.T / flat.shape[1], torch.eye(12), atol=1e-5)
    assert (fine_patterns().flatten(1) @ flat.T / flat.shape[1]).abs().max() < 0.02
