"""Training on changed inputs: what is changed, for whom, and what it is good for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from muroan import Audio, Splits, checks
from muroan.batch import Batch
from muroan.checks.bed import planted
from muroan.checks.trainable import TrainableNet, trainable_for
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.losses import task_loss
from muroan.mitigations.corruption_training import CorruptionTraining
from muroan.training import Trainer

METHOD = CorruptionTraining()


@pytest.mark.parametrize("check", checks.of(METHOD), ids=lambda c: getattr(c, "__name__", str(c)))
def test_the_promises_of_a_mitigation(check: Callable[[], None]) -> None:
    check()


def batch(n: int = 160) -> Batch:
    found = planted().audited.load(range(n)).batch
    assert found is not None
    return found


def changed(method: CorruptionTraining, of: Batch, m: str = "image", *purpose: object) -> torch.Tensor:
    """Which samples' inputs are changed [N]."""
    new = method.corrupted(of, m, method.chosen(of.modalities[m]), *purpose)
    if isinstance(new, list):
        return torch.tensor([a != b for a, b in zip(new, of.inputs[m], strict=True)])
    return (new != of.inputs[m]).flatten(1).any(dim=1)


def test_about_the_share_of_samples_is_changed_and_others_are_left_alone() -> None:
    hit = changed(CorruptionTraining(share=0.5), batch())
    assert 0.35 < hit.float().mean() < 0.65
    everyone = changed(CorruptionTraining(share=1.0), batch(), "text")
    assert everyone.float().mean() > 0.9  # a swap of equal words changes nothing
    assert not torch.equal(hit, changed(CorruptionTraining(share=0.5), batch(), "image", "another step"))


def test_what_happens_to_a_sample_does_not_depend_on_its_batch() -> None:
    whole = batch(60)
    for m in ("image", "text", "table"):
        rows = METHOD.chosen(whole.modalities[m])
        together, alone = METHOD.corrupted(whole, m, rows, 3), METHOD.corrupted(whole.take([17, 4]), m, rows, 3)
        for i, k in enumerate((17, 4)):
            same = alone[i] == together[k]
            assert bool(same if isinstance(same, bool) else same.all())


def test_every_perturbation_is_drawn_and_only_those_asked_for() -> None:
    image = batch().modalities["image"]
    assert {p.family for p in CorruptionTraining(families=("blur",)).chosen(image)} == {"blur"}
    assert [p.name for p in CorruptionTraining(corruptions=("fog",)).chosen(image)] == ["fog"]
    assert not CorruptionTraining(families=("character",)).chosen(image)
    assert all(p.wants is None for p in METHOD.chosen(image))
    seen: set[str] = set()

    def spy(name: str) -> Callable[..., torch.Tensor]:
        def change(x: torch.Tensor, *rest: object) -> torch.Tensor:
            seen.add(name)
            return x

        return change

    from dataclasses import replace

    rows = tuple(replace(p, change=spy(p.name)) for p in METHOD.chosen(image))
    METHOD.corrupted(batch(), "image", rows, 0)
    assert seen == {p.name for p in rows}


def test_an_absent_input_stays_absent() -> None:
    of = batch(40).without("image")
    assert not changed(CorruptionTraining(share=1.0), of).any()


def test_it_says_where_it_does_not_apply() -> None:
    model, data = TrainableNet(), planted()
    assert METHOD.why_not(model, data) is None
    why = CorruptionTraining(corruptions=("fog",), modalities=("text",)).why_not(model, data)
    assert why is not None
    assert "no perturbation" in why
    assert "train" in (METHOD.why_not(model, Splits(data.audited)) or "")
    with pytest.raises(AskedWrongly):
        CorruptionTraining(modalities=("sound",)).why_not(model, data)


@pytest.mark.parametrize(
    "settings",
    [{"share": 0.0}, {"share": 1.5}, {"severities": (6,)}, {"families": ("blurr",)}, {"corruptions": ("x",)}],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(AskedWrongly):
        CorruptionTraining(**settings)  # type: ignore[arg-type]


def test_it_helps_against_corruptions_that_it_saw_more_than_as_much_plain_training() -> None:
    """A lost clue reads as "yes": who never saw that trusts it, who did trusts ten weak clues beside it."""
    from muroan import Tabular, TorchModel

    rng = np.random.default_rng(0)

    def part(n: int, name: str) -> InMemory:
        y = rng.integers(0, 2, n)
        strong = (2 * y - 1)[:, None] * 3.0
        weak = (2 * y - 1)[:, None] + rng.normal(0, 1.0, (n, 10))
        rows = np.concatenate([strong, weak], axis=1).astype(np.float32)
        columns = tuple(f"c{k}" for k in range(11))
        return InMemory(
            {"table": rows, "other": np.zeros((n, 1), dtype=np.float32)},
            targets=y,
            modalities={"table": Tabular(columns=columns, fill=(9.0,) + (0.0,) * 10), "other": Tabular(columns=("o",))},
            classes=["no", "yes"],
            ids=[f"{name} {i}" for i in range(n)],
        )

    members, test = part(400, "member"), part(400, "test")
    clean = test.load(range(400)).batch
    assert clean is not None
    judge = CorruptionTraining(corruptions=("dropout",), severities=(5,), share=1.0)
    lossy = clean.with_inputs(
        table=judge.corrupted(clean, "table", judge.chosen(clean.modalities["table"]), "the test")
    )

    def after(share: float) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            head = torch.nn.Linear(12, 2)
        model = TorchModel(
            encoders={"table": torch.nn.Identity(), "other": torch.nn.Identity()},
            fusion=lambda codes: torch.cat([codes["table"], codes["other"]], dim=1),
            head=head,
            classes=["no", "yes"],
        )
        method = CorruptionTraining(corruptions=("dropout",), share=share, epochs=20, rate=0.05)
        method.apply(model, Splits(test, members=members), Trainer(), seed=0)
        with torch.no_grad():
            return float(task_loss(model, lossy))

    assert after(1.0) < 0.7 * after(1e-12)  # the same training without the idea


def test_sound_has_rows_too() -> None:
    assert METHOD.chosen(Audio(rate=8000, length=800))
    assert trainable_for(METHOD.needs).modalities == ("image", "text", "table")
