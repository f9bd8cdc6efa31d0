"""The decoupling attack: golden numbers, a planted case, and a slow sequential reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decoupling_worlds import (
    CUE,
    firm_model,
    planted_batch,
    planted_modalities,
    planted_model,
    slowly,
    small_batch,
    small_model,
)
from torch import Tensor

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.clean import Clean
from muroan.errors import AskedWrongly, NotApplicable
from muroan.estimate import proportion
from muroan.interventions.attacks.decoupling import Decoupling, split
from muroan.interventions.attacks.matched import best_of, place
from muroan.interventions.attacks.removal import Removal, lengths, share
from muroan.interventions.attacks.subsets import Found, schedule
from muroan.meter import Metered
from muroan.modality import Audio, Image, Modality, Series, Text
from muroan.model import BlackBox, Model, TorchModel
from muroan.randomness import sample_keys

ALL = {"image": 1.0, "text": 1.0}


def look(model: Model, batch: Batch, *, apart: bool = True) -> Removal:
    return Removal(Clean.observe(Metered(model, batch.modalities, apart=apart), batch))


def search(attack: Decoupling, removal: Removal, shares: dict[str, float]) -> Found:
    everyone = torch.ones(len(removal.clean), dtype=torch.bool)
    return attack.find(removal, attack.parts(removal, everyone, tuple(shares)), shares)


def listed(boxes: Tensor) -> list[tuple[int, ...]]:
    return [tuple(b) for b in boxes[lengths(boxes) > 0].tolist()]


# Golden numbers


@pytest.mark.parametrize(
    ("region", "words", "percent"),
    [
        (7, 4, 0.09764846552411319),
        (7, 3, 0.09765041152673429),
        (28, 9, 1.5622197867888812),
        (112, 16, 24.99203060248645),
    ],
)
def test_share_of_a_region(region: int, words: int, percent: float) -> None:
    batch = replace(planted_batch(), inputs={"image": torch.ones(1, 1, 224, 224), "text": [" w" * words]})
    removal = look(planted_model(), batch)
    removed = removal.count("image", torch.tensor([0]), torch.tensor([[[7, 7, region, region]]]))
    assert 100 * share(removed, removal.total).item() == pytest.approx(percent, rel=1e-15)


def test_share_of_one_word_of_five() -> None:
    batch = replace(planted_batch(), inputs={"image": torch.ones(1, 1, 224, 224), "text": ["a b c d e"]})
    removal = look(planted_model(), batch)
    assert 100 * share(torch.tensor([1]), removal.total).item() == pytest.approx(0.001992786114266356, rel=1e-15)


def test_share_counts_the_union_once() -> None:
    removal = look(planted_model(), planted_batch())
    boxes = torch.tensor([[[0, 0, 10, 10], [5, 0, 10, 10], [0, 0, 4, 4], [0, 0, 0, 0]]])
    assert removal.count("image", torch.tensor([0]), boxes).item() == 150


@pytest.mark.parametrize("test", ["label", "margin", "argmax", "cosine"])
def test_the_planted_case_in_twenty_probes(test: str) -> None:
    model = Metered(planted_model(), planted_modalities())
    clean = Clean.observe(model, planted_batch())
    removal, attack = Removal(clean), Decoupling(test=test)
    before = dict(model.meter.counts)
    parts = attack.parts(removal, torch.tensor([True]), ("image", "text"))
    asked = {k: n - before.get(k, 0) for k, n in model.meter.counts.items()}
    assert asked["encode image"] == 16
    assert asked["encode text"] == 4
    image, text = parts["image"], parts["text"]
    by_area = image.box[image.decouples][torch.argsort(image.points[image.decouples])]
    assert by_area.tolist() == [[112, 56, 28, 28], [112, 56, 56, 56], [112, 0, 112, 112]]
    assert text.box[text.decouples].tolist() == [[1, 1]]
    assert len(image.sample) + len(text.sample) == 20
    found = attack.find(removal, parts, ALL)
    assert found.probes.item() == 20
    assert found.success.item()
    assert {m: listed(b[0]) for m, b in found.boxes.items()} == {"image": [], "text": [(1, 1)]}


def test_the_planted_block_alone_is_found_and_shrunk_to_the_half_that_matters() -> None:
    removal = look(planted_model(), planted_batch())
    plain = search(Decoupling(shrink=False), removal, {"image": 1.0})
    assert listed(plain.boxes["image"][0]) == [(112, 56, 28, 28)]
    shrunk = search(Decoupling(), removal, {"image": 1.0})
    assert shrunk.removed["image"].item() == 28 * 14  # its mean is then 0.5, no longer above


def test_depth_and_levels_of_a_picture_of_224() -> None:
    """Where every part decouples, all five levels are probed: at most 1,364 regions."""
    model = TorchModel(
        encoders={"image": lambda x: (x.flatten(1).mean(dim=1, dtype=torch.float64) < 1).float()},
        fusion=lambda c: torch.stack([1 - c["image"], c["image"]], dim=1),
        head=lambda z: z,
        classes=["whole", "touched"],
    )
    batch = Batch(
        {"image": Image(size=(224, 224), channels=1, fill=(0.0,))},
        {"image": torch.ones(1, 1, 224, 224)},
        torch.tensor([0]),
        ["x"],
    )
    parts = Decoupling(test="label").parts(look(model, batch), torch.tensor([True]), ("image",))["image"]
    assert len(parts.sample) == 4 + 16 + 64 + 256 + 1024
    assert sorted(set(parts.box[:, 2].tolist()), reverse=True) == [112, 56, 28, 14, 7]


def test_a_random_region_flips_the_planted_case_as_often_as_counted() -> None:
    """481 of the 197² places of a 28×28 region cover at least half of the block."""
    rows, columns = np.meshgrid(np.arange(197), np.arange(197), indexing="ij")

    def overlap(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.clip(28 - abs(y - 112), 0, None) * np.clip(28 - abs(x - 56), 0, None)

    assert (overlap(rows, columns) >= 392).sum() == 481
    n = 200_000
    keys = sample_keys([str(i) for i in range(n)], "placement")
    boxes = torch.tensor([[[0, 0, 28, 28]]]).expand(n, 1, 4)
    at = place(boxes, torch.tensor([[224, 224]]).expand(n, 2), keys, pointwise=False)[:, 0].numpy()
    hits = overlap(at[:, 0], at[:, 1]) >= 392
    estimate = proportion(hits)
    assert estimate.low <= 481 / 38809 <= estimate.high
    # The same through the model, on fewer draws.
    few = np.concatenate([np.flatnonzero(hits)[:20], np.flatnonzero(~hits)[:20]])
    removal = look(planted_model(), planted_batch())
    sample = torch.zeros(len(few), dtype=torch.long)
    asked = removal.ask(sample, {"image": torch.from_numpy(at[few])[:, None]})
    assert (asked == 0).tolist() == hits[few].tolist()


# Against the slow reference


THREE = {"image": 1.0, "text": 0.5, "table": 0.7}


def agrees(model: Model, batch: Batch, attack: Decoupling) -> Found:
    found = search(attack, look(model, batch), THREE)
    for i in range(len(batch)):
        slow = slowly(model, batch, i, attack, THREE)
        fast = {m: sorted(listed(b[i])) for m, b in found.boxes.items() if listed(b[i])}
        assert bool(found.success[i]) == slow.success
        assert fast == {m: sorted(b) for m, b in slow.boxes.items()}
        assert (int(found.probes[i]), int(found.tries[i]), int(found.calls[i])) == (
            slow.probes,
            slow.tries,
            slow.calls,
        )
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    test=st.sampled_from(["label", "margin", "argmax", "cosine"]),
    order=st.sampled_from(["subset", "cumulative"]),
    most=st.sampled_from([0.1, 0.4, 1.0]),
    max_tries=st.sampled_from([3, 20, 70, 200]),
    shrink=st.booleans(),
)
def test_equals_the_sequential_search(
    seed: int, test: str, order: str, most: float, max_tries: int, shrink: bool
) -> None:
    attack = Decoupling(test=test, search=order, share=most, max_tries=max_tries, shrink=shrink)
    agrees(small_model(seed), small_batch(seed, 5, pictures=2), attack)


@pytest.mark.parametrize("order", ["subset", "cumulative"])
def test_equals_the_sequential_search_where_sets_matter(order: str) -> None:
    """A decision that falls only to several parts, of several inputs; some candidates lie inside others."""
    sizes, inputs = [], []
    for seed in range(8):
        for threshold, max_tries in ((0.9, 300), (0.97, 150)):
            attack = Decoupling(search=order, threshold=threshold, max_tries=max_tries, shrink=seed % 2 == 0)
            found = agrees(firm_model(seed), small_batch(seed, 4, pictures=2), attack)
            chosen = [{m: len(listed(b[i])) for m, b in found.boxes.items()} for i in range(4)]
            sizes += [sum(c.values()) for c in chosen]
            inputs += [sum(n > 0 for n in c.values()) for c in chosen]
    assert sum(s >= 3 for s in sizes) >= 3
    assert max(inputs) >= 2


# Promises of an attack


SHARES = {m: Budget(share=s) for m, s in THREE.items()}


def same(a: Found, b: Found, rows: list[int]) -> None:
    for name in ("success", "probes", "tries", "calls", "candidates"):
        assert getattr(a, name)[rows].tolist() == getattr(b, name).tolist(), name
    for m in a.boxes:
        assert [listed(x) for x in a.boxes[m][rows]] == [listed(x) for x in b.boxes[m]]
        assert [listed(x) for x in a.spent[m][rows]] == [listed(x) for x in b.spent[m]]


@pytest.mark.parametrize("seed", range(4))
def test_alone_in_a_batch_and_in_another_order_alike(seed: int) -> None:
    model, batch, attack = small_model(seed), small_batch(seed, 7, pictures=3), Decoupling(share=0.4)
    whole = search(attack, look(model, batch), THREE)
    for rows in ([0], [6], [4, 1], [6, 5, 4, 3, 2, 1, 0], [2, 3]):
        same(whole, search(attack, look(model, batch.take(rows)), THREE), rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("test", ["label", "margin"])
def test_through_fuse_and_whole_model_calls_alike(seed: int, test: str) -> None:
    model, batch, attack = firm_model(seed), small_batch(seed, 6, pictures=2), Decoupling(test=test, threshold=0.9)
    apart, whole = look(model, batch), look(model, batch, apart=False)
    same(search(attack, apart, THREE), search(attack, whole, THREE), list(range(6)))
    assert apart.untouched().tolist() == whole.untouched().tolist() == apart.clean.logits.tolist()


def test_a_black_box_gives_what_its_model_gives() -> None:
    model, batch = small_model(3), small_batch(3, 6, pictures=2)
    box = BlackBox(
        lambda inputs: model.predict(inputs).numpy(),
        modalities=model.modalities,
        classes=model.classes,
        output="logits",
    )
    attack = Decoupling(share=0.4)
    same(search(attack, look(model, batch), THREE), search(attack, look(box, batch), THREE), list(range(6)))
    labels = BlackBox(
        lambda inputs: model.predict(inputs).argmax(dim=1).numpy(),
        modalities=model.modalities,
        classes=model.classes,
        output="labels",
    )
    by_label = search(Decoupling(share=0.4, test="label"), look(labels, batch), THREE)
    assert by_label.success.any()
    with pytest.raises(NotApplicable, match="taken apart"):
        search(Decoupling(test="argmax"), look(labels, batch), THREE)


@pytest.mark.parametrize("seed", range(3))
def test_each_picture_and_region_is_encoded_once(seed: int) -> None:
    batch = small_batch(seed, 12, pictures=2)
    model = Metered(small_model(seed), batch.modalities)
    removal, attack = Removal(Clean.observe(model, batch)), Decoupling()
    model.meter.counts.clear()
    everyone = torch.ones(len(batch), dtype=torch.bool)
    parts = attack.parts(removal, everyone, ("image", "text", "table"))
    picture = batch.keys["image"][parts["image"].sample]
    distinct = {(int(p), *b) for p, b in zip(picture, parts["image"].box.tolist(), strict=True)}
    assert model.meter.counts["encode image"] == len(distinct) < len(parts["image"].sample)
    assert model.meter.passes == sum(len(p.sample) for p in parts.values())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), a=st.floats(0, 1), b=st.floats(0, 1), most=st.sampled_from([0.2, 1.0]))
def test_stays_in_budget_and_success_does_not_fall_with_it(seed: int, a: float, b: float, most: float) -> None:
    model, batch = Metered(firm_model(seed), small_batch(seed, 4, 2).modalities), small_batch(seed, 4, 2)
    attack = Decoupling(threshold=0.9, share=most, max_tries=60)
    low, high = sorted([a, b])
    results = []
    for s in (low, high):
        out = attack.run(model, batch, {"image": Budget(share=s), "text": Budget(share=s)})
        removal = Removal(Clean.observe(model, batch))
        gone = {m: out.trace.get(f"removed.{m}", torch.zeros(4)) for m in ("image", "text")}
        for m, n in gone.items():
            assert (n <= s * removal.points[m] + 1e-6).all()
        assert (sum(gone.values()) <= most * removal.total + 1e-6).all()
        assert out.batch.inputs["table"].equal(batch.inputs["table"])
        results.append(out.success)
    assert (results[0] <= results[1]).all()


def test_what_it_returns_is_what_the_model_says_to_it() -> None:
    batch = small_batch(5, 8, pictures=3)
    model = Metered(small_model(5), batch.modalities)
    before = {m: list(v) if isinstance(v, list) else v.clone() for m, v in batch.inputs.items()}
    out = Decoupling().run(model, batch, SHARES)
    again = model.of(out.batch)
    assert again.allclose(out.logits)
    assert ((again.argmax(1) != model.of(batch).argmax(1)) == out.success).all()
    assert out.success.any()
    for m, v in before.items():
        assert v == batch.inputs[m] if isinstance(v, list) else v.equal(batch.inputs[m])


def test_a_zero_budget_changes_nothing_and_asks_nothing() -> None:
    batch = small_batch(5, 8, pictures=3)
    model = Metered(small_model(5), batch.modalities)
    for budgets in ({}, {"image": Budget(share=0.0)}, {"image": Budget(radius=0.1)}):
        out = Decoupling().run(model, batch, budgets)
        assert not out.success.any()
        assert out.trace["calls"].sum() == 0
        assert all(out.batch.inputs[m] is batch.inputs[m] for m in batch.inputs)
    tiny = Decoupling().run(model, batch, {"image": Budget(share=1e-6), "text": Budget(share=0.1)})
    assert not tiny.success.any()


def test_a_missing_input_is_not_attacked_and_has_no_points() -> None:
    batch = small_batch(2, 6, pictures=2)
    removal = look(small_model(2), batch)
    assert removal.points["table"].tolist() == [3, 3, 3, 3, 3, 0]
    found = search(Decoupling(), removal, {"table": 1.0})
    assert found.probes[-1] == 0
    assert not found.success[-1]
    assert found.tries[-1] == found.calls[-1] == 0


# Grids


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), finest=st.integers(1, 9), overlap=st.booleans())
def test_halves_stay_inside_and_cover_their_box(h: int, w: int, finest: int, overlap: bool) -> None:
    box = torch.tensor([[5, 11, h, w]])
    parent, children = split(box, torch.tensor([finest]), overlap=overlap)
    assert parent.unique().tolist() == [0]
    counts = torch.zeros(5 + h + 3, 11 + w + 3, dtype=torch.long)
    for y, x, a, b in children.tolist():
        assert a >= 1
        assert b >= 1
        counts[y : y + a, x : x + b] += 1
    inside = counts[5 : 5 + h, 11 : 11 + w]
    assert inside.sum() == counts.sum()
    assert (inside >= 1).all()
    assert overlap or (inside == 1).all()


def test_the_order_of_quadrants_is_that_of_the_release() -> None:
    _, children = split(torch.tensor([[0, 0, 224, 224]]), torch.tensor([8]))
    assert children.tolist() == [[0, 0, 112, 112], [112, 0, 112, 112], [0, 112, 112, 112], [112, 112, 112, 112]]


def test_sound_series_and_two_pictures_of_odd_sizes() -> None:
    """A decision that needs one frame, one step and one region, each found among the others."""
    modalities: dict[str, Modality] = {
        "sound": Audio(rate=100, length=995, frame=10),
        "curve": Series(channels=("u", "v"), length=37, fill=(0.0, 0.0)),
        "wide": Image(size=(5, 33), channels=1, fill=(0.0,)),
        "tall": Image(size=(50, 3), channels=1, fill=(0.0,)),
    }
    model = TorchModel(
        encoders={
            "sound": lambda x: (x[:, 420:430].sum(1) > 0.5).float(),
            "curve": lambda x: (x[:, 19].sum(1) > 0.5).float(),
            "wide": lambda x: (x[:, 0, 4, 30] > 0.5).float(),
            "tall": lambda x: (x[:, 0, 49, 0] > 0.5).float(),
        },
        fusion=lambda c: torch.stack([torch.full_like(c["wide"], 0.5), torch.stack(list(c.values())).amin(0)], dim=1),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    batch = Batch(
        modalities,
        {
            "sound": torch.ones(2, 995),
            "curve": torch.ones(2, 37, 2),
            "wide": torch.ones(2, 1, 5, 33),
            "tall": torch.ones(2, 1, 50, 3),
        },
        torch.tensor([1, 1]),
        ["a", "b"],
    )
    removal = look(model, batch)
    point = {"sound": (42, 1), "curve": (19, 1), "wide": (4, 30, 1, 1), "tall": (49, 0, 1, 1)}
    for m, box in point.items():
        found = search(Decoupling(test="label"), removal, {m: 1.0})
        assert [listed(b) for b in found.boxes[m]] == [[box], [box]], m
        assert found.removed[m].tolist() == [1, 1]


def test_overlapping_boxes_find_what_straddles_a_border() -> None:
    """A block in the very middle lies in no quadrant; only half of it hidden leaves the decision."""
    modalities: dict[str, Modality] = {"image": Image(size=(64, 64), channels=1, fill=(0.0,))}

    def centre(x: Tensor) -> Tensor:
        return (x[:, 0, 26:38, 26:38].mean(dim=(1, 2)) > 0.3).float()

    model = TorchModel(
        encoders={"image": centre},
        fusion=lambda c: torch.stack([1 - c["image"], c["image"]], dim=1),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    batch = Batch(modalities, {"image": torch.ones(1, 1, 64, 64)}, torch.tensor([1]), ["x"])
    removal = look(model, batch)
    assert not search(Decoupling(test="label"), removal, {"image": 1.0}).success.any()
    found = search(Decoupling(test="label", overlap=True), removal, {"image": 1.0})
    assert found.success.all()
    assert found.removed["image"].item() <= 192


def test_one_class_and_ties_do_not_break_it() -> None:
    model = TorchModel(
        encoders={"image": lambda x: x.flatten(1).sum(1) * 0},
        fusion=lambda c: c["image"][:, None],
        head=lambda z: z.expand(-1, 2),
        classes=["a", "b"],
    )
    batch = Batch(
        {"image": Image(size=(8, 8), channels=1)},
        {"image": torch.rand(3, 1, 8, 8)},
        torch.zeros(3).long(),
        ["a", "b", "c"],
    )
    assert not search(Decoupling(), look(model, batch), {"image": 1.0}).success.any()


# The control


def test_random_draws_keep_kind_size_and_number_and_do_not_overlap() -> None:
    shape = torch.tensor([[[0, 0, 3, 2], [0, 0, 2, 2], [0, 0, 0, 0]]]).expand(500, 3, 4)
    keys = sample_keys([str(i) for i in range(500)], "x")
    placed = place(shape, torch.tensor([[7, 9]]).expand(500, 2), keys, pointwise=False)
    assert placed[:, :2, 2:].equal(shape[:, :2, 2:])
    assert placed[:, 2].sum() == 0
    counts = torch.zeros(500, 7, 9)
    for i in range(500):
        for y, x, h, w in placed[i].tolist():
            assert y + h <= 7
            assert x + w <= 9
            counts[i, y : y + h, x : x + w] += 1
    assert counts.amax() == 1
    words = place(
        torch.tensor([[[0, 1], [0, 0], [0, 1]]]).expand(500, 3, 2), torch.full((500, 1), 5), keys, pointwise=True
    )
    assert words[:, 1].sum() == 0
    assert (words[:, 0, 0] != words[:, 2, 0]).all()
    pairs = torch.stack([words[:, 0, 0], words[:, 2, 0]], dim=1).sort(dim=1).values
    _, counted = torch.unique(pairs, dim=0, return_counts=True)
    assert len(counted) == 10
    assert ((counted - 50).abs() < 30).all()


def test_random_draws_do_not_depend_on_the_batch_and_few_are_never_repeated() -> None:
    model, batch = firm_model(1), small_batch(1, 8, pictures=3)
    removal = look(model, batch)
    found = search(Decoupling(threshold=0.9), removal, THREE)
    keys = removal.clean.keys("control")
    whole = best_of(removal, found.spent, found.calls, keys)
    for rows in ([3], [5, 0], [7, 6, 5]):
        part = look(model, batch.take(rows))
        again = search(Decoupling(threshold=0.9), part, THREE)
        some = best_of(part, again.spent, again.calls, part.clean.keys("control"))
        assert some.success.tolist() == whole.success[rows].tolist()
        assert some.tries.tolist() == whole.tries[rows].tolist()
    # One word of five: five draws are all five words.
    one = {"text": torch.tensor([[[0, 1]]])}
    hits = set()
    for i in range(40):
        cue = Batch({"text": Text()}, {"text": [f"a b {CUE} d e"]}, torch.tensor([0]), [str(i)])
        only = TorchModel(
            encoders={"text": lambda ts: torch.tensor([[float(CUE in t.split()), 0.5] for t in ts])},
            fusion=lambda c: c["text"],
            head=lambda z: z,
            classes=["a", "b"],
        )
        removal = look(only, cue)
        drawn = best_of(removal, one, torch.tensor([100]), removal.clean.keys("control"))
        assert drawn.success.item()
        hits.add(int(drawn.tries))
    assert hits == {1, 2, 3, 4, 5}


def test_no_more_draws_than_asked_for() -> None:
    removal = look(planted_model(), planted_batch())
    shape = {"image": torch.tensor([[[0, 0, 2, 2]]])}
    before = removal.clean.model.meter.passes
    drawn = best_of(removal, shape, torch.tensor([21]), removal.clean.keys("x"))
    assert drawn.tries.tolist() == [21]
    assert removal.clean.model.meter.passes - before == 21
    assert not drawn.success.any()
    assert best_of(removal, shape, torch.tensor([0]), removal.clean.keys("x")).tries.tolist() == [0]


def test_asked_wrongly() -> None:
    for wrong in ({"test": "labels"}, {"search": "greedy"}, {"max_tries": 0}, {"cell": 0}, {"share": 1.5}):
        with pytest.raises(AskedWrongly):
            Decoupling(**wrong)  # type: ignore[arg-type]


def test_the_schedule_is_lazy() -> None:
    stages = schedule(0, 400, "subset", 500)
    assert next(next(stages)) == (0, 1)
    assert next(next(stages)) == (0, 1, 2)
