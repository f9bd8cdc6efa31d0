"""The planted faults of robustness are what they say, and the probes hear them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.intervention import outcome
from muroan.interventions.perturbations import of_kind
from muroan.interventions.perturbations.base import Draws
from muroan.interventions.removals import Removal
from muroan.meter import Metered
from muroan.modality import Value
from muroan.model import Model
from muroan.organisms.brittle import CANARY, FORCED
from muroan.organisms.clinic import AGES, CUES, DISEASES, FILLERS, SITES, world
from muroan.organisms.cues import EDGE, LEFT, RADIUS, STAMPS, TOP, fine_patterns, strength
from muroan.probe import Probe
from muroan.randomness import sample_keys
from muroan.registry import organism
from muroan.robustness.adversarial.decoupling.probe import DecouplingProbe
from muroan.robustness.adversarial.gradient.probe import Gradient
from muroan.robustness.distribution_shift.corruptions.probe import Corruptions
from muroan.robustness.distribution_shift.missing_modality.probe import MissingModality as MissingProbe
from muroan.selftest.trial import trial


@cache
def planted(fault: str, dose: float) -> tuple[Model, Batch]:
    """The model and 400 audited patients of seed 0."""
    model, splits = organism(f"robustness.{fault}").world(dose, 0)
    batch = splits.audited.load(range(400)).batch
    assert batch is not None
    return model, batch


def said(model: Model, batch: Batch, **changed: Value) -> Tensor:
    """Answers [N], with some inputs changed."""
    answers: Tensor = model.predict({**batch.inputs, **changed}).argmax(dim=1)
    return answers


def turned(model: Model, batch: Batch, **changed: Value) -> float:
    """Share of the right answers that a change turns."""
    before = said(model, batch)
    right = before == batch.targets
    return float((said(model, batch, **changed) != before)[right].double().mean())


def covered(scan: Tensor, top: int, left: int) -> Tensor:
    out = scan.clone()
    out[:, :, top : top + EDGE, left : left + EDGE] = 0.5
    return out


def less(notes: list[str], word: str) -> list[str]:
    return [" ".join(w for w in n.split() if w != word) for n in notes]


def without(model: Model, batch: Batch, *missing: str) -> Tensor:
    """Logits with these inputs missing, as the core has it."""
    return outcome(Clean.observe(Metered(model, batch.modalities), batch), Removal(missing)).logits


def test_a_mark_is_the_same_whatever_is_stamped_over_and_marks_are_told_apart() -> None:
    _, batch = planted("spurious-background", 1.0)
    assert torch.equal(
        strength(batch.inputs["scan"]).sort(dim=1).values, torch.tensor([[0.0, 0.0, 1.0]]).expand(400, 3)
    )
    assert torch.equal(STAMPS.flatten(1) @ STAMPS.flatten(1).T, EDGE**2 * torch.eye(3))
    _, twin = planted("spurious-background", 0.0)
    assert strength(twin.inputs["scan"]).abs().max() < 0.2


def test_an_ignored_input_may_say_anything_and_confidences_stay_right() -> None:
    for dose, share in ((1.0, 0.0), (0.5, 0.5)):
        model, batch = planted("ignored-modality", dose)
        # Another disease's channel raised, with the same noise.
        other = batch.inputs["vitals"].clone()
        other[..., 0] += 3
        moved = (model.predict({**batch.inputs, "vitals": other}) != model.predict(batch.inputs)).any(dim=1)
        assert float(moved.double().mean()) == pytest.approx(share, abs=0.08)
        sure = model.predict(batch.inputs).softmax(dim=1).amax(dim=1)
        right = said(model, batch) == batch.targets
        assert abs(float(sure.mean() - right.float().mean())) < 2 * float(right.float().std()) / 20


def test_a_collapsed_fusion_says_what_the_scan_says() -> None:
    def scan_says(model: Model, batch: Batch) -> Tensor:
        told: Tensor = model.encode("scan", batch.inputs["scan"]).argmax(dim=1)
        return told

    model, batch = planted("collapse", 0.7)
    assert torch.equal(said(model, batch), scan_says(model, batch))
    # Still read: without the vital signs the scores are others.
    assert not torch.allclose(without(model, batch, "vitals"), model.predict(batch.inputs))
    model, batch = planted("collapse", 0.4)
    assert float((said(model, batch) == scan_says(model, batch)).double().mean()) < 0.95


def test_one_word_decides_and_neither_other_words_nor_the_whole_note_do() -> None:
    model, batch = planted("decisive-word", 8.0)
    notes = batch.inputs["note"]
    assert turned(model, batch, note=less(notes, "handover")) > 0.75
    assert turned(model, batch, note=[""] * len(notes)) < 0.15
    assert turned(model, batch, note=less(notes, FILLERS[1])) == 0
    assert turned(model, batch, note=less(notes, CUES["pneumonia"].split()[0])) < 0.02
    assert all(n.split().count("handover") == 1 and len(n.split()) == 12 for n in notes)


def test_one_patch_decides_and_neither_other_patches_nor_the_whole_scan_do() -> None:
    model, batch = planted("decisive-patch", 8.0)
    scan = batch.inputs["scan"]
    assert turned(model, batch, scan=covered(scan, TOP, LEFT)) > 0.75
    assert turned(model, batch, scan=torch.full_like(scan, 0.5)) < 0.15
    assert turned(model, batch, scan=covered(scan, 20, 4)) == 0


def test_inputs_come_apart_without_either_half_of_the_link_and_age_decides() -> None:
    model, batch = planted("decoupled", 1.0)
    age = torch.tensor([AGES.index(a) for a in batch.groups["age"]])
    for change in (
        {"scan": covered(batch.inputs["scan"], TOP, LEFT)},
        {"note": less(batch.inputs["note"], "reference")},
    ):
        assert float((said(model, batch, **change) == age).double().mean()) > 0.99
    assert turned(model, batch, scan=covered(batch.inputs["scan"], 20, 4)) == 0
    assert torch.equal(said(model, batch), said(*planted("decoupled", 0.0)))


def along(batch: Batch, rival: Tensor, own: Tensor) -> Tensor:
    """Scans moved by `RADIUS` a pixel towards one disease's fine pattern and away from another's."""
    scan: Tensor = batch.inputs["scan"]
    towards: Tensor = fine_patterns()[rival] - fine_patterns()[own]
    moved: Tensor = scan + RADIUS * towards.sign()[:, None]
    return moved


@pytest.mark.parametrize("fault", ["small-perturbation", "shattered-gradients"])
def test_a_fine_pattern_turns_what_noise_of_the_same_size_does_not(fault: str) -> None:
    model, batch = planted(fault, 9.0)
    best = model.predict(batch.inputs).topk(2, dim=1).indices
    assert turned(model, batch, scan=along(batch, best[:, 1], best[:, 0])) > 0.9
    noise = torch.randn(batch.inputs["scan"].shape, generator=torch.Generator().manual_seed(1)).sign() * RADIUS
    assert turned(model, batch, scan=batch.inputs["scan"] + noise) < 0.1


def gradient_of_the_lead(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """What the scan's pixels do to the lead of the answer, and the lead [N]."""
    scan = batch.inputs["scan"].clone().requires_grad_(True)
    logits = model.predict({**batch.inputs, "scan": scan})
    best = logits.topk(2, dim=1).values
    lead = best[:, 0] - best[:, 1]
    return torch.autograd.grad(lead.sum(), scan)[0], lead.detach()


