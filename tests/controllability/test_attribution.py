"""Attributions: axioms with known answers, oracles, planted faults that must be found and twins that must not alarm."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from muroan import BlackBox, Image, Metered, Splits, Tabular, Text, TorchModel
from muroan.auditing.gate import Gate
from muroan.auditing.observe import observe_all
from muroan.clean import Clean
from muroan.controllability.explainability.attribution.contributions import ratio
from muroan.controllability.explainability.attribution.deletion import curves, random_orders, ranked, reversed_order
from muroan.controllability.explainability.attribution.findings import MODALITIES
from muroan.controllability.explainability.attribution.probe import AttributionProbe
from muroan.controllability.explainability.coalitions import kernel_shap, lime
from muroan.controllability.explainability.parts import (
    Parts,
    attribute,
    contexts,
    cut,
    probability,
    read_without,
)
from muroan.controllability.explainability.shapley import (
    Shapley,
    centred_logit,
    distinct,
    interaction_matrix,
    shapley_matrix,
    worths,
)
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly, NotApplicable
from muroan.finding import Verdict, judge
from muroan.model import Capability
from muroan.randomness import sample_keys
from muroan.registry import methods

WORDS = {"good": 1.0, "fine": 0.4, "the": 0.0, "poor": -0.7, "bad": -1.0, "very": 0.2}
CLASSES = ["no", "yes", "maybe"]
SIDE = 8


def picture_code(x):
    """Brightness of the picture's quadrants around grey, [N, 4]; neutral is 0."""
    return torch.nn.functional.avg_pool2d(x - 0.5, SIDE // 2).flatten(1) * 8


def text_code(texts):
    """[N, 2]: the sum of the words' values, and how many words there are; neutral is 0."""
    values = [[WORDS[w] for w in t.split()] for t in texts]
    return torch.tensor([[sum(v), len(v) / 4] for v in values], dtype=torch.float32)


def bed(n=40, seed=0, *, third=False):
    """Random pictures, sentences of 1 to 6 words and, if asked for, table rows."""
    rng = np.random.default_rng(seed)
    words = list(WORDS)
    inputs = {
        "image": torch.tensor(rng.random((n, 1, SIDE, SIDE)), dtype=torch.float32),
        "text": [" ".join(rng.choice(words, rng.integers(1, 7))) for _ in range(n)],
    }
    kinds = {"image": Image(size=(SIDE, SIDE), channels=1), "text": Text()}
    if third:
        inputs["table"] = torch.tensor(rng.normal(size=(n, 3)), dtype=torch.float32)
        kinds["table"] = Tabular(columns=("a", "b", "c"))
    data = InMemory(
        inputs, targets=rng.integers(0, 3, n), modalities=kinds, classes=CLASSES,
        groups={"half": np.where(np.arange(n) % 2 == 0, "even", "odd").tolist()},
    )  # fmt: skip
    return Splits(data)


def decider(fuse, seed=0, *, third=False, name="planted"):
    """A model whose logits are fuse(image contribution [N, 3], text contribution [N, 3], ...)."""
    g = torch.Generator().manual_seed(seed)
    image, text, table = (torch.randn(k, 3, generator=g) for k in (4, 2, 3))
    encoders = {"image": lambda x: picture_code(x) @ image, "text": lambda t: text_code(t) @ text}
    if third:
        encoders["table"] = lambda x: x @ table
    return TorchModel(
        encoders=encoders, fusion=lambda codes: fuse(*codes.values()), head=lambda z: z, classes=CLASSES, name=name
    )


def added(*codes):
    return sum(codes)


def multiplied(*codes):
    return math.prod(codes)


def mixed(*codes):
    return sum(codes) + 0.5 * math.prod(codes)


def first_only(image, *others):
    return image


def clean_of(model, splits, *, apart=True, index=None):
    data = splits.audited
    batch = data.load(range(len(data)) if index is None else index).batch
    return Clean.observe(Metered(model, data.schema.modalities, apart=apart), batch)


# Shapley values and interactions.


@pytest.mark.parametrize("players", [1, 2, 3, 5])
def test_shapley_values_are_the_mean_over_all_orders(players):
    worth = torch.randn(6, 2**players, dtype=torch.double, generator=torch.Generator().manual_seed(players))
    brute = torch.zeros(6, players, dtype=torch.double)
    for order in permutations(range(players)):
        held = 0
        for p in order:
            brute[:, p] += worth[:, held | 1 << p] - worth[:, held]
            held |= 1 << p
    torch.testing.assert_close(worth @ shapley_matrix(players).T, brute / math.factorial(players))


def test_interaction_index_of_a_product_of_three_and_of_a_pair():
    bits = torch.tensor([[b >> i & 1 for i in range(3)] for b in range(8)]).double()
    of_pair = interaction_matrix(3) @ (4 * bits[:, 0] * bits[:, 2])
    torch.testing.assert_close(of_pair, torch.tensor([0.0, 4.0, 0.0]).double())
    # A dividend of three counts half in each of its pairs: Σ_S weights 1/2 at S = {} and {third}, which has it.
    torch.testing.assert_close(interaction_matrix(3) @ bits.prod(dim=1), torch.full((3,), 0.5).double())
    additive = bits @ torch.tensor([1.0, -2.0, 3.0]).double()
    torch.testing.assert_close(interaction_matrix(3) @ additive, torch.zeros(3).double())


@pytest.mark.parametrize("third", [False, True])
def test_shapley_values_add_up_and_an_additive_model_has_no_interaction(third):
    splits = bed(third=third)
    for fuse, interacts in ((added, False), (mixed, True)):
        clean = clean_of(decider(fuse, third=third), splits)
        found = Shapley().explain(clean)
        game = worths(clean)
        torch.testing.assert_close(sum(found.modalities.values()), game.everything - game.nothing)
        torch.testing.assert_close(game.everything, centred_logit(clean.logits, clean.predicted))
        size = max(float(v.abs().max()) for v in game.pairs().values())
        assert (size > 0.1) == interacts
        assert (float(found.interaction.abs().max()) > 0.1) == interacts
        if not interacts:
            assert size < 1e-5
            assert float(found.interaction.abs().max()) < 1e-5


def test_a_product_of_codes_that_are_zero_when_missing_is_nothing_but_interaction():
    clean = clean_of(decider(multiplied), bed())
    game = worths(clean)
    assert all(float(v.abs().max()) < 1e-6 for v in game.alone().values())
    torch.testing.assert_close(game.interaction(), game.everything, atol=1e-6, rtol=0)
    halves = game.shapley()
    torch.testing.assert_close(halves["image"], halves["text"])


@pytest.mark.parametrize("third", [False, True])
def test_an_ignored_modality_gets_zero_and_another_model_another_explanation(third):
    splits = bed(third=third)
    clean = clean_of(decider(first_only, third=third), splits)
    whole, parts = Shapley().explain(clean).modalities, Parts().explain(clean).parts
    assert all(float(v.abs().max()) < 1e-12 for m, v in whole.items() if m != "image")
    assert all(float(v.abs().max()) < 1e-12 for m, (_, v) in parts.items() if m != "image")
    other = clean_of(decider(first_only, seed=9, third=third), splits)
    assert np.corrcoef(parts["image"][1].flatten(), Parts().explain(other).parts["image"][1].flatten())[0, 1] < 0.9


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_a_black_box_gets_the_same_explanation_from_logits_and_from_probabilities(output):
    splits, inner = bed(), decider(mixed)

    def predict(inputs):
        logits = inner.predict(inputs)
        return (logits if output == "logits" else logits.double().softmax(dim=1)).numpy()

    box = BlackBox(predict, modalities=["image", "text"], classes=CLASSES, output=output)
    known, seen = clean_of(inner, splits), clean_of(box, splits)
    for explainer in (Shapley(), Parts(cells=2, coalitions=16)):
        a, b = explainer.explain(known), explainer.explain(seen)
        for m in a.modalities:
            torch.testing.assert_close(a.modalities[m], b.modalities[m], atol=1e-4, rtol=0)
        for m in a.parts:
            torch.testing.assert_close(a.parts[m][1], b.parts[m][1], atol=1e-4, rtol=0)


def test_codes_and_whole_model_calls_agree_and_codes_cost_less():
    splits, model = bed(), decider(mixed)
    apart, whole = clean_of(model, splits), clean_of(model, splits, apart=False)
    for clean in (apart, whole):
        clean.model.meter.counts.clear()
    for explainer in (Shapley(), Parts(others="averaged", cells=2, coalitions=16)):
        a, b = explainer.explain(apart), explainer.explain(whole)
        for m in a.modalities:
            torch.testing.assert_close(a.modalities[m], b.modalities[m], atol=1e-5, rtol=0)
    # One neutral value a modality and explainer, at most 14 coalitions of four cells, at most 16 of the words.
    assert apart.model.meter.counts["encode image"] <= 2 + 40 * 14
    assert "predict" not in apart.model.meter.counts
    assert "encode image" not in whole.model.meter.counts


def test_a_model_that_handles_absence_itself_is_told_of_it():
    class Absent(TorchModel):
        """Says 5 for the first class whenever the picture is said to be absent."""

        def fuse(self, codes, present=None):
            fused = super().fuse(codes)
            assert present is not None
            return torch.where(present["image"][:, None], fused, torch.tensor([5.0, 0.0, 0.0]))

    plain = decider(added)
    model = Absent(
        encoders={m: plain._parts[f"encoder {m}"] for m in plain.modalities},
        fusion=lambda codes: sum(codes.values()), head=lambda z: z, classes=CLASSES,
    )  # fmt: skip
    model.capabilities |= {Capability.ABSENT}
    data = bed().audited
    batch = data.load(range(10)).batch
    here = {m: torch.ones(10, dtype=torch.bool) for m in plain.modalities}
    clean = Clean.observe(
        Metered(model, data.schema.modalities),
        type(batch)(**{**vars(batch), "present": here}),
    )
    told = centred_logit(torch.tensor([[5.0, 0.0, 0.0]]).expand(10, -1), clean.predicted)
    game = worths(clean)
    torch.testing.assert_close(game.nothing, told)
    torch.testing.assert_close(game.score[:, 2], told)  # text alone
    found = Parts(cells=2, coalitions=16).explain(clean)
    torch.testing.assert_close(found.modalities["image"], game.everything - told)


def test_too_many_modalities_are_refused_with_the_reason():
    names = [f"t{i}" for i in range(11)]
    model = TorchModel(
        encoders={m: lambda x: x for m in names}, fusion=lambda c: sum(c.values()), head=lambda z: z,
        classes=["a", "b"],
    )  # fmt: skip
    data = InMemory(
        {m: torch.zeros(2, 2) for m in names}, targets=[0, 1], classes=["a", "b"],
        modalities={m: Tabular(columns=("x", "y")) for m in names},
    )  # fmt: skip
    with pytest.raises(NotApplicable, match="11 modalities"):
        worths(clean_of(model, Splits(data)))
    assert "at most 10" in AttributionProbe().applies(model, data.schema)


# Parts.


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_kernel_shap_with_all_coalitions_is_the_shapley_value(parts):
    design = kernel_shap(parts, 2**parts - 2)
    worth = torch.randn(5, 2**parts, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    at = (design.masks * 2 ** torch.arange(parts)).sum(dim=1)
    found = design.attributions(worth[:, 0], worth[:, -1], worth[:, at])
    assert design.exact
    torch.testing.assert_close(found, worth @ shapley_matrix(parts).T)


@pytest.mark.parametrize(("parts", "coalitions"), [(1, 2), (16, 64), (16, 300), (40, 128)])
def test_kernel_shap_finds_additive_scores_exactly_and_always_adds_up(parts, coalitions):
    design = kernel_shap(parts, coalitions)
    true = torch.randn(parts, generator=torch.Generator().manual_seed(2)).double()
    nothing = torch.tensor([3.0]).double()
    scores = nothing + design.masks.double() @ true
    found = design.attributions(nothing, nothing + true.sum(), scores[None])[0]
    torch.testing.assert_close(found, true)
    noise = torch.randn(1, len(design.masks), generator=torch.Generator().manual_seed(3)).double()
    torch.testing.assert_close(design.attributions(nothing, nothing + 7, noise).sum(), torch.tensor(7.0).double())
    assert len(design.masks) <= coalitions


def test_coalitions_and_their_complements_get_pairwise_interactions_right_without_all_coalitions():
    """Around ½ a product of two parts is an even function plus half of it for each; pairs cancel what is even."""
    g = torch.Generator().manual_seed(5)
    quadratic, linear = torch.randn(16, 16, generator=g).double().triu(1), torch.randn(16, generator=g).double()
    design = kernel_shap(16, 100)
    assert not design.exact

    def score(masks):
        kept = masks.double()
        return (kept @ quadratic * kept).sum(dim=-1) + kept @ linear

    ends = score(torch.zeros(1, 16)), score(torch.ones(1, 16))
    found = design.attributions(*ends, score(design.masks)[None])[0]
    torch.testing.assert_close(found, linear + (quadratic + quadratic.T).sum(dim=1) / 2)


def test_too_few_coalitions_still_add_up():
    design = kernel_shap(16, 8)
    found = design.attributions(torch.zeros(1), torch.ones(1), torch.rand(1, 8).double())
    torch.testing.assert_close(found.sum(), torch.tensor(1.0).double())


def test_more_coalitions_come_closer_to_the_shapley_value():
    g = torch.Generator().manual_seed(0)
    quadratic = torch.randn(10, 10, generator=g).double()
    masks = torch.tensor([[b >> i & 1 for i in range(10)] for b in range(1024)]).double()
    worth = torch.tanh((masks @ quadratic * masks).sum(dim=1) / 4)
    true = shapley_matrix(10) @ worth
    errors = []
    for coalitions in (30, 120, 500, 1022):
        design = kernel_shap(10, coalitions)
        at = (design.masks * 2 ** torch.arange(10)).sum(dim=1)
        found = design.attributions(worth[:1], worth[-1:], worth[at][None])[0]
        errors.append(float((found - true).norm() / true.norm()))
    assert errors[0] > errors[2]
    assert errors[1] > errors[2]
    assert errors[3] < 1e-9


def test_lime_is_weighted_ridge_regression():
    from sklearn.linear_model import Ridge

    design = lime(6, 50)
    scores = torch.rand(51, generator=torch.Generator().manual_seed(4)).double()
    kept = np.vstack([np.ones(6), design.masks.numpy()])
    weight = np.exp(-(((1 - np.sqrt(kept.sum(axis=1) / 6)) / 0.25) ** 2))
    ridge = Ridge(alpha=1.0).fit(kept, scores.numpy(), sample_weight=weight)
    found = design.attributions(torch.zeros(1), scores[:1], scores[None, 1:])[0]
    np.testing.assert_allclose(found.numpy(), ridge.coef_, atol=1e-10)


def test_cells_get_the_exact_values_that_captum_computes():
    from captum.attr import ShapleyValues

    model, splits = decider(mixed), bed(6)
    clean = clean_of(model, splits)
    found = Parts(cells=2, coalitions=14).explain(clean)
    pictures, texts = clean.batch.inputs["image"], clean.batch.inputs["text"]
    cells = torch.arange(4).view(1, 1, 2, 2).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    for i in range(6):

        def score(x, i=i):
            logits = model.predict({"image": x, "text": [texts[i]] * len(x)})
            return centred_logit(logits, clean.predicted[i].expand(len(x)))

        theirs = ShapleyValues(score).attribute(pictures[i : i + 1], baselines=0.5, feature_mask=cells)
        ours = found.parts["image"][1][i].view(2, 2).float()
        torch.testing.assert_close(ours, theirs[0, 0, ::4, ::4].float(), atol=1e-4, rtol=1e-4)


def test_words_of_an_additive_model_get_their_own_values():
    clean = clean_of(decider(added), bed())
    g = torch.Generator().manual_seed(0)
    weight = [torch.randn(k, 3, generator=g) for k in (4, 2)][1]
    boxes, values = Parts().explain(clean).parts["text"]
    for i, text in enumerate(clean.batch.inputs["text"]):
        words = text.split()
        true = centred_logit(
            torch.tensor([[WORDS[w], 1 / 4] for w in words]) @ weight, clean.predicted[i].expand(len(words))
        )
        torch.testing.assert_close(values[i, : len(words)], true, atol=1e-4, rtol=0)
        assert boxes[i, : len(words), 0].tolist() == list(range(len(words)))
        assert float(values[i, len(words) :].abs().sum()) == 0


@pytest.mark.parametrize("third", [False, True])
def test_parts_add_up_to_what_their_context_says(third):
    clean = clean_of(decider(mixed, third=third), bed(third=third))
    game = worths(clean)
    expected = {"averaged": game.shapley(), "absent": game.alone(), "present": {}}
    for m in game.modalities:
        without = game.score[:, -1 - (1 << game.modalities.index(m))]
        expected["present"][m] = game.everything - without
    for others, whole in expected.items():
        found = Parts(others=others, cells=2, coalitions=20).explain(clean)
        for m, (_, values) in found.parts.items():
            torch.testing.assert_close(values.sum(dim=1), whole[m], atol=1e-5, rtol=0)
            torch.testing.assert_close(found.modalities[m], whole[m], atol=1e-5, rtol=0)


def test_owen_values_match_their_definition():
    """Owen 1977: first the modalities' order, then the parts' order inside, averaged over all such orders."""
    clean = clean_of(decider(mixed), bed(5))
    found = Parts(others="averaged", cells=2, coalitions=14).explain(clean)
    pieces = cut(clean, "image", 2)
    present, absent = (contexts(clean, "image", others) for others in ("present", "absent"))
    masks = torch.tensor([[b >> i & 1 for i in range(4)] for b in range(16)], dtype=torch.bool)
    for i in range(5):
        brute = torch.zeros(4).double()
        for seen in (present, absent):
            (score,) = read_without(clean, pieces, torch.full((16,), i), ~masks, seen, (centred_logit,))
            for order in permutations(range(4)):
                held = 0
                for p in order:
                    brute[p] += score[held | 1 << p] - score[held]
                    held |= 1 << p
        torch.testing.assert_close(found.parts["image"][1][i], brute / 48, atol=1e-5, rtol=0)


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"method": "guess"}, {"others": "some"}, {"cells": 0}, {"coalitions": 1}):
        with pytest.raises(AskedWrongly):
            Parts(**wrong)
    with pytest.raises(AskedWrongly, match="parts_share"):
        AttributionProbe(parts_share=2)
    with pytest.raises(AskedWrongly, match="steps"):
        AttributionProbe(steps=1)


