"""The corruptions probe: a brittle model is found out, its clean twin is not, nothing is encoded twice."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.batch import Schema
from muroan.clean import Clean
from muroan.content import digests, distinct
from muroan.data.easy_vqa import easy_vqa
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Finding, LineChart, MatrixChart, TableChart, Verdict, judge
from muroan.interventions.perturbations import of_kind
from muroan.meter import Meter, Metered
from muroan.modality import Audio, Image, Series, Tabular, Text
from muroan.model import BlackBox, TorchModel
from muroan.randomness import key
from muroan.robustness.distribution_shift.corruptions.probe import Corruptions
from muroan.robustness.distribution_shift.corruptions.sides import mmi

CLASSES = ("left", "right")
SIDE = 16
GENTLE = ("gaussian_noise", "defocus_blur", "pixelate", "contrast", "jpeg", "brightness")


def halves(n: int = 80, seed: int = 0, shared: int = 1, clusters: bool = False) -> InMemory:
    """Mid-grey pictures whose left or right half is darker, and a text that does not matter.

    shared: so many samples have the same picture, and it has a key.
    """
    rng = np.random.default_rng(seed)
    pictures = 0.5 + 0.02 * torch.from_numpy(rng.standard_normal((n // shared, 3, SIDE, SIDE))).float()
    sides = rng.integers(0, 2, n // shared)
    for x, side in zip(pictures, sides, strict=True):
        x[:, :, SIDE // 2 * side : SIDE // 2 * (side + 1)] -= 0.2
    own = np.repeat(np.arange(n // shared), shared)
    return InMemory(
        {
            "image": pictures[own],
            "text": [f"the darker side of {chr(97 + i % 26) * 4}{chr(97 + i // 26) * 4} is where" for i in range(n)],
        },
        targets=sides[own],
        modalities={"image": Image(size=(SIDE, SIDE)), "text": Text()},
        classes=CLASSES,
        keys={"image": own.tolist()} if shared > 1 else None,
        clusters=[f"picture {i}" for i in own] if clusters else None,
    )


def darker(x: Tensor) -> Tensor:
    """How much darker the right half is than the left: [N, 1]."""
    return (x[..., : SIDE // 2].mean(dim=(1, 2, 3)) - x[..., SIDE // 2 :].mean(dim=(1, 2, 3)))[:, None]


def model(image: Callable[[Tensor], Tensor] = darker, text: Callable[[list[str]], Tensor] | None = None) -> TorchModel:
    """Says which side is darker, unless the code of the text is 1: then it says left."""
    return TorchModel(
        encoders={"image": image, "text": text or (lambda t: torch.zeros(len(t), 1))},
        fusion=lambda codes: codes["image"] * (1 - codes["text"]) - 0.01 * codes["text"],
        head=lambda z: torch.cat([-40 * z, 40 * z], dim=1),
        classes=CLASSES,
        gradients=False,
    )


def blinded_by_light(x: Tensor) -> Tensor:
    """The same, but it is mistaken on a picture brighter than any in the data."""
    return torch.where(x.mean(dim=(1, 2, 3))[:, None] > 0.47, -darker(x), darker(x))


def concluded(probe: Corruptions, m: Any, data: Any, **more: Any) -> tuple[Conclusion, Evidence, list[Finding]]:
    evidence, quarantined = observe_all([probe], m, Splits(data), **more)
    assert not quarantined
    found = probe.conclude(evidence[probe.name])
    limited = []
    for f in found.findings:
        metric = probe.metric(f.metric)
        limit = metric.limited(metric.limit) if f.judged and metric.limit is not None else None
        limited.append(f.model_copy(update={"limit": limit}))
    return found, evidence[probe.name], judge(limited)


def one(findings: Sequence[Finding], metric: str, modality: str | None = None, condition: str | None = None) -> Finding:
    (found,) = [f for f in findings if (f.metric, f.modality, f.condition) == (metric, modality, condition)]
    return found


# Golden numbers and planted faults.


@pytest.mark.parametrize(
    ("clean", "perturbed", "percent"),
    [(35.3, 27.4, 22.38), (60.7, 47.0, 22.57), (56.0, 43.0, 23.21), (81.9, 67.0, 18.19)],
)
def test_golden_impacts(clean: float, perturbed: float, percent: float) -> None:
    assert round(100 * mmi(clean, perturbed), 2) == percent


def test_impact_of_no_change_is_zero_and_of_a_useless_model_undefined() -> None:
    assert mmi(0.8, 0.8) == 0
    with pytest.raises(ValueError, match="nothing is right"):
        mmi(0.0, 0.0)


def test_a_model_brittle_to_one_corruption_alarms_and_names_it() -> None:
    probe = Corruptions(corruptions=GENTLE, limit=None)
    for seed in range(4):
        _, _, judged = concluded(probe, model(blinded_by_light), halves(seed=seed), seed=seed)
        worst = one(judged, "worst_corruption")
        assert worst.verdict is Verdict.FAIL
        assert "brightness of the image" in worst.title
        # On average over six it costs a sixth of what it costs.
        alone = one(judged, "drop", "image", "brightness").estimate.value
        assert one(judged, "mmi").estimate.value == pytest.approx(alone / 6, abs=0.02)
        assert one(judged, "mmi").verdict is not Verdict.FAIL


def test_a_model_that_goes_blind_alarms() -> None:
    """Of two answers a constant one keeps half: the limit is below that."""

    def blind(x: Tensor) -> Tensor:
        return torch.where(x.mean(dim=(1, 2, 3))[:, None] > 0.47, torch.full((len(x), 1), -0.2), darker(x))

    _, _, judged = concluded(Corruptions(corruptions=GENTLE, limit=None), model(blind), halves(400))
    assert one(judged, "worst_corruption").verdict is Verdict.FAIL


def test_a_model_brittle_to_most_corruptions_alarms_on_average() -> None:
    """It gives up on a picture in which neighbours differ."""

    def bits(x: Tensor) -> Tensor:
        noisy = (x - x.roll(1, -1)).abs().mean(dim=(1, 2, 3)) > 0.06
        return torch.where(noisy[:, None], torch.full((len(x), 1), -0.2), darker(x))

    noises = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "jpeg")
    _, _, judged = concluded(Corruptions(corruptions=noises, limit=None), model(bits), halves(200))
    assert one(judged, "mmi").verdict is Verdict.FAIL


def test_the_clean_twin_raises_no_alarm() -> None:
    probe = Corruptions(corruptions=GENTLE, limit=None, severities=(1, 3, 5))
    alarms = 0
    for seed in range(20):
        _, _, judged = concluded(probe, model(), halves(40, seed=seed), seed=seed)
        alarms += any(f.verdict is Verdict.FAIL for f in judged)
    assert alarms == 0


def test_a_model_that_ignores_an_input_loses_nothing_by_it() -> None:
    _, _, judged = concluded(Corruptions(limit=None, severities=(5,)), model(), halves(30))
    assert one(judged, "mmi", "text").estimate.value == 0
    assert one(judged, "consistency", "text").estimate.value == 1
    assert one(judged, "flip_rate", "text").estimate.value == 0
    assert one(judged, "mmi", "text").estimate.high > 0.02  # 30 samples are not certainty
    assert one(judged, "mmi", "text").controls["null change"].value == 0


def test_a_model_that_needs_every_word_loses_all_that_a_change_of_words_can_take() -> None:
    data = halves(40)
    known = {data.sample(i).inputs["text"] for i in range(40)}

    def literal(texts: list[str]) -> Tensor:
        return torch.tensor([[float(t not in known)] for t in texts])

    _, evidence, judged = concluded(Corruptions(limit=None), model(text=literal), data)
    right = np.mean([data.sample(i).target == 1 for i in range(40)])  # it says "left", which is class 0 … or not
    lost = {f.condition: f.estimate.value for f in judged if f.metric == "drop" and f.modality == "text"}
    assert len(lost) == 10  # all but the synonyms, which need a lexicon
    for name, value in lost.items():
        assert value == pytest.approx(right, abs=1e-9) or value == pytest.approx(1 - right, abs=1e-9), name
    rows = evidence.of().filter((pl.col("modality") == "text") & (pl.col("severity") > 0))
    assert rows["changed"].all()


def test_figures_are_those_of_the_rows() -> None:
    probe = Corruptions(corruptions=("gaussian_noise", "brightness", "word_delete"), limit=None)
    _, evidence, judged = concluded(probe, model(blinded_by_light), halves(60))
    rows = evidence.of().filter(pl.col("severity") > 0)
    clean = float(evidence.of().unique("sample")["clean_correct"].mean())
    side = {}
    for m in ("image", "text"):
        mine = rows.filter(pl.col("modality") == m)
        side[m] = mmi(clean, float(mine["correct"].mean()))
        assert one(judged, "mmi", m).estimate.value == pytest.approx(side[m])
        lost = mine.filter(pl.col("clean_correct"))
        assert one(judged, "flip_rate", m).estimate.value == pytest.approx(1 - float(lost["correct"].mean()))
        same = float((mine["predicted"] == mine["clean_predicted"]).mean())
        assert one(judged, "consistency", m).estimate.value == pytest.approx(same)
    assert one(judged, "mmi").estimate.value == pytest.approx(np.mean(list(side.values())))
    bright = rows.filter(pl.col("corruption") == "brightness")
    assert one(judged, "drop", "image", "brightness").estimate.value == pytest.approx(
        clean - float(bright["correct"].mean())
    )
    assert one(judged, "worst_corruption").estimate.value == pytest.approx(mmi(clean, float(bright["correct"].mean())))


def test_severity_zero_is_the_clean_pass() -> None:
    _, evidence, _ = concluded(Corruptions(limit=None, severities=(1,)), model(blinded_by_light), halves(30))
    null = evidence.of().filter(pl.col("severity") == 0)
    assert (null["predicted"] == null["clean_predicted"]).all()
    assert np.allclose(null["confidence"], null["clean_confidence"])
    assert not null["changed"].any()
    assert set(null["corruption"]) == {"nothing"}


# What it does with the model.


def test_a_shared_picture_is_changed_and_encoded_once_and_fused_with_each_of_its_questions() -> None:
    data = halves(60, shared=10)
    metered = Metered(model(), data.schema.modalities)
    clean = Clean.observe(metered, data.load(range(60)).batch)
    metered.meter = Meter()
    probe = Corruptions(corruptions=("gaussian_noise", "jpeg", "keyboard"), limit=None)
    rows = probe.observe(clean).rows
    counts = metered.meter.counts
    assert counts["encode image"] == 6 * (1 + 2 * 5)
    assert metered.meter.passes == 60 * (1 + 2 * 5 + 1 + 5)
    assert counts["encode text"] <= 60 * (1 + 5)
    assert len(rows) == metered.meter.passes
    assert rows.group_by("sample", "condition").len()["len"].max() == 1
    # Equal pictures got equal noise: in a model that looks at the picture alone all ten agree.
    of = rows.filter(pl.col("corruption") == "gaussian_noise").with_columns(pl.col("sample").cast(pl.Int64) // 10)
    assert of.group_by("sample", "severity").agg(pl.col("confidence").n_unique())["confidence"].max() == 1


def test_equal_values_are_one_also_where_nobody_said_so() -> None:
    shared = halves(40, shared=10)
    values = [shared.sample(i) for i in range(40)]
    silent = InMemory(
        {m: [v.inputs[m] for v in values] for m in ("image", "text")},
        targets=[v.target for v in values],
        modalities=shared.schema.modalities,
        classes=CLASSES,
    )
    probe = Corruptions(corruptions=("gaussian_noise", "ocr"), limit=None, severities=(2, 5))
    told, guessed = (concluded(probe, model(), d)[1].rows for d in (shared, silent))
    columns = ["sample", "condition", "predicted", "confidence", "changed"]
    assert told.select(columns).equals(guessed.select(columns))


@pytest.mark.parametrize("apart", [True, False])
def test_shards_order_and_way_do_not_change_rows(apart: bool) -> None:
    data = halves(36, shared=3)
    probe = Corruptions(limit=None, severities=(1, 5))
    whole = concluded(probe, model(blinded_by_light), data)[1].rows
    shuffled = data.subset([int(i) for i in np.random.default_rng(1).permutation(36)])
    parts = concluded(probe, model(blinded_by_light), shuffled, shard=5, apart=apart)[1].rows
    columns = ["sample", "condition", "severity", "present", "changed", "correct"]
    assert whole.select(columns).equals(parts.select(columns))
    assert np.allclose(whole["confidence"], parts["confidence"], atol=1e-5)


def test_the_seed_changes_the_noise_and_only_that() -> None:
    data, probe = halves(20), Corruptions(corruptions=("gaussian_noise", "pixelate"), limit=None, severities=(5,))
    first, again, other = (concluded(probe, model(), data, seed=s)[1].rows for s in (0, 0, 1))
    assert first.equals(again)
    by = [
        r.filter(pl.col("corruption") == c)["confidence"].to_list()
        for c in ("gaussian_noise", "pixelate")
        for r in (first, other)
    ]
    assert by[0] != by[1]
    assert by[2] == by[3]


def test_samples_without_the_input_are_left_as_they_are_and_left_out() -> None:
    full = halves(40)
    values = [full.sample(i) for i in range(40)]
    data = InMemory(
        {
            "image": [None if i < 10 else v.inputs["image"] for i, v in enumerate(values)],
            "text": [v.inputs["text"] for v in values],
        },
        targets=[v.target for v in values],
        modalities=full.schema.modalities,
        classes=CLASSES,
    )
    probe = Corruptions(corruptions=("brightness", "keyboard"), limit=None)
    _, evidence, judged = concluded(probe, model(blinded_by_light), data, shard=16)
    assert one(judged, "mmi", "image").estimate.n == 30
    assert one(judged, "mmi", "text").estimate.n == 40
    assert one(judged, "drop", "image", "brightness").estimate.n == 30
    gone = evidence.of().filter((pl.col("modality") == "image") & ~pl.col("present"))
    assert len(gone) == 10 * 6
    assert not gone["changed"].any()
    assert (gone["predicted"] == gone["clean_predicted"]).all()


def test_a_black_box_of_labels_works() -> None:
    box = BlackBox(
        lambda x: (darker(x["image"])[:, 0] > 0).long().numpy(),
        modalities=("image", "text"),
        classes=CLASSES,
        output="labels",
    )
    _, evidence, judged = concluded(
        Corruptions(limit=None, severities=(5,), corruptions=("fog", "ocr")), box, halves(30)
    )
    assert evidence.rows["confidence"].null_count() == len(evidence.rows)
    assert one(judged, "mmi", "text").estimate.value == 0


def test_other_kinds_of_inputs() -> None:
    n, g = 30, torch.Generator().manual_seed(0)
    data = InMemory(
        {
            "sound": torch.rand(n, 640, generator=g) - 0.5,
            "vitals": torch.rand(n, 20, 2, generator=g),
            "labs": torch.rand(n, 5, generator=g),
        },
        targets=[i % 2 for i in range(n)],
        modalities={
            "sound": Audio(rate=100, length=640),
            "vitals": Series(length=20, channels=("hr", "bp")),
            "labs": Tabular(columns=tuple("abcde")),
        },
        classes=CLASSES,
    )
    m = TorchModel(
        encoders={
            "sound": lambda x: x[:, :1],
            "vitals": lambda x: x.mean(dim=(1, 2))[:, None],
            "labs": lambda x: x[:, :1],
        },
        fusion=lambda codes: sum(codes.values()),
        head=lambda z: torch.cat([z, 1 - z], dim=1),
        classes=CLASSES,
    )
    found, evidence, judged = concluded(Corruptions(limit=None), m, data)
    assert {f.modality for f in judged if f.metric == "mmi"} == {None, "sound", "vitals", "labs"}
    assert len(evidence.rows) == n * (3 + 5 * (9 + 9 + 7))  # a sound of 100 samples a second holds no hum
    assert sum(isinstance(c, MatrixChart) for c in found.charts) == 3


# Settings, conclusions, and what cannot be measured.


def test_settings_are_checked() -> None:
    with pytest.raises(AskedWrongly, match="gaussian_noise"):
        Corruptions.configured({"corruptions": ["gausian_noise"]})
    with pytest.raises(AskedWrongly, match="severities"):
        Corruptions.configured({"severities": [0, 6]})
    assert Corruptions.configured({"severities": [1, 2]}).severities == (1, 2)


def test_it_says_where_it_does_not_apply() -> None:
    only = Corruptions(corruptions=("jpeg",))
    schema = Schema(modalities={"text": Text()}, classes=CLASSES)
    m = BlackBox(lambda x: np.zeros(len(x["text"])), modalities=("text",), classes=CLASSES, output="labels")
    assert "text" in str(only.applies(m, schema))
    assert Corruptions().applies(m, schema) is None


def test_a_model_that_is_never_right_has_no_share_to_lose() -> None:
    data = halves(20)
    wrong = model(lambda x: -darker(x))
    _, _, judged = concluded(Corruptions(limit=None, severities=(1,), corruptions=("contrast",)), wrong, data)
    found = one(judged, "mmi")
    assert found.estimate is None
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert "nothing is right" in found.reason
    assert one(judged, "consistency").estimate.value == 1


def test_one_modality_has_one_headline_each() -> None:
    data = halves(30)
    alone = InMemory(
        {"image": torch.stack([data.sample(i).inputs["image"] for i in range(30)])},
        targets=[data.sample(i).target for i in range(30)],
        modalities={"image": Image(size=(SIDE, SIDE))},
        classes=CLASSES,
    )
    m = TorchModel(
        encoders={"image": darker},
        fusion=lambda c: c["image"],
        head=lambda z: torch.cat([-z, z], dim=1),
        classes=CLASSES,
    )
    _, _, judged = concluded(Corruptions(limit=None, corruptions=("fog", "jpeg")), m, alone)
    assert [f.modality for f in judged if f.metric in ("mmi", "worst_corruption")] == [None, None]


def test_charts_and_notes() -> None:
    found, _, _ = concluded(Corruptions(limit=None), model(blinded_by_light), halves(24))
    lines = [c for c in found.charts if isinstance(c, LineChart)]
    assert [line.label for line in lines[0].lines] == ["noise", "blur", "weather", "digital", "null change"]
    assert all(len(line.y) == 6 for line in lines[0].lines)
    tables = [c for c in found.charts if isinstance(c, TableChart)]
    pictures = sum(p.wants is None for p in of_kind("image"))
    assert [len(t.rows) for t in tables] == [pictures * 5, 10 * 5]
    matrices = [c for c in found.charts if isinstance(c, MatrixChart)]
    assert (len(matrices[0].rows), len(matrices[0].columns)) == (pictures, 5)
    assert any("Left out: formal, casual, passive, active (needs hf:FOLDER" in note for note in found.notes)
    assert any("Left out: back_translation" in note for note in found.notes)
    assert any("Left out: word_synonym (does not fit" in note for note in found.notes)
    assert any("no check of meaning was made" in note for note in found.notes)
    assert any("upper bound" in note for note in found.notes)


def test_conclusions_are_a_function_of_the_evidence() -> None:
    probe = Corruptions(limit=None, severities=(1, 5))
    found, evidence, _ = concluded(probe, model(blinded_by_light), halves(30, shared=3, clusters=True))
    again = probe.conclude(Evidence(evidence.rows.clone(), evidence.about))
    assert found.model_dump_json() == again.model_dump_json()
    assert found.findings[0].estimate.clusters == 10


def test_a_lost_sample_is_shown_before_and_after() -> None:
    data = halves(40)
    clean = Clean.observe(Metered(model(blinded_by_light), data.schema.modalities), data.load(range(40)).batch)
    shown = Corruptions(limit=None, corruptions=GENTLE).observe(clean).shown
    assert 1 <= len(shown) <= 2
    first = shown[0]
    assert "brightness of the image" in first.title
    kinds = [panel.kind for panel, _ in first.panels]
    assert kinds == ["image", "image", "text"]
    assert not torch.equal(first.panels[0][1], first.panels[1][1])


def test_the_default_fits_easy_vqa() -> None:
    """75 conditions of pictures and 55 of questions on real data, 20 samples, one row for each."""
    data = easy_vqa().audited
    red = TorchModel(
        encoders={
            "image": lambda x: x.mean(dim=(2, 3)),
            "question": lambda t: torch.tensor([[float("red" in q)] for q in t]),
        },
        fusion=lambda c: c["image"][:, :1] * c["question"],
        head=lambda z: torch.cat([z + i for i in range(13)], dim=1),
        classes=data.schema.classes,
    )
    evidence, bad = observe_all([Corruptions(limit=20)], red, Splits(data))
    rows = evidence[Corruptions.name].rows
    assert not bad
    assert len(rows) == 20 * (1 + 15 * 5 + 1 + 11 * 5)
    assert rows["condition"].n_unique() == 132


def test_contents_tell_values_apart() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    values, index, names = distinct(x)
    assert torch.equal(values, x[:2])
    assert index.tolist() == [0, 1, 0]
    assert names == digests(x)[:2]
    assert digests(x[1:2]) == digests(x)[1:2]
    assert distinct(["b", "a", "b"])[0] == ["b", "a"]
    assert len(set(digests(["a", "", "\ud800", "à"]))) == 4


# What the user names: rewrites of sentences, and a judge of meaning.


def shouted(texts: list[str]) -> list[str]:
    return [t.upper() for t in texts]


def silent(texts: list[str]) -> list[None]:
    return [None for _ in texts]


def by_letters(texts: list[str]) -> list[list[float]]:
    """Codes by how often each letter is there: order does not matter, what is lost or added does."""
    return [[1.0 + t.lower().count(chr(c)) for c in range(97, 123)] for t in texts]


def indifferent(texts: list[str]) -> list[list[float]]:
    return [[1.0]] * len(texts)


def all_unlike(texts: list[str]) -> Tensor:
    """No text is like another."""
    return torch.stack([torch.randn(64, generator=torch.Generator().manual_seed(key(t) % 2**31)) for t in texts])


def here(name: str) -> str:
    return f"python:{__name__}:{name}"


def loud(texts: list[str]) -> Tensor:
    """The code of `model`'s text: it says left to a text in capitals."""
    return torch.tensor([[float(t.isupper())] for t in texts])


