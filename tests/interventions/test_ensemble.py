"""The ensemble is as strong as its strongest member, says who succeeded, and counts what it cost."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from muroan import BlackBox, Budget, Tabular, TorchModel
from muroan.batch import Batch
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.apgd import APGD, APGDTargeted
from muroan.interventions.attacks.ensemble import BESIDE, GRADIENT, MEMBERS, Ensemble
from muroan.meter import Metered

SMALL = Ensemble(steps=8, targets=2, queries=30)
MOVED = {"image": Budget(radius=0.04), "table": Budget(radius=0.2)}
BUDGETS = MOVED | {"text": Budget(words=1)}


@pytest.fixture
def batch():
    return planted().audited.load(range(80)).batch


def metered():
    return Metered(PlantedModel(noise=4.0), MODALITIES)


def four_classes(seed: int = 0) -> tuple[Metered, Batch]:
    """An untrained network on noise: four classes, and a decision that is easily led towards a far one."""
    torch.manual_seed(seed)
    inner = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 5))
    model = TorchModel(encoders={"x": nn.Identity()}, fusion=lambda c: c["x"], head=inner, classes=tuple("abcde"))
    modalities = {"x": Tabular(columns=tuple("abcdef"))}
    x = torch.randn(60, 6)
    return Metered(model, modalities), Batch(modalities, {"x": x}, torch.zeros(60).long(), [str(i) for i in range(60)])


def test_the_first_loss_is_that_of_the_sample_itself(batch):
    done = APGD(steps=5).run(metered(), batch, MOVED)
    assert bool((done.trace["loss_best"] > done.trace["loss_first"]).all())
    again = metered()
    assert float(done.trace["loss_first"].max()) <= 0 < float(done.trace["loss_best"].max())
    assert bool((again.of(batch).argmax(dim=1) >= 0).all())


def test_passes_of_every_sample_add_up_to_what_the_meter_saw(batch):
    for attack in (APGD(steps=5, restarts=2), APGDTargeted(steps=5), APGD(steps=5, restarts=3, stacked=True)):
        model = metered()
        done = attack.run(model, batch, MOVED)
        assert model.meter.passes == len(batch) + int(done.trace["passes"].sum())


def test_targets_are_the_runners_up_and_a_decided_sample_is_left_alone():
    model, batch = four_classes()
    budgets = {"x": Budget(radius=0.4)}
    shares = []
    for targets in (1, 2, 4, 9):
        model.meter.counts.clear()
        done = APGDTargeted(steps=20, targets=targets).run(model, batch, budgets)
        shares.append(int(done.success.sum()))
        assert model.meter.counts["backward"] <= 20 * int(
            (done.success.long() + (~done.success).long() * min(targets, 4)).sum() + done.success.sum() * 3
        )
    assert shares == sorted(shares)
    assert shares[2] == shares[3], "there are four other classes, so nine targets are no more than four"
    one = APGDTargeted(steps=20, targets=1).run(model, batch, budgets)
    second = model.of(batch).topk(2, dim=1).indices[:, 1]
    reached = one.logits.argmax(dim=1)[one.success]
    assert float((reached == second[one.success]).float().mean()) > 0.8
    with pytest.raises(AskedWrongly, match="targets"):
        APGDTargeted(targets=10)


def test_nothing_that_a_member_turns_stays_right(batch):
    together = SMALL.run(metered(), batch, BUDGETS)
    members = SMALL.members()
    for name in MEMBERS[:3]:
        alone = members[name].run(metered(), batch, MOVED)
        assert bool((together.success | ~alone.success).all()), name
    words = members["word_substitution"].run(metered(), batch, {"text": Budget(words=1)})
    assert bool((together.success | ~words.success).all())
    assert int(together.success.sum()) > 0


def test_it_says_who_turned_a_sample_and_what_that_cost(batch):
    model = metered()
    done = SMALL.run(model, batch, BUDGETS)
    assert torch.equal(done.trace["member"] >= 0, done.success)
    assert float(done.trace["passes"].sum()) + len(batch) <= model.meter.passes
    first = done.trace["member"] == MEMBERS.index("apgd")
    assert bool(first.any())
    assert float(done.trace["passes"][first][:, 1:].sum()) == 0, "what the first member turned costs nothing more"
    model.meter.counts.clear()
    weak = SMALL.run(model, batch, {"image": Budget(radius=0.01)})
    assert 0 < int(weak.success.sum()) < len(batch)
    assert set(weak.trace["passes"][~weak.success].sum(dim=1).tolist()) == {SMALL.most(2)}
    # Beside the attacks' own: each member asks for the decision of what it is given.
    asked = sum(int((weak.trace["passes"][:, k] > 0).sum()) for k in range(len(MEMBERS)))
    assert model.meter.passes == len(batch) + asked + int(weak.trace["passes"].sum())


def test_members_without_a_use_are_left_out(batch):
    inside = PlantedModel(noise=4.0)
    box = BlackBox(
        lambda x: inside.predict(x).numpy(), modalities=inside.modalities, classes=inside.classes, output="logits"
    )
    blind = SMALL.run(Metered(box, MODALITIES), batch, BUDGETS)
    used = {MEMBERS[k] for k in range(len(MEMBERS)) if float(blind.trace["passes"][:, k].sum())}
    assert used == {"square", "word_substitution"}
    round_ = SMALL.run(metered(), batch, {"image": Budget(radius=0.5, norm="2")})
    used = {MEMBERS[k] for k in range(len(MEMBERS)) if float(round_.trace["passes"][:, k].sum())}
    assert used == set(GRADIENT)


def test_words_and_pictures_together_turn_what_neither_does_alone(batch):
    done = replace(SMALL, queries=1).run(metered(), batch, BUDGETS)
    beside = done.trace["member"] == MEMBERS.index(BESIDE)
    assert bool(beside.any())
    for i in beside.nonzero().flatten().tolist():
        assert done.batch.inputs["text"][i] != batch.inputs["text"][i]
        assert not torch.equal(done.batch.inputs["image"][i], batch.inputs["image"][i])