def test_distinct_rows_survive_keys_that_do_not_fit_in_64_bits():
    g = torch.Generator().manual_seed(0)
    columns = [(torch.randint(0, 3, (200,), generator=g), 2**20 - 1) for _ in range(5)]
    first, inverse = distinct(columns)
    rows = torch.stack([c for c, _ in columns], dim=1)
    assert len(first) == len(torch.unique(rows, dim=0))
    assert bool((rows[first][inverse] == rows).all())


# Deletion.


def salient(seed=0):
    """Only the upper left cell of the picture and the word "good" count."""
    return TorchModel(
        encoders={
            "image": lambda x: 15 * (x[:, 0, :2, :2].mean(dim=(1, 2))[:, None] - 0.5) * torch.tensor([[-1.0, 1, 0]]),
            "text": lambda t: torch.tensor([[0.0, 0.5 * ("good" in s.split()), 0.0] for s in t]),
        },
        fusion=lambda codes: codes["image"] + codes["text"],
        head=lambda z: z,
        classes=CLASSES,
    )


def areas(clean, values_of):
    pieces = cut(clean, "image", 4)
    seen = contexts(clean, "image", "present")
    order = ranked(values_of(pieces, seen), pieces.real())
    chance = random_orders(sample_keys(clean.batch.ids, "orders"), 3, pieces.real())
    orders = torch.cat([order[:, None], reversed_order(order, pieces.count)[:, None], chance], dim=1)
    return curves(clean, pieces, orders, 16, seen)


