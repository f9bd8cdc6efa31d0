"""The decoupling probe: what it alarms about, what its evidence says, what it concludes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.decoupling_worlds import firm_model, small_batch, small_modalities
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.checks import planted
from muroan.checks.alarms import alarms, alarms_on, false_alarms, findings
from muroan.checks.bed import PlantedModel
from muroan.clean import Clean
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Finding, LineChart, Verdict
from muroan.meter import Metered
from muroan.modality import Image, Modality, Tabular, Text, Value
from muroan.model import BlackBox, Code, Model, TorchModel
from muroan.organisms.clinic import Clinician, Patients, draw_scan
from muroan.organisms.clinic import world as clinic
from muroan.robustness.adversarial.decoupling.findings import SMALLEST, Outcomes
from muroan.robustness.adversarial.decoupling.probe import DecouplingProbe

SIDE = 32
FILLER = ("a", "the", "of", "and", "so", "on", "by", "it")
MODALITIES: dict[str, Modality] = {"image": Image(size=(SIDE, SIDE), channels=1, fill=(0.0,)), "text": Text()}


def flag(kept: Tensor) -> Tensor:
    return torch.stack([1 - kept, kept], dim=1)


def world(model: Model, seed: int, n: int, *, groups: bool = False, dimmed: bool = False) -> Splits:
    """Bright noisy pictures, two questions each, with eight words each; labelled as the model answers.

    dimmed: each picture by another factor, down to a half.
    """
    g = torch.Generator().manual_seed(seed)
    pictures = 0.6 + 0.4 * torch.rand(n // 2, 1, SIDE, SIDE, generator=g)
    if dimmed:
        pictures = pictures * (0.5 + 0.5 * torch.rand(n // 2, 1, 1, 1, generator=g))
    key = torch.arange(n) // 2
    texts = [" ".join(["cue", *(FILLER[int(i)] for i in torch.randint(8, (7,), generator=g))]) for _ in range(n)]
    inputs = {"image": pictures[key], "text": texts}
    return Splits(
        InMemory(
            inputs,
            targets=model.predict(inputs).argmax(dim=1).tolist(),
            modalities=MODALITIES,
            classes=model.classes,
            clusters=[f"p{int(k)}" for k in key],
            keys={"image": key.tolist()},
            groups={"half": ["upper" if i < n // 2 else "lower" for i in range(n)]} if groups else None,
        )
    )


def hangs_on_a_patch(seed: int) -> tuple[Model, Splits]:
    """Yes iff a patch of 4×4 of the 32×32 picture, elsewhere for each seed, is bright."""
    y, x = (int(v) for v in np.random.default_rng(seed).integers(0, SIDE - 4, 2))
    model = TorchModel(
        encoders={
            "image": lambda p: (p[:, 0, y : y + 4, x : x + 4].mean(dim=(1, 2)) > 0.5).float(),
            "text": lambda t: torch.ones(len(t)),
        },
        fusion=lambda c: flag(c["image"] * c["text"]),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    return model, world(model, seed, 80)


def needs_most_of_it(seed: int) -> tuple[Model, Splits]:
    """The twin: yes as long as the picture is bright on average and half of the words are there."""
    model = TorchModel(
        encoders={
            "image": lambda p: (p.mean(dim=(1, 2, 3)) > 0.5).float(),
            "text": lambda t: torch.tensor([float(len(q.split()) > 3) for q in t]),
        },
        fusion=lambda c: flag(c["image"] * c["text"]),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    return model, world(model, seed, 80)


def constant(seed: int) -> tuple[Model, Splits]:
    model = TorchModel(
        encoders={"image": lambda p: p.flatten(1)[:, :2] * 0, "text": lambda t: torch.zeros(len(t), 2)},
        fusion=lambda c: c["image"] + c["text"],
        head=lambda z: z + torch.tensor([1.0, 0.0]),
        classes=["no", "yes"],
    )
    return model, world(model, seed, 80)


def diffuse(seed: int) -> tuple[Model, Splits]:
    """Another twin: evidence spread over all pixels and words, unevenly; some answers are borderline."""
    g = torch.Generator().manual_seed(seed)
    pixels, words = 0.5 + torch.rand(SIDE * SIDE, generator=g), 0.5 + torch.rand(len(FILLER) + 1, generator=g)
    index = {w: i for i, w in enumerate((*FILLER, "cue"))}

    def text(texts: list[str]) -> Tensor:
        return torch.tensor([float(sum(words[index[w]] for w in t.split())) / 8 for t in texts])

    model = TorchModel(
        encoders={"image": lambda p: (p.flatten(1) @ pixels) / pixels.sum(), "text": text},
        fusion=lambda c: torch.stack([c["image"], c["text"]], dim=1),
        # The picture gives 0.4 to 0.8, the words about 1, so that 1.4 is little or none too much to ask.
        head=lambda z: torch.stack([torch.full((len(z),), 1.4), z.sum(dim=1)], dim=1),
        classes=["no", "yes"],
    )
    return model, world(model, seed, 80, dimmed=True)


FAST = DecouplingProbe(max_tries=60)


def test_alarms_where_decisions_hang_on_a_patch() -> None:
    power = alarms_on(FAST, hangs_on_a_patch, range(20))
    assert power.value == 1.0
    keys = alarms(FAST, hangs_on_a_patch, range(1))[0]
    assert "robustness.decoupling/excess[modality=image]" in keys


@pytest.mark.parametrize("twin", [needs_most_of_it, constant, diffuse])
def test_does_not_alarm_where_they_do_not(twin: Any) -> None:
    assert false_alarms(FAST, twin, range(20)).value <= 0.05


def test_does_not_alarm_about_a_model_that_reads_its_world_right() -> None:
    assert false_alarms(FAST, lambda seed: (PlantedModel(seed=seed), planted(120, seed)), range(5)).value == 0.0


def test_a_key_word_that_every_answer_rightly_needs_is_no_alarm() -> None:
    """One word of eight decides; trying words at random finds it as well as trying each."""
    model = TorchModel(
        encoders={
            "image": lambda p: torch.ones(len(p)),
            "text": lambda t: torch.tensor([float("cue" in q.split()) for q in t]),
        },
        fusion=lambda c: flag(c["image"] * c["text"]),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    found = {f.key.split("/")[1]: f for f in findings(FAST, model, world(model, 0, 60))}
    assert found["success"].estimate is not None
    assert found["success"].estimate.value == 1.0
    assert found["excess"].estimate is not None
    assert found["excess"].estimate.value == 0.0
    assert all(f.verdict is not Verdict.FAIL for f in found.values())
    assert found["involves[modality=text]"].estimate.value == 1.0  # type: ignore[union-attr]
    assert found["own_share[modality=text]"].estimate.value == pytest.approx(1 / 8)  # type: ignore[union-attr]
    assert found["success[modality=image]"].estimate.value == 0.0  # type: ignore[union-attr]
    assert found["reliance[modality=image,condition=without image]"].estimate.value == 0.0  # type: ignore[union-attr]
    assert found["reliance[modality=text,condition=without text]"].estimate.value == 1.0  # type: ignore[union-attr]


class Asked(Clinician):
    """Answers what the note tells, the next disease where one of its twelve words is gone, the first without it."""

    def encode(self, modality: str, values: Value) -> Tensor:
        if modality != "note":
            return torch.zeros(len(values), 3)
        told = super().encode(modality, values).softmax(dim=1)
        words = torch.tensor([len(v.split()) for v in values])[:, None]
        return torch.where(words == 12, told, torch.where(words > 0, told.roll(1, dims=1), torch.eye(3)[0]))


class Misread(Asked):
    """The same, but without a note it goes by the scan."""

    def encode(self, modality: str, values: Value) -> Tensor:
        return Clinician().encode(modality, values) if modality == "scan" else super().encode(modality, values)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        blank = (codes["note"] == torch.eye(3)[0]).all(dim=1, keepdim=True)
        return torch.where(blank, codes["scan"], codes["note"])


def same_told(p: Patients) -> Patients:
    """Scans that tell what the notes tell."""
    return replace(p, scan=draw_scan(p.told["note"], p.rng))


@pytest.mark.parametrize("seed", range(2))
def test_an_answer_that_stands_by_chance_is_no_answer_that_does_not_need_its_input(seed: int) -> None:
    """A word turns every answer, no note a part of them; only if what stands knows better is that a fault."""
    fast = replace(FAST, limit=150)
    by_chance = {f.key.split("/")[1]: f for f in findings(fast, *clinic(seed, Asked()))}
    without = by_chance["reliance[modality=note,condition=without note]"].estimate
    assert without is not None
    assert 0.5 < without.value < 0.8
    found = by_chance["beyond_whole[modality=note]"]
    assert by_chance["success[modality=note]"].estimate.value == 1.0  # type: ignore[union-attr]
    assert found.verdict is Verdict.PASS
    assert abs(found.estimate.value) < 1e-9  # type: ignore[union-attr]
    knows = {f.key.split("/")[1]: f for f in findings(fast, *clinic(seed, Misread(), same_told))}
    found = knows["beyond_whole[modality=note]"]
    assert found.verdict is Verdict.FAIL
    assert found.estimate.value == pytest.approx(1.0)  # type: ignore[union-attr]


# Evidence


def seen(probe: DecouplingProbe, model: Model, splits: Splits, **options: Any) -> Evidence:
    return observe_all([probe], model, splits, **options)[0][probe.name]


def three(n: int = 30, seed: int = 1) -> tuple[Model, Splits]:
    """Three inputs, pictures shared between samples, one table row missing."""
    batch, model = small_batch(seed, n, pictures=8), firm_model(seed)
    table: list[Any] = [
        row if here else None for row, here in zip(batch.inputs["table"], batch.present["table"], strict=True)
    ]
    return model, Splits(
        InMemory(
            {**batch.inputs, "table": table},
            targets=model.predict(batch.inputs).argmax(dim=1).tolist(),
            modalities=small_modalities(),
            classes=model.classes,
            keys={"image": batch.keys["image"].tolist()},
        )
    )


def test_what_a_row_says_was_removed_does_change_the_answer() -> None:
    model, splits = three()
    probe = DecouplingProbe(budget=0.2, threshold=0.9)
    rows = seen(probe, model, splits).rows
    batch = splits.audited.load(range(len(splits.audited))).batch
    assert batch is not None
    clean = Clean.observe(Metered(model, batch.modalities), batch)
    counted = 0
    for row in rows.filter(pl.col("success") & pl.col("condition").str.contains("attack|random")).to_dicts():
        i = batch.ids.index(row["sample"])
        one, gone, points = batch.take([i]), {}, 0
        for m, boxes in json.loads(row["boxes"]).items():
            cover = batch.modalities[m].cover(one.inputs[m], torch.tensor([boxes]))
            gone[m] = batch.modalities[m].erase(one.inputs[m], cover)
            points += int(cover.sum())
            if row["condition"].startswith("attack"):
                assert row[f"share.{m}"] == pytest.approx(
                    int(cover.sum()) / int(batch.modalities[m].points(one.inputs[m]))
                )
        changed = int(model.predict({**one.inputs, **gone}).argmax())
        assert changed != int(clean.predicted[i])
        total = sum(
            int(v.points(one.inputs[m]))
            for m, v in batch.modalities.items()
            if m not in batch.present or batch.present[m][i]
        )
        assert row["share"] == pytest.approx(points / total)
        assert row["share"] <= 0.2
        if row["condition"].startswith("attack"):
            assert row["predicted"] == changed
        else:
            counted += 1
    assert counted > 5


def test_random_removals_are_matched_in_size_and_in_calls() -> None:
    model, splits = three()
    rows = seen(DecouplingProbe(budget=0.2, threshold=0.9), model, splits).rows

    def sizes(boxes: str) -> list[tuple[str, list[int]]]:
        return sorted((m, b[len(b) // 2 :]) for m, found in json.loads(boxes).items() for b in found)

    for scope in ("", " image", " text", " table"):
        attack = rows.filter(pl.col("condition") == f"attack{scope}")
        random = rows.filter(pl.col("condition") == f"random{scope}")
        assert attack["sample"].to_list() == random["sample"].to_list()
        assert attack["calls"].to_list() == random["calls"].to_list()
        assert (random["tries"] <= random["calls"]).all()
        for a, r in zip(attack.to_dicts(), random.to_dicts(), strict=True):
            if a["success"]:
                assert r["share"] == pytest.approx(a["share"])
            if a["success"] and r["success"]:
                assert sizes(a["boxes"]) == sizes(r["boxes"])


def test_whole_model_calls_shards_and_a_black_box_give_the_same_rows() -> None:
    model, splits = three()
    probe = DecouplingProbe(budget=0.2, threshold=0.9)
    base = seen(probe, model, splits).rows
    assert base.equals(seen(probe, model, splits, apart=False).rows)
    assert base.equals(seen(probe, model, splits, shard=7).rows)
    assert base["sample"].n_unique() * len(base["condition"].unique()) == len(base)
    box = BlackBox(
        lambda inputs: model.predict(inputs).numpy(),
        modalities=model.modalities,
        classes=model.classes,
        output="logits",
    )
    boxed = seen(probe, box, splits).rows  # its confidence is computed from single precision
    assert base.drop("clean_confidence").equals(boxed.drop("clean_confidence"))


def test_a_model_that_answers_differently_each_time_is_not_trusted() -> None:
    g = torch.Generator().manual_seed(0)

    def fickle(x: Tensor) -> Tensor:
        return (torch.rand(len(x), generator=g) < 0.3).float()

    model = TorchModel(
        encoders={"image": fickle, "text": lambda t: torch.ones(len(t))},
        fusion=lambda c: flag(c["image"] * c["text"]),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    splits = world(model, 0, 60)
    conclusion = FAST.conclude(seen(replace(FAST, correct_only=False), model, splits))
    assert conclusion.notes[0].startswith("NOT TO BE TRUSTED")
    null = next(f for f in conclusion.findings if f.metric == "null")
    assert null.estimate is not None
    assert null.estimate.value > 0


def test_null_flips_are_exactly_zero() -> None:
    for make in (hangs_on_a_patch, diffuse, lambda seed: three(seed=seed)):
        model, splits = make(2)
        rows = seen(FAST, model, splits).of(condition="null")
        assert rows["success"].sum() == 0
        assert rows["share"].sum() == 0
        assert rows["success"].null_count() == 0


# Conclusions


def concluded(probe: DecouplingProbe, model: Model, splits: Splits) -> tuple[Conclusion, dict[str, Finding]]:
    conclusion = probe.conclude(seen(probe, model, splits))
    return conclusion, {f.key.split("/")[1]: f for f in conclusion.findings}


def test_area_is_the_integral_of_success_over_log_budgets() -> None:
    rng = np.random.default_rng(0)
    success = (rng.uniform(size=50) < 0.7).astype(float)
    share = np.where(success > 0, 10 ** rng.uniform(-5, math.log10(0.05), 50), np.nan)
    what = Outcomes(success, share, 0.05)
    grid = np.geomspace(SMALLEST, 0.05, 20_001)
    curve = np.array([what.at(b).mean() for b in grid])
    expected = np.trapezoid(curve, np.log(grid)) / math.log(0.05 / SMALLEST)
    assert what.area().mean() == pytest.approx(expected, abs=1e-3)
    assert Outcomes(np.ones(3), np.full(3, 1e-6), 0.05).area().tolist() == [1, 1, 1]
    assert Outcomes(np.zeros(3), np.full(3, np.nan), 0.05).area().tolist() == [0, 0, 0]


def test_the_curve_rises_to_success_and_lies_above_its_control() -> None:
    model, splits = hangs_on_a_patch(3)
    conclusion, found = concluded(FAST, model, splits)
    chart = next(c for c in conclusion.charts if isinstance(c, LineChart))
    attack, random = chart.lines
    assert random.control
    assert not attack.control
    assert attack.y == sorted(attack.y, key=float)  # type: ignore[arg-type]
    assert found["success"].estimate is not None
    assert attack.y[-1] == found["success"].estimate.value == 1.0
    assert all(a >= r for a, r in zip(attack.y, random.y, strict=True) if a is not None and r is not None)
    assert 0 < found["share_median"].estimate.value <= 16 / (SIDE * SIDE)  # type: ignore[union-attr]
    assert found["excess"].controls.keys() == {"the search", "random removal of equal size, asked as often"}
    assert "80 of 80 samples were attacked" in found["success"].note


def test_groups_classes_and_everybody() -> None:
    model, _ = hangs_on_a_patch(0)
    splits = world(model, 0, 80, groups=True)
    _, found = concluded(FAST, model, splits)
    assert found["success[group=half=upper]"].estimate.n == 40  # type: ignore[union-attr]
    assert not found["success[group=half=upper]"].judged
    wrong = Splits(
        InMemory(
            {"image": torch.ones(12, 1, SIDE, SIDE), "text": ["cue a b c"] * 12},
            targets=[0] * 6 + [1] * 6,
            modalities=MODALITIES,
            classes=model.classes,
        )
    )
    assert concluded(FAST, model, wrong)[1]["success"].estimate.n == 6  # type: ignore[union-attr]
    everybody = replace(FAST, correct_only=False)
    assert concluded(everybody, model, wrong)[1]["success"].estimate.n == 12  # type: ignore[union-attr]
    only_no = replace(everybody, classes=("no",))
    assert concluded(only_no, model, wrong)[1]["success"].estimate.n == 6  # type: ignore[union-attr]
    assert "of the classes no" in concluded(only_no, model, wrong)[1]["success"].note
    conclusion, nothing = concluded(replace(FAST, classes=("no",)), model, wrong)
    assert {f.verdict for f in conclusion.findings} == {Verdict.NOT_APPLICABLE}
    assert "nothing to attack" in nothing["excess"].reason
    with pytest.raises(AskedWrongly, match="no class 'maybe'"):
        replace(FAST, classes=("maybe",)).applies(model, wrong.audited.schema)


def test_labels_alone_and_one_input_are_enough() -> None:
    model, splits = hangs_on_a_patch(1)
    inputs = splits.audited.load(range(40)).batch
    assert inputs is not None

    def alone(values: Any) -> Any:
        return model.predict({"image": values["image"], "text": ["cue"] * len(values["image"])}).argmax(dim=1).numpy()

    labels = BlackBox(alone, modalities=("image",), classes=model.classes, output="labels")
    one = Splits(
        InMemory(
            {"image": inputs.inputs["image"]},
            targets=inputs.targets.tolist(),
            modalities={"image": MODALITIES["image"]},
            classes=model.classes,
        )
    )
    _, found = concluded(FAST, labels, one)
    assert found["success"].estimate.value > 0.5  # type: ignore[union-attr]
    assert "excess[modality=image]" not in found
    assert "needs fuse" in str(replace(FAST, test="argmax").applies(labels, one.audited.schema))


def test_a_few_points_can_still_be_attacked() -> None:
    """Two words and two columns: 5 % of them is no point at all, so one may go."""
    model = TorchModel(
        encoders={
            "text": lambda t: torch.tensor([float("cue" in q.split()) for q in t]),
            "table": lambda v: (v[:, 0] > 0).float(),
        },
        fusion=lambda c: flag(c["text"] * c["table"]),
        head=lambda z: z,
        classes=["no", "yes"],
    )
    data = InMemory(
        {"text": ["cue b"] * 20, "table": np.ones((20, 2), dtype=np.float32)},
        targets=[1] * 20,
        modalities={"text": Text(), "table": Tabular(columns=("p", "q"), fill=(-1.0, 0.0))},
        classes=["no", "yes"],
    )
    _, found = concluded(FAST, model, Splits(data))
    assert found["success"].estimate.value == 1.0  # type: ignore[union-attr]
    assert found["success[modality=table]"].estimate.value == 1.0  # type: ignore[union-attr]


def test_exhibits_outline_what_is_removed() -> None:
    model, splits = hangs_on_a_patch(4)
    batch = splits.audited.load(range(10)).batch
    assert batch is not None
    shown = FAST.observe(Clean.observe(Metered(model, batch.modalities), batch)).shown
    assert 1 <= len(shown) <= 2
    first = shown[0]
    panels = [p for p, _ in first.panels]
    assert [p.kind for p in panels] == ["image", "image", "text"]
    assert panels[0].boxes
    assert "of the image's 1024 pixels" in first.title
    before, after = first.panels[0][1], first.panels[1][1]
    y, x, h, w = panels[0].boxes[0]
    assert (after[:, y : y + h, x : x + w] == 0).all()
    assert int(((before != after).any(dim=0)).sum()) == sum(h * w for _, _, h, w in panels[0].boxes)


def test_asked_wrongly() -> None:
    for wrong in ({"budget": 0.0}, {"budget": 1.1}, {"per_input": 0.0}, {"test": "x"}, {"cell": 0}):
        with pytest.raises(AskedWrongly):
            DecouplingProbe(**wrong)
