"""FGSM, PGD, MIM and APGD: what they share, and the numbers that their sources give."""

from itertools import islice

import pytest
import torch

from muroan import Budget, Tabular, TorchModel
from muroan.batch import Batch
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.apgd import APGD, periods
from muroan.interventions.attacks.ascent import Climb, Room, ascend
from muroan.interventions.attacks.fgsm import FGSM
from muroan.interventions.attacks.losses import loss_of, margin, ratio, targeted_ratio
from muroan.interventions.attacks.mim import MIM
from muroan.interventions.attacks.pgd import PGD, Steps
from muroan.interventions.attacks.worst import Seen
from muroan.meter import Metered

BUDGETS = {"image": Budget(radius=0.03), "table": Budget(radius=0.3)}


@pytest.fixture
def batch():
    return planted().audited.load(range(60)).batch


def metered():
    return Metered(PlantedModel(noise=4.0), MODALITIES)


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper():
    assert list(islice(periods(100), 8)) == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("attack", [PGD(restarts=3), MIM(restarts=3), APGD(restarts=3, steps=20)], ids=lambda a: a.name)
def test_stacked_starts_succeed_on_the_same_samples(attack, batch):
    from dataclasses import replace

    one, all_ = (replace(attack, stacked=s).run(metered(), batch, BUDGETS, seed=1) for s in (False, True))
    assert torch.equal(one.success, all_.success)
    assert 0 < int(one.success.sum()) < len(batch)
    open_ = ~one.success
    assert torch.allclose(one.trace["loss_best"][open_], all_.trace["loss_best"][open_], atol=1e-5)


def test_what_is_decided_is_not_attacked_again(batch):
    wide = {"image": Budget(radius=0.5), "table": Budget(radius=3.0)}
    for stacked in (False, True):
        model = metered()
        done = PGD(steps=10, restarts=4, stacked=stacked).run(model, batch, wide)
        assert bool(done.success.all())
        assert model.meter.counts["backward"] < len(batch) * 10 * (4 if stacked else 1)


def test_fgsm_is_one_step_to_the_border(batch):
    done = FGSM().run(metered(), batch, {"table": Budget(radius=0.25)})
    moved = (done.batch.inputs["table"] - batch.inputs["table"]).abs()
    assert torch.allclose(moved[:, 0], torch.tensor(0.25), atol=1e-6)
    assert not moved[:, 1].any(), "the model does not read this column, so it has no gradient"
    with pytest.raises(AskedWrongly, match="one step"):
        FGSM(steps=2)


def valley():
    """A loss whose gradient turns round: only an attack that shortens its steps comes to rest at the top, at 0.31."""
    return TorchModel(
        encoders={"x": lambda v: -((v - 0.31) ** 2)},
        fusion=lambda c: c["x"],
        head=lambda f: torch.cat([torch.ones_like(f), f], dim=1),
        classes=("a", "b"),
        name="valley",
    )


def one_row(value: float) -> Batch:
    return Batch(
        modalities={"x": Tabular(columns=("x",))},
        inputs={"x": torch.tensor([[value]])},
        targets=torch.tensor([0]),
        ids=["0"],
    )


def test_apgd_shortens_its_steps_until_it_is_there():
    model = valley()
    data = one_row(0.0)
    found = {}
    for attack in (PGD(steps=100, restarts=1), APGD(steps=100)):
        done = attack.run(Metered(model, data.modalities), data, {"x": Budget(radius=1.0)})
        found[attack.name] = abs(float(done.batch.inputs["x"]) - 0.31)
    assert found["apgd"] < 1e-3
    assert found["apgd"] < found["pgd"]


def test_momentum_goes_on_where_the_slope_wavers():
    """Gradients +1, +1, −0.1, ...: the sum still points ahead where the sign of the last one does not."""
    walk = MIM(steps=4, step=1.0).walk(1)
    data = one_row(0.0)
    room = Room.around(data, {"x": Budget(radius=1.0)}, torch.tensor([0]))
    x = {"x": torch.zeros(1, 1)}
    places = []
    for t, g in enumerate((1.0, 1.0, -0.1)):
        x = walk.move(t, room, x, {"x": torch.tensor([[g]])}, torch.zeros(1))
        places.append(float(x["x"]))
    assert places == pytest.approx([0.25, 0.5, 0.75])


def test_the_best_of_several_rows_of_one_sample_is_kept():
    data = one_row(0.0)
    budgets = {"x": Budget(radius=1.0)}
    best = Climb.at(data, budgets, torch.zeros(1, dtype=torch.double), torch.zeros(1, 1))
    sample = torch.zeros(3, dtype=torch.long)

    def objective(x, sample):
        return Seen(x["x"][:, 0].double(), torch.zeros(len(sample), dtype=torch.bool), x["x"])

    start = {"x": torch.tensor([[0.1], [0.4], [-0.9]])}
    room = Room.around(data, budgets, sample)
    model = metered()
    ascend(model, objective, Steps(0.1), room, start, best, steps=2)
    assert float(best.inputs["x"]) == pytest.approx(0.6)
    assert float(best.loss) == pytest.approx(0.6)


def test_losses_are_positive_exactly_where_the_decision_changed():
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 5
    turned = logits.argmax(dim=1) != labels
    for loss in (margin, ratio):
        assert torch.equal(loss(logits, labels) > 0, turned)
    assert torch.allclose(ratio(logits, labels), ratio(1000 * logits + 3, labels), atol=1e-5)
    assert bool((loss_of(logits, labels)[~turned] < 4).all())


def test_a_targeted_ratio_points_at_its_class():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0, -1.0]], requires_grad=True)
    loss = targeted_ratio(logits, torch.tensor([0]), torch.tensor([3]))
    assert float(loss.detach()) == pytest.approx(-3 / (3 - 0.5))
    (g,) = torch.autograd.grad(loss.sum(), logits)
    assert int(g.argmax()) == 3