def test_a_perturbation_of_one_severity_counts_as_one() -> None:
    data = halves(60)
    given = (("passive", here("shouted")), ("formal", here("silent")))
    probe = Corruptions(corruptions=("keyboard", "passive", "formal"), limit=None, given=given)
    found, evidence, judged = concluded(probe, model(text=loud), data)
    rows = evidence.of().filter(pl.col("severity") > 0)
    assert len(rows) == 60 * (5 + 1 + 1)
    clean = float(rows["clean_correct"].mean())
    left = 1 - float(rows.filter(pl.col("corruption") == "passive")["correct"].mean())
    assert clean == 1
    assert 0.3 < left < 0.7
    assert one(judged, "drop", "text", "passive").estimate.value == pytest.approx(left)
    assert one(judged, "drop", "text", "formal").estimate.value == 0
    # The mean over perturbations of means over severities, not the mean over rows.
    assert one(judged, "mmi").estimate.value == pytest.approx(left / 3)
    assert one(judged, "flip_rate").estimate.value == pytest.approx(left / 3)
    assert one(judged, "consistency").estimate.value == pytest.approx(1 - left / 3)
    assert "passive of the text, the worst of 3" in one(judged, "worst_corruption").title
    assert one(judged, "worst_corruption").estimate.value == pytest.approx(left)
    matrix = next(c for c in found.charts if isinstance(c, MatrixChart))
    assert matrix.values[matrix.rows.index("passive")] == [pytest.approx(left), None, None, None, None]
    lines = next(c for c in found.charts if isinstance(c, LineChart)).lines
    assert {line.label: line.x for line in lines}["sentence"] == [0.0, 1.0]
    assert any("changed were: formal 0%, passive 100%" in note for note in found.notes)
    assert any("(formal, passive: fewer" in note for note in found.notes)


