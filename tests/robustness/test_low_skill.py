"""What anybody can do by hand: each trick is what it says, drops are what counting gives, planted faults are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from muroan import Image, Text, Verdict
from muroan.auditing.observe import observe_all
from muroan.checks import PlantedModel, planted
from muroan.checks.alarms import findings
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.low_skill import BLOCK, EMOJI, PAIRS, TRICKS, named
from muroan.interventions.perturbations import Draws
from muroan.interventions.perturbations.image import scale_of
from muroan.randomness import sample_keys
from muroan.registry import organism
from muroan.robustness.adversarial.low_skill.macro_f1 import drops, macro_f1
from muroan.robustness.adversarial.low_skill.probe import LowSkill

TEXTS = ["what colour is the shape shown here", "is there a circle", "no"]


def done(name, values, modality):
    keys = sample_keys([str(i) for i in range(len(values))], "test")
    return named(name).change(values, Draws(keys), modality, scale_of(modality))


def test_texts_stay_readable_in_the_way_they_say():
    typed, faces, spaced, black = (done(n, TEXTS, Text()) for n in ("typos", "emoji", "spaces", "blackout"))
    for old, new in zip(TEXTS, typed, strict=True):
        pairs = list(zip(old.split(), new.split(), strict=True))
        assert all(sorted(a) == sorted(b) and a[0] == b[0] and a[-1] == b[-1] for a, b in pairs)
        assert sum(a != b for a, b in pairs) <= max(1, round(len(pairs) / 3))
    for old, new in zip(TEXTS, faces, strict=True):
        assert [w for w in new.split() if w not in EMOJI] == old.split()
        assert new != old
    assert [s.replace(" ", "") for s in spaced] == [t.replace(" ", "") for t in TEXTS]
    assert spaced[0] != TEXTS[0]
    for old, new in zip(TEXTS, black, strict=True):
        assert all(a == b or b == BLOCK * len(a) for a, b in zip(old.split(), new.split(), strict=True))
        assert BLOCK in new
    assert done("leetspeak", ["Present shape"], Text()) == ["Pr353n7 5h4p3"]


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 48, 60, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


PICTURES = [t.name for t in TRICKS if t.kind == "image"]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_keep_shape_and_range_and_do_not_look_at_each_other(name, pictures):
    modality = Image(size=(48, 60))
    new = done(name, pictures, modality)
    assert new.shape == pictures.shape
    assert new.dtype == pictures.dtype
    assert 0 <= float(new.min()) <= float(new.max()) <= 1
    assert bool((new != pictures).flatten(1).any(dim=1).all())
    keys = sample_keys([str(i) for i in range(5)], "test")
    alone = named(name).change(pictures[3:4], Draws(keys[3:4]), modality, scale_of(modality))
    assert torch.allclose(alone[0], new[3], atol=1e-6)


def test_newsprint_keeps_the_tone_and_is_black_and_white(pictures):
    modality = Image(size=(240, 240))
    for tone in (0.0, 0.25, 0.5, 0.8, 1.0):
        printed = done("newsprint", torch.full((1, 3, 240, 240), tone), modality)
        assert set(printed.unique().tolist()) <= {0.0, 1.0}
        assert float(printed.mean()) == pytest.approx(tone, abs=0.1)


def test_a_sticker_and_a_bar_cover_what_they_say():
    white = torch.ones(200, 3, 100, 100)
    modality = Image(size=(100, 100))
    stuck = (done("sticker", white, modality) != 1).any(dim=1).float().mean(dim=(1, 2))
    assert float(stuck.mean()) == pytest.approx(0.03, abs=0.004)
    assert float(stuck.min()) > 0.02, "it is whole, wherever it is"
    under = (done("bar", white, modality) != 1).any(dim=1)
    assert torch.equal(under.float().mean(dim=(1, 2)), torch.full((200,), 0.1))
    assert float(under.float().mean(dim=0).amax()) < 0.3, "not always in the same place"


def test_macro_f1_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    said[truth == 2] = 2
    one, two = np.eye(4)[truth], np.eye(4)[said]
    found = macro_f1((one * two).sum(axis=0), two.sum(axis=0), one.sum(axis=0))
    assert found == pytest.approx(f1_score(truth, said, average="macro"))
    table = np.concatenate([one, one, one, two, one * two], axis=1).sum(axis=0)[None]
    assert drops(table, 4)[0, 0] == pytest.approx(1 - f1_score(truth, said, average="macro"))


def test_the_drop_of_a_trick_is_counted_from_its_rows():
    probe = LowSkill(limit=None)
    evidence, quarantined = observe_all([probe], PlantedModel(), planted())
    assert not quarantined
    rows = evidence[probe.name].rows
    found = {(f.metric, f.condition): f.estimate for f in probe.conclude(evidence[probe.name]).findings}
    assert {c for m, c in found if m == "drop"} == {
        *(f"{'text' if t.kind == 'text' else 'image'}: {t.name}" for t in TRICKS),
        *(f"{a} + {b}" for a, b in PAIRS),
    }
    for condition in ("text: leetspeak", "image: noise", "leetspeak + newsprint"):
        some = rows.filter(rows["condition"] == condition)
        score = [f1_score(some["target"], some[c], average="macro") for c in ("clean_predicted", "predicted")]
        estimate = found["drop", condition]
        assert estimate.value == pytest.approx(score[0] - score[1])
        assert estimate.low <= estimate.value <= estimate.high
        assert found["accuracy_drop", condition].value == pytest.approx(
            some["clean_correct"].mean() - some["correct"].mean()
        )
    worst = found["worst_drop", None]
    judged = [e.value for (m, c), e in found.items() if m == "drop" and not _hides(c)]
    assert worst.value == pytest.approx(max(judged))
    assert worst.width >= max(e.width for (m, c), e in found.items() if m == "drop" and e.value == worst.value) * 0.8


def _hides(condition):
    return any(t.hides and condition.endswith(t.name) for t in TRICKS)


def test_what_may_hide_the_answer_is_never_judged():
    probe = LowSkill(limit=60, tricks=("blackout", "sticker"))
    evidence, _ = observe_all([probe], PlantedModel(), planted())
    found = probe.conclude(evidence[probe.name]).findings
    worst = next(f for f in found if f.metric == "worst_drop")
    assert worst.estimate is None
    assert "hide" in worst.reason
    assert all(f.note.startswith("Never judged") for f in found if f.metric == "drop")


@pytest.mark.parametrize(("name", "trick"), [("one-corruption", "lighten"), ("thrown-by-misspelling", "typos")])
def test_planted_faults_are_found_and_the_twin_is_quiet(name, trick):
    probe = LowSkill(tricks=(trick, "noise"))
    fault = organism(f"robustness.{name}")
    for seed in (0, 1):
        found = findings(probe, *fault.world(fault.matters, seed), seed=seed)
        assert [f.metric for f in found if f.verdict is Verdict.FAIL] == ["worst_drop"]
        assert not [f for f in findings(LowSkill(), *fault.world(0.0, seed), seed=seed) if f.verdict is Verdict.FAIL]


def test_what_was_turned_is_shown_before_and_after():
    from muroan.auditing.observe import clean_pass
    from muroan.meter import Metered

    model, splits = organism("robustness.thrown-by-misspelling").world(8.0, 0)
    batch = splits.audited.load(range(60)).batch
    (clean,), _ = clean_pass(Metered(model, batch.modalities), batch, "audited", 0)
    shown = LowSkill(tricks=("typos",)).observe(clean).shown
    assert len(shown) == 1
    texts = [panel.text for panel, _ in shown[0].panels if panel.kind == "text"]
    assert len(texts) == 2
    assert texts[0] != texts[1]


def test_a_trick_that_is_not_there_is_refused():
    with pytest.raises(AskedWrongly, match="typos"):
        LowSkill(tricks=("typo",))
