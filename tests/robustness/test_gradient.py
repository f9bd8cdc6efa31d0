"""Gradient attacks: exact optima of linear models, budgets, health checks that unmask masked gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan import Budget, Capability, Image, Tabular, Text, TorchModel, Verdict
from muroan.checks import PlantedModel, planted
from muroan.checks.alarms import findings
from muroan.checks.bed import MODALITIES
from muroan.data.memory import InMemory
from muroan.interventions.attacks.candidates import candidates, replaced, swapped
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.slopes import mean_vectors, slopes_of
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.meter import Metered
from muroan.robustness.adversarial.gradient.probe import Gradient

D = 6


def linear(weights: torch.Tensor, name: str = "linear") -> TorchModel:
    """Log-odds of "yes" = w · x."""
    return TorchModel(
        encoders={"table": lambda x: x},
        fusion=lambda codes: codes["table"],
        head=lambda x: torch.stack([-(x @ weights) / 2, (x @ weights) / 2], dim=1),
        classes=["no", "yes"],
        name=name,
    )


def rows(n: int, seed: int = 0) -> InMemory:
    rng = np.random.default_rng(seed)
    modality = Tabular(columns=tuple(f"c{i}" for i in range(D)))
    x = rng.normal(0, 1, (n, D)).astype(np.float32)
    return InMemory({"table": x}, targets=[0] * n, modalities={"table": modality}, classes=["no", "yes"])


def metered(model, data) -> Metered:
    return Metered(model, data.schema.modalities)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_a_linear_gradient_keeps_what_it_promises_and_a_shattered_one_does_not(norm):
    w = torch.tensor([3.0, -2.0, 0.5, 1.0, -1.0, 2.0])
    data = rows(40)
    batch = data.load(range(40)).batch
    budgets = {"table": Budget(radius=0.3, norm=norm)}
    trace = PGD(steps=3).run(metered(linear(w), data), batch, budgets).trace
    assert (trace["promised"] > 0.1).all()
    assert torch.allclose(trace["kept"], trace["promised"], atol=1e-4)
    shattered = TorchModel(
        encoders={"table": lambda x: x + 0.002 * torch.sin(5000 * x)},
        fusion=lambda codes: codes["table"],
        head=lambda x: torch.stack([-(x @ w) / 2, (x @ w) / 2], dim=1),
        classes=["no", "yes"],
    )
    trace = PGD(steps=3).run(metered(shattered, data), batch, budgets).trace
    assert ((trace["kept"] < 0.1 * trace["promised"]).double().mean()) > 0.6


@pytest.mark.parametrize(("norm", "dual"), [("inf", 1), ("2", 2)])
def test_a_linear_model_is_moved_exactly_as_far_as_the_dual_norm_says(norm, dual):
    w = torch.tensor([3.0, -2.0, 0.5, 1.0, -1.0, 2.0])
    data = rows(40)
    batch = data.load(range(40)).batch
    model = metered(linear(w), data)
    # Far from the border nothing flips, so the attack runs to its end.
    far = batch.with_inputs(table=batch.inputs["table"] + 10 * w / w.norm())
    done = PGD(steps=20, restarts=1).run(model, far, {"table": Budget(radius=0.3, norm=norm)})
    assert not done.success.any()
    moved = loss_of(done.logits, torch.ones(40, dtype=torch.long)) - loss_of(
        model.of(far), torch.ones(40, dtype=torch.long)
    )
    assert torch.allclose(moved, torch.full((40,), 0.3 * w.norm(p=dual).item()).double(), atol=1e-3)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_success_is_exactly_where_the_margin_is_within_reach(norm):
    w = torch.tensor([3.0, -2.0, 0.5, 1.0, -1.0, 2.0])
    data = rows(300)
    batch = data.load(range(300)).batch
    radius = 0.2
    done = PGD(steps=20, restarts=1).run(metered(linear(w), data), batch, {"table": Budget(radius=radius, norm=norm)})
    margin = (batch.inputs["table"] @ w).abs()
    reach = radius * w.norm(p=1 if norm == "inf" else 2)
    clear = (margin - reach).abs() > 0.02 * reach
    assert torch.equal(done.success[clear], (margin < reach)[clear])


@settings(max_examples=25, deadline=None)
@given(radius=st.floats(0.001, 0.5), norm=st.sampled_from(["inf", "2"]), restarts=st.integers(1, 3))
def test_budgets_and_ranges_hold_for_any_radius(radius, norm, restarts):
    batch = planted().audited.load(range(8)).batch
    budget = Budget(radius=radius, norm=norm)
    model = Metered(PlantedModel(), MODALITIES)
    done = PGD(steps=4, restarts=restarts).run(model, batch, {"image": budget, "table": budget})
    for m in ("image", "table"):
        assert MODALITIES[m].distance(done.batch.inputs[m], batch.inputs[m], budget.p).max() <= radius + 1e-5
    assert done.batch.inputs["image"].min() >= 0
    assert done.batch.inputs["image"].max() <= 1


def test_more_steps_and_more_starts_are_never_worse():
    batch = planted().audited.load(range(60)).batch
    budgets = {"image": Budget(radius=0.04)}
    model = Metered(PlantedModel(sharp=6.0), MODALITIES)
    labels = model.of(batch).argmax(dim=1)

    def loss(attack: PGD) -> float:
        return float(loss_of(attack.run(model, batch, budgets).logits, labels).mean())

    one = PGD(steps=10, restarts=1).run(model, batch, budgets)
    three = PGD(steps=10, restarts=3).run(model, batch, budgets)
    assert int(three.success.sum()) >= int(one.success.sum())
    assert loss(PGD(steps=1, restarts=1, step=1.0)) <= loss(PGD(steps=10, restarts=1)) + 1e-6


def test_it_beats_random_signs_of_equal_size():
    splits = planted()
    batch = splits.audited.load(range(80)).batch
    model = Metered(PlantedModel(sharp=3.0), MODALITIES)
    labels = model.of(batch).argmax(dim=1)
    budgets = {"image": Budget(radius=0.09)}
    attacked = PGD().run(model, batch, budgets)
    noise = MODALITIES["image"].random_change(batch.inputs["image"], float("inf"), 0.09, np.arange(80, dtype=np.uint64))
    fooled = model.of(batch.with_inputs(image=noise)).argmax(dim=1) != labels
    assert int(attacked.success.sum()) > int(fooled.sum()) + 20


def test_an_input_that_a_sample_does_not_have_is_left_alone():
    batch = planted().audited.load(range(20)).batch
    here = torch.arange(20) % 2 == 0
    batch = replace(batch, present={"image": here})
    done = PGD(steps=5, restarts=2).run(Metered(PlantedModel(), MODALITIES), batch, {"image": Budget(radius=0.1)})
    moved = MODALITIES["image"].distance(done.batch.inputs["image"], batch.inputs["image"], float("inf")) > 0
    assert moved[here].all()
    assert not moved[~here].any()


def test_without_gradients_it_is_not_applicable_and_says_so():
    from muroan import BlackBox
    from muroan.errors import NotApplicable

    data = rows(4)
    box = BlackBox(lambda x: np.full((len(x["table"]), 2), 0.5), modalities=["table"], classes=["no", "yes"])
    with pytest.raises(NotApplicable, match="needs gradients"):
        PGD().run(metered(box, data), data.load(range(4)).batch, {"table": Budget(radius=0.1)})
    assert Capability.GRADIENTS in Gradient.needs


# Words


def test_words_change_only_to_the_lexicon_or_by_a_slip():
    text = Text(lexicon=(("shape", ("figure", "object")),))
    found = candidates("is there a red shape?", text)
    assert [(c.word, c.by) for c in found] == [
        (1, "tehre"),
        (4, "figure?"),
        (4, "object?"),
        (4, "sahpe?"),
    ]
    assert replaced("is there a red shape?", found[1]) == "is there a red figure?"
    assert swapped("red") is None
    assert swapped("aaaa") is None


def test_the_most_harmful_word_is_found():
    batch = planted().audited.load(range(40)).batch
    model = Metered(PlantedModel(), MODALITIES)
    done = WordSubstitution().run(model, batch, {"text": Budget(words=1)})
    assert float(done.success.float().mean()) > 0.3
    for old, new, success in zip(batch.inputs["text"], done.batch.inputs["text"], done.success, strict=True):
        changed = [(a, b) for a, b in zip(old.split(), new.split(), strict=True) if a != b]
        assert len(changed) <= 1
        if bool(success):
            assert changed[0][0] in ("warm", "cold")


def test_first_order_ranking_agrees_with_the_real_change_where_it_is_small():
    batch = planted().audited.load(range(12)).batch
    model = Metered(PlantedModel(), MODALITIES)
    codes, index = model.codes(batch)
    labels = model.logits(codes, index).argmax(dim=1)
    hits = 0
    for i in range(12):
        text = batch.inputs["text"][i]
        found = candidates(text, MODALITIES["text"])
        own = {m: c.take(index[m][[i]]) for m, c in codes.items()}
        others = {m: c for m, c in own.items() if m != "text"}
        slopes = slopes_of(model, "text", [text], others, labels[i].view(1))
        vectors = mean_vectors(model.model.embed("text", [c.by for c in found]))
        promise = slopes.promise(0, torch.tensor([c.word for c in found]), vectors)
        texts = [replaced(text, c) for c in found]
        rows_ = {m: torch.zeros(len(found), dtype=torch.long) for m in own} | {"text": torch.arange(len(found))}
        real = loss_of(model.logits(own | {"text": model.encode("text", texts)}, rows_), labels[i].expand(len(found)))
        hits += int(promise.argmax() == real.argmax())
    assert hits >= 10


def test_ranked_candidates_are_tried_first():
    batch = planted().audited.load(range(40)).batch
    model = Metered(PlantedModel(), MODALITIES)
    budgets = {"text": Budget(words=1)}
    full = WordSubstitution(tries=64).run(model, batch, budgets).success
    few = WordSubstitution(tries=2).run(model, batch, budgets).success
    assert int(few.sum()) >= 0.9 * int(full.sum())


# The probe


def by_metric(found, metric: str):
    return next(f for f in found if f.metric == metric and f.group is None and f.modality is None)


def test_together_is_never_weaker_than_alone():
    found = findings(Gradient(limit=80, radii=(("image", 0.05), ("table", 0.2))), PlantedModel(), planted())
    joint = by_metric(found, "success").estimate.value
    alone = [f.estimate.value for f in found if f.metric == "success" and f.modality]
    assert len(alone) == 3 + 3  # each of three inputs, and each pair of them
    assert joint >= max(alone)
    assert by_metric(found, "interaction").estimate.value >= 0


def test_a_model_that_is_easy_to_fool_alarms_and_a_stubborn_one_does_not():
    probe = Gradient(radii=(("image", 0.1),))
    assert by_metric(findings(probe, PlantedModel(), planted()), "success").verdict is Verdict.FAIL
    stubborn = PlantedModel(sharp=40.0, noise=0.0)
    for seed in range(5):
        found = findings(Gradient(words=0, radii=(("image", 0.01),)), stubborn, planted(seed=seed), seed=seed)
        assert by_metric(found, "success").verdict is Verdict.PASS
        assert not [f.key for f in found if f.verdict is Verdict.FAIL]


class Rounding(PlantedModel):
    """Rounds pictures to whole levels before it reads them: no gradient passes, and the model looks robust."""

    name = "rounding"

    def encode(self, modality, values):
        if modality == "image":
            values = torch.where(values > 0.5, 0.75, 0.25) + 0.0 * values
        return super().encode(modality, values)


def test_masked_gradients_are_reported_and_not_taken_for_robustness():
    found = findings(Gradient(words=0, radii=(("image", 0.1),)), Rounding(noise=0.0), planted())
    success = by_metric(found, "success")
    assert success.estimate.value < 0.1, "the gradient is masked, so the attack fails"
    assert success.verdict is Verdict.MEASURED
    assert "Health check failed" in success.note
    assert by_metric(found, "zero_gradients").verdict is Verdict.FAIL
    assert by_metric(found, "unbounded_success").verdict is Verdict.FAIL


def test_a_saturated_model_is_attacked_all_the_same():
    """Probabilities that round to 1 stop cross-entropy's gradient; the loss used here has one."""
    sure = PlantedModel(sharp=400.0, noise=100.0)
    found = findings(Gradient(words=0, radii=(("image", 0.3),)), sure, planted())
    assert by_metric(found, "success").estimate.value > 0.9