def test_a_severity_that_a_perturbation_lacks_is_its_highest() -> None:
    probe = Corruptions(
        corruptions=("keyboard", "active"), severities=(4, 5), limit=None, given=(("active", here("shouted")),)
    )
    rows = concluded(probe, model(), halves(20))[1].of()
    found = set(rows.select("corruption", "severity").unique().rows())
    assert found == {("nothing", 0), ("keyboard", 4), ("keyboard", 5), ("active", 1)}


def test_what_is_given_is_checked() -> None:
    with pytest.raises(AskedWrongly, match=r"passive needs .*given: "):
        Corruptions(corruptions=("passive",))
    with pytest.raises(AskedWrongly, match="Did you mean 'meaning'"):
        Corruptions(given=(("meanings", "hf:x"),))
    with pytest.raises(AskedWrongly, match="alike"):
        Corruptions.configured({"alike": 2.0})
    named = Corruptions.configured({"given": [["passive", here("shouted")]], "corruptions": ["passive"]})
    assert named.given == (("passive", here("shouted")),)
    with pytest.raises(AskedWrongly, match="language model"):
        concluded(Corruptions(given=(("meaning", "hf:nowhere"),), corruptions=("word_swap",)), model(), halves(8))


def test_a_judge_that_minds_nothing_changes_nothing() -> None:
    probe = Corruptions(corruptions=("word_delete", "keyboard"), limit=None)
    data = halves(30)
    known = {data.sample(i).inputs["text"] for i in range(30)}

    def reads(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(t.split()) > 6 or t in known)] for t in texts])

    plain = concluded(probe, model(text=reads), data)[1].rows
    gated = concluded(replace(probe, given=(("meaning", here("indifferent")),)), model(text=reads), data)[1].rows
    alone = ["similarity", "tries"]
    assert plain.drop(alone).equals(gated.drop(alone))
    assert plain.select(alone).null_count().row(0) == (len(plain), len(plain))
    of = gated.filter(pl.col("corruption") == "word_delete")
    assert of["tries"].to_list() == [1] * 150
    assert of["similarity"].to_list() == [1.0] * 150
    assert gated.filter(pl.col("corruption") != "word_delete")["tries"].null_count() == len(gated) - 150


