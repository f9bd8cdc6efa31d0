"""One patch for all pictures: its place, a planted pattern that must be found, controls, losses, what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from muroan import Budget, Verdict
from muroan.auditing.observe import observe_all
from muroan.checks.alarms import findings
from muroan.checks.attacks import input_is_not_written_to, stays_in_budget, zero_budget_changes_nothing
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.universal_patch import (
    STARTS,
    Place,
    Recipe,
    UniversalPatch,
    best_noise,
    fit,
    grey,
    info_nce,
    topology,
)
from muroan.meter import Metered
from muroan.models.two_encoder import TwoEncoder
from muroan.organisms.misled import CHECKS, EDGE, END
from muroan.registry import organism
from muroan.robustness.adversarial.universal import Universal


def test_the_place_is_the_source_s():
    place = Place.of((224, 224))
    assert (place.side, place.top, place.left) == (38, 172, 172)
    assert (place.top + place.side - 1, place.left + place.side - 1) == (209, 209)
    wide = Place.of((100, 300), 0.03)
    assert wide.side == 30
    assert (wide.top + wide.side, wide.left + wide.side) == (94, 294)
    x = torch.zeros(2, 3, 224, 224)
    assert int(place.on(x, torch.ones(3, 38, 38)).sum()) == 2 * 3 * 38 * 38
    assert not x.any()
    with pytest.raises(AskedWrongly, match="pixels a side"):
        Place.of((8, 8), 0.001)


def batches(dose=8.0, n=200):
    model, splits = organism("robustness.corner-pattern").world(dose, 0)
    reference, audited = (d.load(range(n)).batch for d in (splits.reference, splits.audited))
    return Metered(model, audited.modalities), reference, audited


def test_a_planted_pattern_is_found_and_works_on_pictures_never_seen():
    model, reference, audited = batches()
    patch = fit(model, reference, "scan", Recipe(steps=40))
    inside = END - EDGE - patch.at.top
    found = patch.pixels[0, inside : inside + EDGE, inside : inside + EDGE]
    assert float((found.sub(0.5).sign() == CHECKS).float().mean()) > 0.9
    room = {"scan": Budget(share=0.03)}
    done = patch.run(model, audited, room)
    assert float(done.success.float().mean()) > 0.5
    controls = [best_noise(model, reference, "scan", Recipe(steps=40)), grey(reference, "scan")]
    assert all(float(c.run(model, audited, room).success.float().mean()) < 0.2 for c in controls)
    assert [c.at for c in controls] == [patch.at] * 2


def test_fitting_costs_what_it_says_and_repeats():
    model, reference, _ = batches()
    recipe = Recipe(steps=7, rows=20)
    model.meter.counts.clear()
    first = fit(model, reference, "scan", recipe, seed=3)
    assert model.meter.counts["backward"] == 7 * 20
    assert model.meter.counts["forward for gradients"] == (7 + STARTS) * 20
    again = fit(model, reference, "scan", recipe, seed=3)
    turned = fit(model, reference.take(range(len(reference) - 1, -1, -1)), "scan", recipe, seed=3)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.allclose(first.pixels, turned.pixels, atol=1e-4)
    assert 0 <= float(first.pixels.min()) <= float(first.pixels.max()) <= 1
    model.meter.counts.clear()
    best_noise(model, reference, "scan", recipe)
    assert model.meter.counts["forward for gradients"] == (2 * 7 + STARTS) * 20, "as many passes as fitting made"


def test_it_keeps_the_promises_of_an_attack():
    patch = UniversalPatch(modality="image", pixels=torch.ones(3, 2, 2), at=Place(2, 13, 13))
    for check in (zero_budget_changes_nothing, stays_in_budget, input_is_not_written_to):
        check(patch)
    model, _, audited = batches()
    place = Place.of((32, 32))
    patch = UniversalPatch(modality="scan", pixels=torch.ones(1, place.side, place.side), at=place)
    small = patch.run(model, audited, {"scan": Budget(share=0.02)})
    assert small.batch is audited, "an area that the budget does not allow is not touched"
    gone = replace(audited, present={"scan": torch.zeros(len(audited), dtype=torch.bool)})
    assert torch.equal(patch.put(gone), audited.inputs["scan"])


def test_the_losses_know_what_agrees():
    codes = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    other = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    assert float(topology(codes, 3 * codes)) == pytest.approx(0, abs=1e-6)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(2))).Q
    assert float(topology(codes, codes @ turn)) == pytest.approx(0, abs=1e-5), "a rotation moves nobody's neighbours"
    assert float(topology(codes, other)) > 0.001
    alike = torch.eye(4)
    assert float(info_nce(alike, alike)) == pytest.approx(
        -float(torch.log_softmax(torch.tensor([10.0, 0, 0, 0]), 0)[0]), abs=1e-6
    )
    assert float(info_nce(alike, alike.roll(1, 0))) > 9


def towers():
    """A picture's code says which of four quarters is bright, and a pixel of the corner shouts over it."""

    def image(x):
        mean = torch.nn.functional.avg_pool2d(x[:, :1], 16).flatten(1)
        shout = torch.cat([torch.zeros(len(x), 4), x[:, :1, 26:29, 26:29].mean(dim=(1, 2, 3))[:, None]], dim=1)
        return torch.cat([mean - 0.5, torch.zeros(len(x), 1)], dim=1) + 2 * shout**2

    def text(values):
        return torch.nn.functional.one_hot(torch.tensor([int(t) for t in values]), 5).float()

    return TwoEncoder(encoders={"image": image, "text": text}, text="text", name="quarters")