def test_a_model_that_is_never_right_has_nothing_to_attack():
    splits = planted()
    wrong = replace(
        splits,
        audited=InMemory(
            splits.audited._inputs,
            targets=[1 - t for t in splits.audited._targets],
            modalities=splits.audited.schema.modalities,
            classes=splits.audited.schema.classes,
            ids=splits.audited.ids,
        ),
    )
    found = findings(Gradient(limit=40), PlantedModel(sharp=40, noise=0), wrong)
    assert "nothing to attack" in found[0].reason


def test_kinds_without_a_known_scale_are_left_alone_and_named():
    splits = planted()
    table_only = rows(20)
    assert "no modality can be attacked" in (Gradient().applies(linear(torch.ones(D)), table_only.schema) or "")
    assert "no modality of the data" in (
        Gradient(radii=(("tabel", 0.1),)).applies(PlantedModel(), splits.audited.schema) or ""
    )
    assert Gradient(radii=(("table", 0.1),)).applies(linear(torch.ones(D)), table_only.schema) is None


def test_only_pictures_in_range_come_out_of_the_shown_exhibits():
    from muroan.clean import Clean

    batch = planted().audited.load(range(40)).batch
    clean = Clean.observe(Metered(PlantedModel(), MODALITIES), batch)
    shown = Gradient(radii=(("image", 0.1),)).observe(clean).shown
    assert 0 < len(shown) <= 2
    for panel, value in shown[0].panels:
        if panel.kind == "image":
            Image(size=(16, 16)).check(value)