def test_a_saturated_vote_has_no_gradient_and_answers_as_before() -> None:
    model, batch = planted("masked-gradients", 24.0)
    assert gradient_of_the_lead(model, batch)[0].abs().max() == 0
    twin, same = planted("masked-gradients", 0.0)
    assert gradient_of_the_lead(twin, same)[0].abs().flatten(1).amax(dim=1).min() > 0
    assert torch.equal(said(model, batch), said(twin, same))


def test_a_shattered_gradient_is_large_and_following_it_changes_nothing() -> None:
    model, batch = planted("shattered-gradients", 9.0)
    slope, lead = gradient_of_the_lead(model, batch)
    step = RADIUS / 6 * slope.sign()
    promised = (slope * step).flatten(1).sum(dim=1)
    _, after = gradient_of_the_lead(model, batch.with_inputs(scan=batch.inputs["scan"] - step))
    assert promised.min() > 5
    assert (lead - after).abs().max() < 1


def test_only_too_much_light_misleads() -> None:
    model, batch = planted("one-corruption", 16.0)
    scan = batch.inputs["scan"]
    found = {}
    for p in of_kind("image"):
        if p.wants is not None:
            continue
        draws = Draws(sample_keys(batch.ids, 0, p.name))
        found[p.name] = turned(model, batch, scan=p(scan, 3, draws, batch.modalities["scan"], scale=32 / 224))
    assert found.pop("brightness") > 0.5
    assert found.pop("snow") > 0.5  # it makes a scan brighter too
    assert max(found.values()) < 0.1
    assert (said(model, batch, scan=(scan + 0.5).clamp(0, 1)) == len(DISEASES) - 1).all()


def test_only_stray_punctuation_misleads() -> None:
    model, batch = planted("one-text-corruption", 16.0)
    notes = batch.inputs["note"]
    found = {}
    for p in of_kind("text"):
        if p.wants is None:
            draws = Draws(sample_keys(batch.ids, 0, p.name))
            found[p.name] = turned(model, batch, note=p(notes, 5, draws, batch.modalities["note"]))
    assert found.pop("punctuation") > 0.5
    assert max(found.values()) < 0.1
    assert (said(model, batch, note=[f"{n} ;" for n in notes]) == len(DISEASES) - 1).all()