def test_the_gate_says_how_alike_how_often_and_who_ran_out() -> None:
    given = (("meaning", here("by_letters")), ("passive", here("shouted")), ("back_translation", here("shouted")))
    names = ("word_swap", "word_delete", "passive", "back_translation", "keyboard")
    probe = Corruptions(corruptions=names, limit=None, given=given, alike=0.995, tries=5)
    found, evidence, judged = concluded(probe, model(), halves(40))
    rows = evidence.of()
    # Order does not change letters, and capitals are the same ones.
    for name in ("word_swap", "passive"):
        assert one(judged, "similarity", "text", name).estimate.value == pytest.approx(1, abs=1e-4)
        assert one(judged, "out_of_tries", "text", name).estimate.value == 0
    deleted = rows.filter(pl.col("corruption") == "word_delete")
    out = float((deleted["similarity"] < 0.995).mean())
    assert 0 < out < 1
    assert one(judged, "out_of_tries", "text", "word_delete").estimate.value == pytest.approx(out)
    assert one(judged, "similarity", "text", "word_delete").estimate.value == pytest.approx(
        float(deleted["similarity"].mean())
    )
    assert (deleted.filter(pl.col("similarity") < 0.995)["tries"] == 5).all()
    assert deleted["tries"].max() == 5
    looked_at = rows.filter(pl.col("similarity").is_not_null())
    assert set(looked_at["corruption"]) == {"word_swap", "word_delete", "passive"}
    assert {f.condition for f in judged if f.metric == "similarity"} == {"word_swap", "word_delete", "passive"}
    tables = [c for c in found.charts if isinstance(c, TableChart) and "tries" in c.columns]
    assert len(tables) == 1
    assert [r[0] for r in tables[0].rows] == ["word_swap"] * 5 + ["word_delete"] * 5 + ["passive"]
    note = next(n for n in found.notes if "word_delete" in n and "never alike" in n)
    assert f"{out:.0%} never alike" in note
    assert any("need not be the stronger change" in n for n in found.notes)
    assert not any("no check of meaning" in n for n in found.notes)