def test_on_aligned_codes_it_is_fitted_to_the_codes_alone():
    from muroan import Image, Text
    from muroan.batch import Batch

    quarter = torch.arange(80) % 4
    x = torch.full((80, 3, 32, 32), 0.4)
    for k in range(4):
        x[quarter == k, :, 16 * (k // 2) : 16 * (k // 2) + 16, 16 * (k % 2) : 16 * (k % 2) + 16] = 0.9
    x[:, :, 24:, 24:] = 0.3
    model = towers().retrieval({"text": ["0", "1", "2", "3"]}, "first")
    batch = Batch(
        modalities={"image": Image(size=(32, 32)), "text": Text()},
        inputs={"image": x, "text": [str(int(k)) for k in quarter]},
        targets=torch.ones(80, dtype=torch.long),
        ids=[str(i) for i in range(80)],
    )
    metered = Metered(model, batch.modalities)
    patch = fit(metered, batch, "image", Recipe(steps=40))
    assert "fuse" not in metered.meter.counts, "no decision is asked for, so it is aimed at no task"
    assert metered.meter.counts["encode image for gradients"] == (40 + STARTS) * 64
    inner = patch.pixels[0, 1:4, 1:4]
    assert float(inner.mean()) > 0.9, "bright is what shouts"
    with pytest.raises(NotApplicable, match="picture"):
        fit(metered, batch, "text")


def test_the_probe_finds_the_pattern_and_is_quiet_without_it():
    found = {f.metric: f for f in findings(Universal(limit=200), *organism("robustness.corner-pattern").world(8.0, 0))}
    assert found["excess"].verdict is Verdict.FAIL
    assert found["excess"].estimate.n == 200
    assert set(found["excess"].controls) == {"noise patch", "grey patch", "no change"}
    assert found["excess"].controls["no change"].value == 0
    quiet = findings(Universal(limit=200), *organism("robustness.corner-pattern").world(0.0, 0))
    assert not [f.key for f in quiet if f.verdict is Verdict.FAIL]


def test_the_probe_fits_on_the_reference_and_shows_what_it_did():
    model, splits = organism("robustness.corner-pattern").world(8.0, 1)
    seen = []

    reference = splits.reference
    original = reference.sample
    reference.sample = lambda i: (seen.append(i), original(i))[1]
    evidence, _ = observe_all([Universal(limit=20, samples=64)], model, splits)
    assert len(set(seen)) == 64
    rows = evidence[Universal.name].rows
    assert set(rows["condition"]) == {"nothing", "patch", "noise", "grey"}
    assert rows.filter(rows["condition"] == "nothing")["changed"].sum() == 0
