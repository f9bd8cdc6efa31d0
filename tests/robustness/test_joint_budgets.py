"""Budgets for several inputs at once: linear models whose answer is known in every cell, and one weak only together."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from muroan import Budget, Image, Tabular, TorchModel
from muroan.auditing.observe import observe_all
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.finding import Conclusion, Finding
from muroan.interventions.attacks.controls import changed_at_random
from muroan.interventions.attacks.joint import Joint
from muroan.meter import Metered
from muroan.registry import organism
from muroan.report.charts import draw
from muroan.robustness.adversarial.gradient.cells import Cells, named
from muroan.robustness.adversarial.gradient.grid import (
    Grid,
    contains,
    draws,
    explore,
    next_below,
    random_controls,
    shares_of,
)
from muroan.robustness.adversarial.gradient.probe import Gradient

RADIUS = {"a": 0.4, "b": 0.2}
WEIGHTS = {"a": torch.tensor([1.0, -1.0]), "b": torch.tensor([2.0, 1.0])}
REACH = {m: RADIUS[m] * float(w.abs().sum()) for m, w in WEIGHTS.items()}
"""How far the full budget of an input moves the score: 0.8 and 0.6."""
CELLS = Gradient(radii=tuple(RADIUS.items()))
N = 200


def added(inputs: tuple[str, ...] = ("a", "b")) -> TorchModel:
    """The score of "yes" is the sum of what the inputs say."""
    return TorchModel(
        encoders={m: (lambda x, w=WEIGHTS[m]: (x @ w)[:, None]) for m in inputs},
        fusion=lambda c: torch.cat(list(c.values()), dim=1),
        head=lambda z: torch.stack([-z.sum(dim=1), z.sum(dim=1)], dim=1),
        classes=["no", "yes"],
    )


def multiplied() -> TorchModel:
    """Says "yes" by a margin of 1, from which the product of both inputs goes off: up to 1.28 by both, 0.3 by one."""
    return TorchModel(
        encoders={m: lambda x: x.sum(dim=1, keepdim=True) for m in "ab"},
        fusion=lambda c: torch.cat([c["a"], c["b"]], dim=1),
        head=lambda z: torch.stack([4 * z[:, 0] * z[:, 1], torch.ones(len(z))], dim=1),
        classes=["no", "yes"],
    )


@cache
def world(scale: float = 1.0) -> InMemory:
    """Samples whose margin under `added` is spread evenly over (0, 2) times `scale`; group "near" below 1."""
    rng = np.random.default_rng(0)
    margin = scale * (np.arange(N) + 0.5) / N * 2
    rng.shuffle(margin)
    b = rng.normal(0, 0.05, (N, 2))
    rest = margin - b @ WEIGHTS["b"].numpy()
    return InMemory(
        {"a": np.stack([rest / 2, -rest / 2], axis=1).astype(np.float32), "b": b.astype(np.float32)},
        targets=[1] * N,
        modalities={m: Tabular(columns=("x", "y")) for m in "ab"},
        classes=["no", "yes"],
        groups={"side": ["near" if m < 1 else "far" for m in margin]},
    )


def margins(data: InMemory) -> np.ndarray:
    return sum(data._inputs[m] @ w.numpy() for m, w in WEIGHTS.items())


def concluded(probe: Gradient, model: TorchModel | PlantedModel, splits: Splits) -> tuple[Cells, Conclusion]:
    evidence = observe_all([probe], model, splits)[0][probe.name]
    return Cells.of(evidence), probe.conclude(evidence)


@cache
def summed() -> tuple[Cells, Conclusion]:
    return concluded(CELLS, added(), Splits(world()))


def only(found: Conclusion, metric: str, **where: str) -> Finding:
    keys = ("modality", "group", "condition")
    (one,) = [f for f in found.findings if f.metric == metric and all(getattr(f, k) == where.get(k) for k in keys)]
    return one


# The grid


def test_two_inputs_have_every_combination_and_words_go_one_by_one():
    grid = Grid({"image": Budget(radius=1.0), "text": Budget(words=2)}, shares_of(2))
    assert grid.levels("image") == (0, 0.25, 0.5, 1)
    assert grid.levels("text") == (0, 0.5, 1)
    cells = grid.cells()
    assert len(cells) == 4 * 3 - 1
    assert all(not contains(a, b) for k, a in enumerate(cells) for b in cells[k + 1 :]), "small before large"
    assert grid.budgets((0.25, 0.5)) == {"image": Budget(radius=0.25), "text": Budget(words=1)}
    assert named(grid.names, (0.25, 1.0)) == "image 0.25 + text"


def test_with_four_inputs_there_are_axes_and_a_diagonal():
    grid = Grid({m: Budget(radius=1.0) for m in "abc"} | {"d": Budget(words=1)}, shares_of(4))
    assert set(grid.cells()) == {
        *((s, 0.0, 0.0, 0.0) for s in (0.5, 1.0)),
        *((0.0, s, 0.0, 0.0) for s in (0.5, 1.0)),
        *((0.0, 0.0, s, 0.0) for s in (0.5, 1.0)),
        (0.0, 0.0, 0.0, 1.0),
        (0.5, 0.5, 0.5, 0.0),
        (1.0, 1.0, 1.0, 1.0),
    }
    assert len(grid.supports()) == 5


def test_below_are_the_largest_cells_inside():
    cells = [(0.5, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0)]
    assert set(next_below((1.0, 1.0), cells)) == {(1.0, 0.0), (0.5, 1.0)}


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (1.0, 0.5)])
def test_shares_that_do_not_rise_to_1_are_refused(shares):
    with pytest.raises(AskedWrongly, match="shares rise"):
        Gradient(shares=shares)


# What is known of a sum


def test_every_cell_is_broken_exactly_where_the_margin_is_within_its_reach():
    cells, _ = summed()
    far = margins(world())[np.argsort(np.array(world().ids))]  # rows are sorted by sample
    assert len(cells.conditions) == 15
    for cell in cells.conditions:
        reach = cell[0] * REACH["a"] + cell[1] * REACH["b"]
        clear = np.abs(far - reach) > 0.03
        assert (cells.success(cell) == (far < reach))[clear].all(), cell


def test_success_never_falls_as_a_budget_grows():
    probe = Gradient(limit=60, radii=(("image", 0.05), ("table", 0.3)))
    cells, _ = concluded(probe, PlantedModel(), planted())
    assert len(cells.conditions) == 3 * 3 * 2 - 1
    for a in cells.conditions:
        for b in cells.conditions:
            if contains(a, b):
                assert (cells.success(a) >= cells.success(b)).all(), (a, b)


def test_smallest_budgets_and_medians_are_those_of_the_margins():
    cells, found = summed()
    far = margins(world())[np.argsort(np.array(world().ids))]
    for along, reach in ((cells.axis("a"), REACH["a"]), (cells.diagonal(), sum(REACH.values()))):
        exact = np.select([far < s * reach for s in (0.25, 0.5, 1)], [0.25, 0.5, 1], np.inf)
        clear = np.min([np.abs(far - s * reach) for s in (0.25, 0.5, 1)], axis=0) > 0.03
        assert (cells.smallest(along) == exact)[clear].all()
    # Margins are even over (0, 2): half of them are within 1.4 = all of both, none of the others.
    both = only(found, "half_budget")
    assert (both.estimate.value, both.estimate.low, both.estimate.high) == (1, 1, 1)
    alone = only(found, "half_budget", modality="a")
    assert (alone.estimate.value, alone.estimate.high) == (1, np.inf)
    assert "Half is not reached" in alone.note


def test_the_frontier_is_what_no_smaller_cell_does():
    # Margins over (0, 0.96): half are within 0.48; 0.25 a + 0.5 b reach 0.5, 0.5 a + 0.25 b 0.55, b 0.6, a 0.8.
    cells, found = concluded(CELLS, added(), Splits(world(0.48)))
    assert set(cells.frontier()) == {(1.0, 0.0), (0.0, 1.0), (0.25, 0.5), (0.5, 0.25)}
    first = only(found, "success", condition="a 0.25 + b 0.5")
    assert first.title == "Cheapest to break: a 0.1 + b 0.1"
    assert first.note.startswith("A step less: b 0.1: 3")  # 0.3 of 0.96
    assert only(found, "half_budget").estimate.value == 0.5


def test_two_inputs_that_add_up_share_what_lies_beyond_each():
    _, found = summed()
    exact = {"together_only": (1.4 - 0.8) / 2, "beyond_sum": 0.0, "interaction": (1.4 - 0.8) / 2}
    for metric, share in exact.items():
        estimate = only(found, metric).estimate
        assert estimate.value == pytest.approx(share, abs=0.02)
        assert estimate.low <= share <= estimate.high


def test_a_product_falls_only_to_both():
    cells, found = concluded(CELLS, multiplied(), Splits(world(0.01)))
    assert cells.rates[cells.full].value == 1
    for metric in ("together_only", "beyond_sum", "interaction"):
        assert only(found, metric).estimate.value == 1


def test_where_the_sum_passes_1_joint_success_can_only_fall_short():
    _, found = concluded(CELLS, added(), Splits(world(0.3)))
    estimate = only(found, "beyond_sum").estimate
    assert estimate.value == estimate.high == 0
    assert estimate.low < 0


def test_groups_have_their_success_and_their_gap():
    _, found = summed()
    assert only(found, "success", group="side=near").estimate.value == 1
    assert only(found, "success", group="side=far").estimate.value == pytest.approx(0.4, abs=0.03)
    gap = only(found, "group_gap", group="side")
    assert gap.estimate.value == pytest.approx(0.6, abs=0.03)
    assert gap.note.startswith("Most: near; least: far.")
    assert not gap.judged


def test_the_grid_is_drawn_with_what_was_found():
    cells, found = summed()
    (matrix,) = [c for c in found.charts if c.kind == "matrix"]
    assert matrix.rows == ["a unchanged", "a 0.1", "a 0.2", "a 0.4"]
    assert matrix.columns == ["b unchanged", "b 0.05", "b 0.1", "b 0.2"]
    assert matrix.values[2][3] == cells.rates[0.5, 1.0].value
    assert str(N) in matrix.title
    (lines,) = [c for c in found.charts if c.kind == "line"]
    assert [line.label for line in lines.lines] == ["a", "b", "joint"]
    assert lines.lines[0].y[1:] == [cells.rates[s, 0.0].value for s in (0.25, 0.5, 1.0)]
    assert all(draw(chart) for chart in found.charts)


def test_one_input_has_no_combinations():
    cells, found = concluded(Gradient(radii=(("a", 0.4),)), added(), Splits(world()))
    assert list(cells.conditions) == [(0.25,), (0.5,), (1.0,)]
    assert {f.metric for f in found.findings}.isdisjoint({"together_only", "beyond_sum", "interaction"})
    assert not [c for c in found.charts if c.kind == "matrix"]


# What it costs


def table(share: float = 1.0, **shape: float) -> Grid:
    full = {m: Budget(radius=r * share) for m, r in (shape or RADIUS).items()}
    return Grid(full, (0.25, 0.5, 1.0))


def test_what_gave_way_is_not_attacked_again():
    batch = world(0.01).load(range(50)).batch
    backward = []
    for shares in ((0.25, 1.0), (0.25, 0.5, 1.0)):
        model = Metered(added(), batch.modalities)
        done = explore(model, batch, Grid({"a": Budget(radius=0.4)}, shares), Joint(), seed=0)
        assert done[0.25,].success.all()
        backward.append(model.meter.counts["backward"])
    assert backward[0] == backward[1] <= 50 * 2


@pytest.mark.parametrize("attack", [Joint(), Joint(steps=4, restarts=3), Joint(ascent="fgsm"), Joint(ascent="mim")])
def test_random_changes_are_drawn_as_often_as_a_sample_that_resists_is_attacked(attack):
    batch = world(100.0).load(range(20)).batch
    stays = (torch.from_numpy(margins(world(100.0)))[:20] > 2).nonzero().flatten()
    batch = batch.take(stays)
    model = Metered(added(), batch.modalities)
    grid = table()
    explore(model, batch, grid, attack, seed=0)
    passes = sum(draws(grid, attack, s) for s in grid.supports())
    assert model.meter.counts["forward for gradients"] == passes * len(batch)
    before = model.meter.passes
    random_controls(model, batch, grid, attack, seed=0, purpose="test")
    assert model.meter.passes - before == pytest.approx((passes + 4) * len(batch))


def test_random_changes_are_nested_too():
    batch = planted().audited.load(range(80)).batch
    model = Metered(PlantedModel(sharp=2.0), MODALITIES)
    grid = Grid({"image": Budget(radius=0.15), "text": Budget(words=1)}, (1.0,))
    found = random_controls(model, batch, grid, Joint(), seed=0, purpose="test")
    both = found["image", "text"].success
    assert int(both.sum()) > 0
    for m in ("image", "text"):
        assert (both >= found[m,].success).all()


def test_random_signs_are_fair_and_a_samples_own():
    keys = np.arange(500, dtype=np.uint64)
    x = torch.full((500, 3, 5), 0.5)
    moved = changed_at_random(Image(size=(3, 5)), x, Budget(radius=0.1), keys)
    signs = (moved - x) / 0.1
    assert torch.allclose(signs.abs(), torch.ones_like(x), atol=1e-5)
    assert signs.mean(dim=0).abs().max() < 0.2  # 4.5 standard errors
    pairs = signs.flatten(1).T @ signs.flatten(1) / 500
    assert (pairs - torch.eye(15)).abs().max() < 0.2
    assert torch.equal(changed_at_random(Image(size=(3, 5)), x[7:8], Budget(radius=0.1), keys[7:8])[0], moved[7])
    edge = changed_at_random(Image(size=(3, 5)), 0 * x, Budget(radius=0.1), keys)
    assert edge.min() == 0
    assert edge.max() <= 0.1 + 1e-6


# The joint attack by itself


def test_a_word_that_does_nothing_alone_opens_the_way():
    model, splits = organism("robustness.weak-together").world(9.0, 0)
    batch = splits.audited.load(range(80)).batch
    budgets = {"scan": Budget(radius=8 / 255), "note": Budget(words=1)}
    share = {}
    for name, attack in {o: Joint(steps=8, order=o) for o in ("words first", "words last", "both")}.items():
        metered = Metered(model, batch.modalities)
        done = attack.run(metered, batch, budgets)
        share[name] = float(done.success.double().mean())
        flipped = metered.of(done.batch).argmax(dim=1) != metered.of(batch).argmax(dim=1)
        assert torch.equal(flipped, done.success)
    assert share["words last"] < 0.1
    assert share["words first"] > 0.5
    assert share["both"] >= max(share.values()) - 1e-9
    for alone in ({"scan": budgets["scan"]}, {"note": budgets["note"]}):
        some = Joint(steps=8).run(Metered(model, batch.modalities), batch, alone)
        assert float(some.success.double().mean()) < 0.1


@pytest.mark.parametrize("ascent", ["pgd", "apgd", "mim", "fgsm"])
def test_every_ascent_breaks_the_sum_where_it_is_within_reach(ascent):
    batch = world().load(range(N)).batch
    budgets = {m: Budget(radius=r) for m, r in RADIUS.items()}
    done = Joint(ascent=ascent).run(Metered(added(), batch.modalities), batch, budgets)
    far, reach = torch.from_numpy(margins(world())), sum(REACH.values())
    clear = (far - reach).abs() > 0.03
    assert torch.equal(done.success[clear], (far < reach)[clear])


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(AskedWrongly, match="moved by pgd"):
        Gradient(attack="dgp")
    with pytest.raises(AskedWrongly, match="order is both"):
        Gradient(joint="neither")
    with pytest.raises(AskedWrongly, match="at least one step"):
        Gradient(steps=-1)
    assert Gradient(attack="fgsm", steps=9).together().climb().steps == 1
    assert Gradient(attack="apgd", steps=9).together().climb().steps == 9
