"""Square: the paper's schedule, what each kind of input becomes, and a search that asks for scores alone."""

from itertools import pairwise

import pytest
import torch

from muroan import BlackBox, Budget, Image, Series, Tabular
from muroan.batch import Batch
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.square import Square, share_at
from muroan.meter import Metered


def batch_of(n=40) -> Batch:
    found = planted().audited.load(range(n)).batch
    assert found is not None
    return found


def test_squares_shrink_as_in_the_paper():
    # The paper: p is halved after iterations 10, 50, 200, 500, 1,000, 2,000, 4,000, 6,000 and 8,000 of 10,000.
    halvings = [0.8 / share_at(q, 10_000, 0.8) for q in (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert halvings == [1, 1, 2, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert share_at(499, 500, 0.05) == pytest.approx(0.05 / 512)


def one_of_each(seen: dict) -> tuple[BlackBox, Batch]:
    """A model that never changes its mind but whose margin always shrinks, so that every proposal is kept."""
    modalities = {
        "picture": Image(size=(8, 12), channels=2, fill=(0.5,)),
        "series": Series(length=20, channels=("a", "b")),
        "row": Tabular(columns=tuple("abcdef")),
    }
    values = {"picture": torch.full((3, 2, 8, 12), 0.5), "series": torch.zeros(3, 20, 2), "row": torch.zeros(3, 6)}
    data = InMemory(values, targets=[0] * 3, modalities=modalities, classes=("a", "b"), ids=["x", "y", "z"])
    found = data.load(range(3)).batch
    assert found is not None

    def predict(inputs):
        seen.setdefault("asked", []).append({m: v.clone() for m, v in inputs.items()})
        return [[1000.0 - len(seen["asked"]), 0.0]] * len(inputs["row"])

    return BlackBox(predict, modalities=tuple(modalities), classes=("a", "b"), output="logits"), found


def test_each_kind_of_input_is_changed_in_its_own_blocks():
    seen: dict = {}
    model, batch = one_of_each(seen)
    budgets = {"picture": Budget(radius=0.1), "series": Budget(radius=1.0), "row": Budget(radius=2.0)}
    done = Square(queries=60, share=0.3).run(Metered(model, batch.modalities), batch, budgets)
    assert not done.success.any()
    asked = seen["asked"][1:]
    assert len(asked) == 60
    stripes = asked[0]["picture"] - 0.5
    assert torch.allclose(stripes.abs(), torch.tensor(0.1))
    assert bool((stripes == stripes[:, :, :1]).all()), "a column is not of one colour"
    assert bool((asked[0]["series"].abs() == 1).all())
    assert bool((asked[0]["row"].abs() == 2).all())
    corners = torch.zeros(8, 12, dtype=torch.bool)
    for before, after in pairwise(asked):
        moved = {m: (after[m] != before[m]).flatten(1).any(dim=1) for m in before}
        assert sum(bool(m.any()) for m in moved.values()) == 1, "a query changes one input"
        for where in (after["picture"] != before["picture"])[moved["picture"]].any(dim=1):
            y, x = where.nonzero().unbind(dim=1)
            side = round((0.3 * 8 * 12) ** 0.5)
            assert max(int(y.max() - y.min()), int(x.max() - x.min())) < side
            corners |= where
        for where in (after["series"] != before["series"])[moved["series"]].any(dim=2):
            at = where.nonzero().flatten()
            assert int(at.max() - at.min()) < round(0.3 * 20)
        for row in (after["row"] != before["row"])[moved["row"]]:
            assert int(row.sum()) <= 2
    assert bool(corners[-1].any()), "the last line was never reached"
    assert done.trace["queries"].tolist() == [60] * 3


def test_scores_are_enough_and_every_query_is_counted():
    inside, batch = PlantedModel(noise=4.0), batch_of()
    box = BlackBox(
        lambda x: inside.predict(x).numpy(), modalities=inside.modalities, classes=inside.classes, output="logits"
    )
    model = Metered(box, MODALITIES)
    budgets = {"image": Budget(radius=0.05), "table": Budget(radius=0.2)}
    done = Square(queries=40).run(model, batch, budgets)
    assert 0 < int(done.success.sum()) < len(batch)
    assert model.meter.passes == len(batch) + int(done.trace["queries"].sum())
    assert set(done.trace["queries"][~done.success].tolist()) == {40}
    assert int(done.trace["queries"][done.success].min()) < 40
    assert torch.equal(done.trace["margin_best"] > 0, done.success)
    assert bool((done.trace["margin_best"] >= done.trace["margin_first"]).all())


def test_more_queries_never_harm_and_beat_as_many_random_signs():
    model, batch = Metered(PlantedModel(noise=4.0), MODALITIES), batch_of(100)
    budgets = {"image": Budget(radius=0.05)}
    own = model.of(batch).argmax(dim=1)
    found = Square(queries=150).run(model, batch, budgets).success
    turned = torch.zeros(len(batch), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        signs = torch.randint(0, 2, batch.inputs["image"].shape, generator=generator) * 2 - 1
        moved = (batch.inputs["image"] + 0.05 * signs).clamp(0, 1)
        turned |= model.of(batch.with_inputs(image=moved)).argmax(dim=1) != own
    assert int(found.sum()) > int(turned.sum())


def test_what_a_sample_does_not_have_is_left_alone():
    model = Metered(PlantedModel(noise=4.0), MODALITIES)
    batch = batch_of(20).without("table")
    done = Square(queries=10).run(model, batch, {"table": Budget(radius=3.0), "image": Budget(radius=0.01)})
    assert torch.equal(done.batch.inputs["table"], batch.inputs["table"])


def test_other_balls_are_refused():
    with pytest.raises(AskedWrongly, match="L∞"):
        Square().run(Metered(PlantedModel(), MODALITIES), batch_of(4), {"image": Budget(radius=1.0, norm="2")})
    with pytest.raises(AskedWrongly, match="query"):
        Square(queries=0)