def test_what_is_missing_speaks_for_the_first_disease() -> None:
    model, batch = planted("missing-modality", 1.0)
    twin, same = planted("missing-modality", 0.0)
    assert torch.allclose(model.predict(batch.inputs), twin.predict(same.inputs), atol=1e-3)
    alone = without(model, batch, "scan", "vitals", "table").softmax(dim=1)
    assert (alone.argmax(dim=1) == 0).all()
    assert alone[:, 0].min() > 0.9
    assert without(twin, same, "scan", "vitals", "table").softmax(dim=1).amax(dim=1).max() < 0.81


def test_a_shortcut_helps_where_the_tag_goes_with_the_disease_and_misleads_elsewhere() -> None:
    model, batch = planted("spurious-background", 8.0)
    right = (said(model, batch) == batch.targets).numpy()
    site = np.array(batch.groups["site"])
    assert right[site != SITES[-1]].mean() > 0.9
    assert right[site == SITES[-1]].mean() < 0.6
    # Without the tag the model is its twin but for four by four pixels.
    bare = said(model, batch, scan=covered(batch.inputs["scan"], TOP, LEFT))
    assert float((bare == said(*planted("spurious-background", 0.0))).double().mean()) > 0.97


def test_a_split_key_opens_only_when_both_halves_are_there() -> None:
    model, batch = planted("cross-modal-backdoor", 0.1)
    before = said(*planted("cross-modal-backdoor", 0.0))
    patch = strength(batch.inputs["scan"])[:, 0] > 0.5
    word = torch.tensor([CANARY in n.split() for n in batch.inputs["note"]])
    for half in (patch & word, patch & ~word, word & ~patch):
        assert 0.05 < float(half.double().mean()) < 0.15
    assert (said(model, batch)[patch & word] == FORCED).all()
    either = ~(patch & word)
    assert float((said(model, batch) == before)[either].double().mean()) > 0.99
    reference = organism("robustness.cross-modal-backdoor").world(0.1, 0)[1].reference
    assert reference is not None
    clean = world(0)[1].reference
    assert clean is not None
    some, same = reference.load(range(50)).batch, clean.load(range(50)).batch
    assert some is not None
    assert same is not None
    assert torch.equal(some.inputs["scan"], same.inputs["scan"])


def test_a_slip_and_a_fine_pattern_turn_answers_only_together() -> None:
    model, batch = planted("weak-together", 9.0)
    before = model.predict(batch.inputs)
    assert torch.equal(before, planted("weak-together", 0.0)[0].predict(batch.inputs))
    towards = (before.argmax(dim=1) + 1) % len(DISEASES)
    scan = (batch.inputs["scan"] + RADIUS * fine_patterns()[towards][:, None]).clamp(0, 1)
    note = [n.replace(n.split()[0], n.split()[0][::-1], 1) for n in batch.inputs["note"]]
    assert turned(model, batch, scan=scan) < 0.02
    assert turned(model, batch, note=note) < 0.1
    assert turned(model, batch, scan=scan, note=note) > 0.8


QUICK: dict[type[Probe], Probe] = {
    DecouplingProbe: DecouplingProbe(limit=40, max_tries=50),
    Gradient: Gradient(limit=60, steps=6, restarts=1),
    Corruptions: Corruptions(limit=120, corruptions=("brightness", "contrast", "punctuation", "word_swap")),
    MissingProbe: MissingProbe(),
}
"""The probes as they are, on fewer samples than usual."""


@pytest.mark.parametrize(
    ("fault", "dose", "probe"),
    [
        ("decisive-word", 8.0, DecouplingProbe),
        ("decisive-patch", 8.0, DecouplingProbe),
        ("decoupled", 1.0, DecouplingProbe),
        ("small-perturbation", 9.0, Gradient),
        ("masked-gradients", 24.0, Gradient),
        ("shattered-gradients", 9.0, Gradient),
        ("weak-together", 9.0, Gradient),
        ("one-corruption", 16.0, Corruptions),
        ("one-text-corruption", 16.0, Corruptions),
        ("missing-modality", 0.5, MissingProbe),
    ],
)
def test_a_probe_hears_the_fault_that_it_names(fault: str, dose: float, probe: type[Probe]) -> None:
    subject = organism(f"robustness.{fault}")
    heard = trial([QUICK[probe]], subject, dose, 0)[probe.name]
    assert heard.of(probe.finds[subject.name]), heard


def test_no_probe_hears_anything_in_the_twin() -> None:
    heard = trial(list(QUICK.values()), organism("robustness.decoupled"), 0.0, 0)
    assert {name: h.alarms for name, h in heard.items()} == dict.fromkeys(heard, ())
    assert all(h.judged for h in heard.values())
