"""Soups: what a greedy one takes in, that it never gets worse where it selects, that it goes on where it stopped."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from muroan import Tabular, TorchModel
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.mitigation import state
from muroan.mitigations.fine_tuning import Bench
from muroan.mitigations.soups import GreedySoup, UniformSoup, greedy
from muroan.mitigations.weight_space import average
from muroan.training import Trainer


def at(*numbers):
    return {"w": torch.tensor(numbers)}


def near(s):
    """The nearer to (1, 1), the better."""
    return 1 - float((s["w"] - 1).abs().sum())


def test_a_greedy_soup_takes_what_helps_and_nothing_that_changes_nothing():
    states = [at(0.0, 1.0), at(1.9, 1.0), at(1.0, -9.0), at(0.95, 1.0)]
    done = greedy(states, [near(s) for s in states], near)
    assert done.kept == (3,)  # the mean with (1.9, 1) or (0, 1) is further away
    pair = [at(0.4, 1.0), at(1.5, 1.0), at(9.0, 9.0)]
    done = greedy(pair, [near(s) for s in pair], near)
    assert done.kept == (1, 0)
    assert done.course == pytest.approx((0.5, 0.95))
    assert set(done.tried) == {2}
    same = [at(0.5, 1.0)] * 3
    assert greedy(same, [near(s) for s in same], near).kept == (0,)  # strictly better, or left out


def world(n=240):
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (n,), generator=g)
    x = nn.functional.one_hot(y, 3).float() * 2 + torch.randn(n, 3, generator=g)
    kinds = {"x": Tabular(columns=("a", "b", "c"))}

    def part(rows, name):
        return InMemory(
            {"x": x[rows]},
            targets=y[rows],
            modalities=kinds,
            classes=("0", "1", "2"),
            ids=[f"{name} {i}" for i in range(len(x[rows]))],
            clusters=[f"{name} {i // 2}" for i in range(len(x[rows]))],
            name=name,
        )

    return Splits(part(slice(0, 40), "audited"), members=part(slice(40, None), "members"))


def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Dropout(0.2))
    head = nn.Linear(12, 3)
    return TorchModel(encoders={"x": body}, fusion=lambda c: c["x"], head=head, classes=("0", "1", "2"))


def test_a_soup_of_one_is_that_fine_tuning_bit_for_bit():
    base, data = model(), world()
    uniform, pot = copy.deepcopy(base), copy.deepcopy(base)
    one = UniformSoup(runs=1, rate=0.01).apply(uniform, data, Trainer(), seed=0)
    GreedySoup(runs=1, rate=0.01, given=False).apply(pot, data, Trainer(), seed=0)
    assert any(not torch.equal(t, base.trainable().state_dict()[n]) for n, t in one.tensors.items())
    assert all(torch.equal(t, pot.trainable().state_dict()[n]) for n, t in one.tensors.items())
    assert one.facts["accuracy"] == one.facts["runs"][0]["accuracy"]


def test_the_greedy_soup_is_at_least_its_best_run_where_it_selects_and_a_second_start_trains_nothing(tmp_path):
    base, data = model(), world()
    steps = []

    class Counted(Trainer):
        def named(self, name):
            return Counted(progress=self.progress, folder=self.folder, name=f"{self.name}-{name}")

        def fit(self, modules, loss, *rest, **more):
            def counted(batch):
                steps.append(self.name)
                return loss(batch)

            return super().fit(modules, counted, *rest, **more)

    soup = GreedySoup(runs=3, rate=0.01, epochs=4)
    m = copy.deepcopy(base)
    done = soup.apply(m, data, Counted(folder=tmp_path), seed=1)
    assert set(steps) == {f"training-soup-{k}" for k in range(3)}
    course, runs = done.facts["course"], [r["accuracy"] for r in done.facts["runs"]]
    assert all(b > a for a, b in pairwise(course))
    assert course[0] >= max(runs)
    again = Bench.of(copy.deepcopy(base), data.members, soup.select, 1)
    assert again.judged(done.tensors, blended=False) == done.facts["accuracy"] == course[-1]
    steps.clear()
    uniform = UniformSoup(runs=3, rate=0.01, epochs=4).apply(
        copy.deepcopy(base), data, Counted(folder=tmp_path), seed=1
    )
    assert steps == []  # the same ingredients, finished
    assert [r["accuracy"] for r in uniform.facts["runs"]] == runs


def test_the_uniform_soup_is_the_mean_of_its_runs():
    base, data = model(), world()
    runs, soup = [], UniformSoup(runs=3, rate=0.01, epochs=2)

    class Kept(UniformSoup):
        def stir(self, bench, before, states, scores):
            runs.extend(states)
            return super().stir(bench, before, states, scores)

    done = Kept(runs=3, rate=0.01, epochs=2).apply(copy.deepcopy(base), data, Trainer(), seed=2)
    mean = average(runs)
    assert all(torch.equal(done.tensors[n], mean[n]) for n in mean)
    recipes = soup.recipes(2)
    assert (recipes[0].rate, recipes[0].erased, recipes[0].decay) == (0.01, 0.0, 0.0)
    assert len({r.seed for r in recipes}) == len({r.rate for r in recipes}) == 3
    assert all(0.01 / 3 <= r.rate <= 0.03 and 0 <= r.erased <= 0.2 for r in recipes)


def test_the_part_that_selects_is_held_out_by_cluster_from_every_run():
    data, seen = world(), set()

    class Watched(Trainer):
        def named(self, name):
            return Watched(name=f"{self.name}-{name}")

        def fit(self, modules, loss, fit_on, *rest, **more):
            seen.update(fit_on.clusters())
            return super().fit(modules, loss, fit_on, *rest, **more)

    GreedySoup(runs=2, epochs=1).apply(model(), data, Watched(), seed=3)
    select = set(Bench.of(model(), data.members, 0.2, 3).select.clusters())
    assert select
    assert not select & seen
    assert select | seen == set(data.members.clusters())


def test_a_model_that_every_run_spoils_stays_as_it_was():
    base, data = model(), world()
    good = copy.deepcopy(base)
    UniformSoup(runs=1, rate=0.02, epochs=30).apply(good, data, Trainer(), seed=0)
    was = state(good.trainable())

    class Spoiling(GreedySoup):
        def stir(self, bench, before, states, scores):
            spoilt = [{n: torch.zeros_like(t) for n, t in s.items()} for s in states]
            return super().stir(bench, before, spoilt, [bench.judged(s, blended=False) for s in spoilt])

    done = Spoiling(runs=2, epochs=1).apply(good, data, Trainer(), seed=0)
    assert done.facts["kept"] == ["the model before training"]
    assert all(torch.equal(t, was[n]) for n, t in done.tensors.items())


def test_what_makes_no_soup_is_refused():
    for wrong in ({"runs": 0}, {"spread": 0.5}, {"select": 0.0}, {"erased": 1.0}):
        with pytest.raises(AskedWrongly, match="soup"):
            GreedySoup(**wrong)
    few = Splits(world().audited, members=world().members.subset(range(4)))
    with pytest.raises(AskedWrongly, match="too few members"):
        UniformSoup().apply(model(), few, Trainer())