def test_removing_the_salient_cell_first_beats_random_and_a_random_ranking_does_not():
    clean = clean_of(salient(), bed(200))
    bright = clean.batch.inputs["image"][:, 0, :2, :2].mean(dim=(1, 2)) > 0.55
    sure = clean.take(torch.nonzero(bright).squeeze(1).tolist())  # the cell speaks for the decision

    def explained(pieces, seen):
        return attribute(sure, pieces, lambda p: kernel_shap(p, 64), seen).values

    assert bool((sure.predicted == 1).all())

    def guessed(pieces, seen):
        return torch.rand(len(sure), pieces.most, generator=torch.Generator().manual_seed(0)).double()

    found = areas(sure, explained)
    area = found.area()
    assert float((area[:, 2:].mean(dim=1) - area[:, 0]).mean()) > 0.05
    assert bool((found.probability[:, 0, 1] < found.probability[:, 0, 0]).all())  # the first step is the cell
    assert float((area[:, 1] - area[:, 2:].mean(dim=1)).mean()) > 0.05
    blind = areas(sure, guessed).area()
    gain = (blind[:, 2:].mean(dim=1) - blind[:, 0]).numpy()
    assert abs(gain.mean()) < 3 * gain.std() / math.sqrt(len(gain))


def test_curves_start_at_the_sample_and_end_without_the_modality():
    clean = clean_of(decider(mixed), bed())
    for m in ("image", "text"):
        pieces, seen = cut(clean, m, 4), contexts(clean, m, "present")
        orders = random_orders(sample_keys(clean.batch.ids, "x"), 2, pieces.real())
        found = curves(clean, pieces, orders, 8, seen)
        own = probability(clean.logits, clean.predicted)
        torch.testing.assert_close(found.probability[:, :, 0], own[:, None].expand(-1, 2))
        torch.testing.assert_close(found.probability[:, 0, -1], found.probability[:, 1, -1])
        without = clean.model.of(clean.batch.without(m))
        torch.testing.assert_close(
            found.probability[:, 0, -1], probability(without, clean.predicted), atol=1e-6, rtol=0
        )
        lost = found.gone.sum(dim=-1)
        assert bool((lost[..., 1:] >= lost[..., :-1]).all())
        assert bool((lost[..., -1] == pieces.count[:, None]).all())


