"""The worst case: robust accuracy, who adds what, and gradients that hide."""

import torch

from muroan import BlackBox
from muroan.budget import Budget
from muroan.checks import PlantedModel, planted
from muroan.checks.alarms import findings
from muroan.checks.bed import MODALITIES
from muroan.finding import Verdict
from muroan.meter import Metered
from muroan.organisms.clinic import Clinician, world
from muroan.organisms.unseen import HidesFinePatterns, Saturated
from muroan.randomness import sample_keys
from muroan.robustness.adversarial.worst_case.control import random_changes, signs
from muroan.robustness.adversarial.worst_case.probe import WorstCase

SMALL = WorstCase(limit=60, steps=10, targets=1, queries=60)


def by_key(probe, model, splits):
    return {f.key.split("/")[1]: f for f in findings(probe, model, splits)}


def test_robust_accuracy_is_what_the_members_leave():
    found = by_key(SMALL, PlantedModel(noise=4.0), planted())
    right, stays = found["robust_accuracy"].controls["untouched"], found["robust_accuracy"].estimate
    turned, n = found["success"].estimate, found["success"].estimate.n
    assert n == round(right.value * right.n)
    assert stays.value * stays.n == round(n * (1 - turned.value))
    adds = {k: f.estimate.value for k, f in found.items() if f.metric == "adds"}
    assert len(adds) == 5
    assert abs(sum(adds.values()) - turned.value) < 1e-9
    assert found["success"].controls["no change"].value == 0
    assert found["excess"].estimate.value > 0
    assert "asr.flip_of_correct" in found["success"].note
    assert found["passes"].estimate.value > 1


def test_saturated_gradients_hide_without_bound():
    probe = WorstCase(limit=120, steps=10, targets=1, queries=60)
    sick = by_key(probe, *world(0, Saturated(24.0), n=150))
    well = by_key(probe, *world(0, Clinician(), n=150))
    key = "gradients_hide[condition=without bound]"
    assert sick[key].verdict is Verdict.FAIL
    assert sick[key].controls["turned by gradients"].value == 0
    assert "upper bound" in sick["robust_accuracy"].note
    assert well[key].estimate.value == well["gradients_hide"].estimate.value == 0
    assert "upper bound" not in well["robust_accuracy"].note
    assert well[key].controls["turned by gradients"].value > 0


def test_crumpled_gradients_hide_within_the_budget():
    probe = WorstCase(limit=100, steps=10, targets=1, health=0.0)
    found = by_key(probe, *world(0, HidesFinePatterns(9.0), n=120))
    assert found["gradients_hide"].verdict is Verdict.FAIL
    assert "gradients_hide[condition=without bound]" not in found


def test_a_model_without_gradients_is_asked_by_scores():
    inside = PlantedModel(noise=4.0)
    box = BlackBox(
        lambda x: inside.predict(x).numpy(), modalities=inside.modalities, classes=inside.classes, output="logits"
    )
    found = by_key(SMALL, box, planted())
    assert found["gradients_hide"].estimate is None
    assert "gradients" in found["gradients_hide"].reason
    assert {f.condition for f in found.values() if f.metric == "adds"} == {"square", "word_substitution"}


def test_fair_coins():
    keys = sample_keys([str(i) for i in range(50)], 0)
    coins = signs(keys, 3, 7, 11)
    assert coins.shape == (50, 3, 7, 11)
    assert torch.equal(coins[7:8], signs(keys[7:8], 3, 7, 11))
    assert abs(float(coins.float().mean()) - 0.5) < 0.02
    assert float((coins[0] == coins[1]).float().mean()) < 0.65
    assert bool((coins.float().mean(dim=0) - 0.5).abs().max() < 0.35)


def test_random_changes_use_the_budget_and_grow_with_the_tries():
    batch = planted().audited.load(range(60)).batch
    budgets = {"image": Budget(radius=0.1), "table": Budget(radius=0.5), "text": Budget(words=1)}
    shares = []
    for tries in (1, 10, 60):
        model = Metered(PlantedModel(noise=4.0), MODALITIES)
        done = random_changes(model, batch, budgets, tries, seed=1)
        shares.append(int(done.success.sum()))
        assert model.meter.passes <= len(batch) * (1 + tries)
    assert shares == sorted(shares)
    assert shares[0] < shares[2]
    some = batch.take(range(5, 10))
    alone = random_changes(Metered(PlantedModel(noise=4.0), MODALITIES), some, budgets, 60, seed=1)
    assert torch.equal(alone.success, done.success[5:10])