def test_what_is_missing_stays_missing_under_attack():
    """A model that answers by what is present must not seem fooled because the attack forgot to tell it."""

    class Present(TorchModel):
        def fuse(self, codes, present=None):
            here = present["b"].float() if present and "b" in present else torch.ones(len(codes["a"]))
            return torch.stack([1.5 - 3 * here + 0 * codes["a"][:, 0], codes["b"][:, 0]], dim=1)

    model = Present(
        encoders={m: (lambda x: x) for m in "ab"},
        fusion=None,
        head=lambda z: torch.stack([z[:, 0], -z[:, 0]], dim=1),
        classes=["gone", "here"],
    )
    model.capabilities |= {Capability.ABSENT}
    x = np.zeros((6, 2), dtype=np.float32)
    data = InMemory(
        {"a": x, "b": [*x[:3], None, None, None]},
        targets=[1, 1, 1, 0, 0, 0],
        modalities={m: Tabular(columns=("c", "d")) for m in "ab"},
        classes=model.classes,
    )
    batch = data.load(range(6)).batch
    run = metered(model, data)
    assert run.of(batch).argmax(dim=1).tolist() == [1, 1, 1, 0, 0, 0]
    done = PGD(steps=3, restarts=2).run(run, batch, {"a": Budget(radius=0.1)})
    assert not done.success.any()