def test_ranking_puts_padding_last_even_behind_parts_that_speak_against():
    values = torch.tensor([[-2.0, 1.0, -1.0, 0.0]]).double()
    real = torch.tensor([[True, True, True, False]])
    assert ranked(values, real).tolist() == [[1, 2, 0, 3]]


def test_reversed_orders_keep_padding_last():
    order = torch.tensor([[2, 0, 1, 3], [1, 0, 2, 3]])
    assert reversed_order(order, torch.tensor([4, 2])).tolist() == [[3, 1, 0, 2], [0, 1, 2, 3]]


def test_area_under_a_straight_line_is_half():
    from muroan.controllability.explainability.attribution.deletion import Curves

    share = torch.tensor([[0.0, 0.25, 1.0]]).double()
    line = 1 - share[:, None]
    assert float(Curves(share, torch.zeros(0), line, line).area()) == pytest.approx(0.5)


# The probe.


def concluded(probe, model, splits, seed=0):
    evidence, quarantined = observe_all([probe], model, splits, seed=seed)
    assert not quarantined
    found = probe.conclude(evidence[probe.name]).findings
    return judge(Gate().apply(found, {f"{probe.name}/{m.name}": m for m in probe.metrics}))


SMALL = AttributionProbe(parts_share=0.3, cells=2, coalitions=14, steps=4)