def test_a_judge_to_whom_nothing_is_alike_uses_up_all_tries() -> None:
    probe = Corruptions(
        corruptions=("word_insert",), limit=None, given=(("meaning", here("all_unlike")),), severities=(1, 3), tries=7
    )
    _, evidence, judged = concluded(probe, model(), halves(12))
    rows = evidence.of().filter(pl.col("severity") > 0)
    assert (rows["tries"] == 7).all()
    assert one(judged, "out_of_tries", "text", "word_insert").estimate.value == 1


def test_shards_do_not_change_what_the_gate_accepts() -> None:
    data = halves(24)
    probe = Corruptions(
        corruptions=("word_delete", "word_insert"), limit=None, given=(("meaning", here("by_letters")),), alike=0.98
    )
    whole, parts = (concluded(probe, model(), data, shard=n)[1].rows for n in (24, 5))
    assert whole.drop("confidence").equals(parts.drop("confidence"))


def test_rows_are_narrow() -> None:
    rows = concluded(Corruptions(limit=None, corruptions=("jpeg", "ocr")), model(), halves(16))[1].rows
    assert all(rows.schema[c] == pl.Categorical for c in ("modality", "corruption", "family"))
    own = ["modality", "corruption", "family", "severity", "present", "changed", "predicted", "correct", "confidence"]
    assert rows.select(*own, "similarity", "tries").estimated_size() < 40 * len(rows)