@pytest.mark.parametrize("third", [False, True])
def test_a_model_that_ignores_a_modality_alarms(third):
    found = concluded(SMALL, decider(lambda image, *rest: image + 0.001 * rest[0], third=third), bed(80, third=third))
    headline = found[0]
    assert headline.metric == "least_used"
    assert headline.verdict is Verdict.FAIL
    assert headline.estimate.value < 0.01
    assert next(f for f in found if f.metric == "mass" and f.modality == "image").estimate.value > 0.9


def test_a_model_that_looks_at_nothing_alarms_and_has_no_explanation():
    found = concluded(SMALL, decider(lambda image, text: 0 * image + torch.tensor([[0.0, 1.0, 2.0]])), bed(40))
    assert found[0].verdict is Verdict.FAIL
    assert not [f for f in found if f.metric == "deletion"]


def test_the_clean_twin_does_not_alarm():
    alarms = 0
    for seed in range(20):
        found = concluded(SMALL, decider(mixed, seed=seed), bed(80, seed=seed), seed=seed)
        assert {f.metric for f in found if f.limit} - {"outvotes"} == {"least_used", "deletion"}
        alarms += any(f.verdict is Verdict.FAIL for f in found)
    assert alarms <= 1


def votes(weights, truths, n=400, seed=0):
    """Tables that each tell one of three classes, right with the probability `truths`, weighed and added up."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    names = [f"t{i}" for i in range(len(truths))]
    told = [np.where(rng.random(n) < r, y, (y + rng.integers(1, 3, n)) % 3) for r in truths]
    data = InMemory(
        {m: torch.eye(3)[torch.from_numpy(t)] for m, t in zip(names, told, strict=True)}, targets=y, classes=CLASSES,
        modalities={m: Tabular(columns=("x", "y", "z")) for m in names},
    )  # fmt: skip
    model = TorchModel(
        encoders={m: lambda x, w=w: w * x for m, w in zip(names, weights, strict=True)},
        fusion=lambda codes: sum(codes.values()), head=lambda z: z, classes=CLASSES,
    )  # fmt: skip
    return model, Splits(data), told, y


def test_an_input_that_outvotes_the_others_alarms_unless_it_knows_better_than_they_do():
    for weights, truths, verdict in (
        ((5.0, 1.0, 1.0, 0.9), (0.7, 0.8, 0.8, 0.8), Verdict.FAIL),  # outvotes, and knows less
        ((5.0, 1.0, 1.0, 0.9), (0.98, 0.6, 0.6, 0.6), None),  # outvotes, and knows more
        ((1.1, 1.0, 1.0, 0.9), (0.7, 0.8, 0.8, 0.8), Verdict.PASS),  # one voice among others
    ):
        model, splits, told, _ = votes(weights, truths)
        found = next(f for f in concluded(SMALL, model, splits) if f.metric == "outvotes")
        whole = model.predict(splits.audited.load(range(400)).batch.inputs).argmax(dim=1).numpy()
        rest = sum(w * np.eye(3)[t] for w, t in zip(weights[1:], told[1:], strict=True)).argmax(axis=1)
        apart = told[0] != rest
        assert found.estimate.value == pytest.approx((whole == told[0])[apart].mean())
        assert found.estimate.n == apart.sum()
        assert (found.estimate.value == 1.0) == (weights[0] == 5.0)
        assert (found.verdict if found.judged else None) is verdict


def test_inputs_that_never_disagree_outvote_nobody():
    model, splits, *_ = votes((5.0, 1.0), (1.0, 1.0))
    assert not [f for f in concluded(SMALL, model, splits) if f.metric == "outvotes"]


def test_additive_and_product_models_are_told_apart():
    additive = concluded(SMALL, decider(added), bed(60))
    product = concluded(SMALL, decider(multiplied), bed(60))
    of = {name: next(f for f in found if f.metric == "interaction").estimate
          for name, found in (("additive", additive), ("product", product))}  # fmt: skip
    assert of["additive"].high < 1e-5
    assert of["product"].low > 0.999
    straight = next(f for f in additive if f.metric == "fidelity" and f.modality == "text").estimate
    assert straight.value > 0.999


def test_agreement_counts_pairs_where_one_removal_changes_the_decision():
    probe = AttributionProbe(parts_share=0)
    evidence, _ = observe_all([probe], decider(lambda i, t: 5 * i + 0.3 * t), bed(100))
    found = {f.metric: f for f in probe.conclude(evidence[probe.name]).findings if f.judged}
    rows = evidence[probe.name].of(condition=MODALITIES)
    one = rows.filter(pl.col("changes.image") != pl.col("changes.text"))
    right = (one["shapley.image"].abs() > one["shapley.text"].abs()) == one["changes.image"]
    assert found["agreement"].estimate.n == len(one)
    assert found["agreement"].estimate.value == pytest.approx(right.mean())
    assert found["agreement"].estimate.value > 0.8


def test_one_row_a_sample_and_condition_whatever_the_batch():
    splits, model = bed(50), decider(mixed)
    whole, _ = observe_all([SMALL], model, splits)
    pieces, _ = observe_all([SMALL], model, splits, shard=7)
    slow, _ = observe_all([SMALL], model, splits, apart=False)
    rows = whole[SMALL.name].rows
    assert rows.group_by("sample", "condition").len()["len"].to_list() == [1] * 150
    assert whole[SMALL.name].conditions() == ["modalities", "parts of image", "parts of text"]
    assert 0 < rows["chosen"].sum() < 150
    assert rows.filter(pl.col("condition") != MODALITIES).filter(~pl.col("chosen"))["deletion"].null_count() > 0
    # A single part leaves nothing between "all" and "none", where sums are right by construction.
    text = whole[SMALL.name].of(condition="parts of text")
    assert text.filter(pl.col("parts") == 1)["spread"].to_list() == [0.0] * len(text.filter(pl.col("parts") == 1)) != []
    assert text.filter(pl.col("parts") > 1)["spread"].min() > 0
    for other in (pieces, slow):
        assert_frame_equal(rows, other[SMALL.name].rows, abs_tol=1e-5)


def test_rows_do_not_depend_on_the_order_of_samples():
    splits, model = bed(30), decider(mixed)
    back = Splits(splits.audited.subset(list(range(30))[::-1]))
    a, b = (observe_all([SMALL], model, s)[0][SMALL.name].rows for s in (splits, back))
    assert_frame_equal(a, b, abs_tol=1e-5)


def test_a_shard_without_chosen_samples_has_the_same_columns():
    probe = AttributionProbe(parts_share=0)
    evidence, _ = observe_all([probe], decider(mixed), bed(30))
    full, _ = observe_all([SMALL], decider(mixed), bed(30))
    assert set(evidence[probe.name].rows.columns) <= set(full[SMALL.name].rows.columns) | {
        f"{o}.{j}" for o in ("ranked", "reversed", "random") for j in range(9)
    }
    assert any("none was chosen" in note for note in probe.conclude(evidence[probe.name]).notes)


def test_exhibits_weigh_cells_and_words():
    clean = clean_of(decider(mixed), bed(40))
    shown = AttributionProbe(parts_share=1.0).observe(clean).shown
    assert len(shown) == 2
    for exhibit in shown:
        picture, text = (panel for panel, _ in exhibit.panels)
        assert len(picture.boxes) == len(picture.weights) == 16
        assert len(text.weights) == len(text.text.split())
        assert max(map(abs, picture.weights)) == pytest.approx(1.0)
        assert exhibit.sample in clean.batch.ids


def test_ratio_has_the_coverage_it_claims():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        whole = rng.exponential(size=60)
        hits += 0.3 in Span(ratio(whole * rng.beta(3, 7, size=60), whole, None))
    assert hits / 400 > 0.92


class Span:
    """`value in Span(estimate)`."""

    def __init__(self, estimate):
        self.low, self.high = estimate.low, estimate.high

    def __contains__(self, value):
        return self.low <= value <= self.high


def test_methods_are_found_by_name():
    assert {"shapley", "parts"} <= set(methods("explainers"))
    assert "controllability.attribution" in methods("probes")
