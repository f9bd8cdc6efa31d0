"""The promises of an attack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget
from muroan.checks.bed import MODALITIES, SIDE, model_for, planted
from muroan.meter import Metered
from muroan.modality import Text, Value, differ
from muroan.model import Capability, Code

N = 24
STEPS = 40
"""Steps that attacks with more of them are given here."""


def _batch() -> Batch:
    return planted().audited.first(N)


def _budgets(factor: float = 1.0) -> dict[str, Budget]:
    picture, text = Budget(radius=0.1, share=0.3), Budget(words=2, share=0.5)
    full = {"image": picture, "text": text, "table": Budget(radius=0.3, share=0.5)}
    return {m: b.scaled(factor) for m, b in full.items()}


def _ready(attack: Attack) -> Attack:
    """The attack with a target where it asks for one, and no more steps than show what it does."""
    settings = {f.name for f in fields(attack)}
    if "target" in settings and getattr(attack, "target", None) is None:
        bright = torch.full((3, SIDE, SIDE), 0.5)
        bright[..., : SIDE // 2] = 0.75
        attack = replace(attack, target=bright)  # type: ignore[call-arg]
    if getattr(attack, "steps", 0) > STEPS:
        attack = replace(attack, steps=STEPS)  # type: ignore[call-arg]
    return attack


def _model(attack: Attack) -> Metered:
    return Metered(model_for(attack.needs), MODALITIES)


def _run(attack: Attack, budgets: Mapping[str, Budget], batch: Batch | None = None, seed: int = 0) -> Attacked:
    return _ready(attack).run(_model(attack), batch if batch is not None else _batch(), budgets, seed=seed)


def _equal(a: Batch, b: Batch) -> bool:
    return not any(bool(differ(v, b.inputs[m]).any()) for m, v in a.inputs.items())


def zero_budget_changes_nothing(attack: Attack) -> None:
    batch = _batch()
    for budgets in ({}, {m: Budget() for m in MODALITIES}):
        done = _run(attack, budgets, batch)
        assert _equal(done.batch, batch), "inputs changed without a budget"
        assert not bool(done.success.any()), "success without a budget"


def same_seed_same_result(attack: Attack) -> None:
    a, b = _run(attack, _budgets(), seed=3), _run(attack, _budgets(), seed=3)
    assert _equal(a.batch, b.batch), "another input"
    assert torch.equal(a.success, b.success), "another success"


def alone_as_in_a_batch(attack: Attack) -> None:
    batch = _batch()
    together = _run(attack, _budgets(), batch)
    alone = [_run(attack, _budgets(), batch.take([i])) for i in range(8)]
    assert [bool(a.success[0]) for a in alone] == together.success[:8].tolist(), "success depends on the batch"


def input_is_not_written_to(attack: Attack) -> None:
    batch, untouched = _batch(), _batch()
    _run(attack, _budgets(), batch)
    assert _equal(batch, untouched), "the attack wrote into its input"


def stays_in_budget(attack: Attack) -> None:
    batch = _batch()
    for factor in (0.25, 1.0):
        budgets = _budgets(factor)
        changed = _run(attack, budgets, batch).batch
        for m, modality in MODALITIES.items():
            a, b, budget = batch.inputs[m], changed.inputs[m], budgets[m]
            if isinstance(modality, Text):
                for old, new in zip(a, b, strict=True):
                    allowed = max(budget.words, int(budget.share * len(old.split()) + 1e-9))
                    n = _words_changed(old, new)
                    assert n <= allowed, f"{m}: {n} words changed in {old!r} -> {new!r}, allowed {allowed}"
                continue
            moved = (modality.distance(a, b, budget.p) > budget.radius + 1e-6).nonzero().flatten()
            points = (a != b).flatten(1) if a.ndim == 2 else (a != b).any(dim=1).flatten(1)
            share = points.float().mean(dim=1)
            for i in moved.tolist():
                assert share[i] <= budget.share + 1e-6, f"{m}: sample {i} left both its radius and its share"
            assert b.min() >= modality.low, f"{m}: below the valid range"
            assert b.max() <= modality.high, f"{m}: above the valid range"


def _words_changed(old: str, new: str) -> int:
    """Fewest words replaced, removed or inserted that turn one text into the other."""
    a, b = old.split(), new.split()
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def every_call_is_counted(attack: Attack) -> None:
    """The meter's rows agree with what the model itself was asked."""
    model, asked = model_for(attack.needs), Counter[str]()
    encode, decide = model.encode, model.decide

    def encoding(modality: str, values: Value) -> Code:
        asked[modality] += len(values)
        return encode(modality, values)

    def deciding(fused: Tensor) -> Tensor:
        asked["decide"] += len(fused)
        return decide(fused)

    model.encode, model.decide = encoding, deciding  # type: ignore[method-assign]
    metered = Metered(model, MODALITIES)
    _ready(attack).run(metered, _batch(), _budgets())
    counts = Counter(metered.meter.counts)
    decided, made = sum(counts[k] for k in ("fuse", "predict", "forward for gradients")), asked["decide"]
    assert decided == made, f"the meter has {decided} decisions, the model made {made}"
    if attack.needs >= {Capability.ALIGNED}:  # codes alone say something there, so their passes are the cost
        for m in model.modalities:
            met = counts[f"encode {m}"] + counts[f"encode {m} for gradients"]
            assert met == asked[m], f"the meter has {met} codes of {m}, the model made {asked[m]}"


def success_is_real_and_grows_with_the_budget(attack: Attack) -> None:
    """What is called a success changes the decision when the changed inputs are put to the model again."""
    batch = _batch()
    model = _model(attack)
    before = model.of(batch).argmax(dim=1)
    shares = []
    for factor in (0.25, 0.5, 1.0):
        done = _run(attack, _budgets(factor), batch)
        flipped = model.of(done.batch).argmax(dim=1) != before
        assert torch.equal(flipped & done.success, done.success), "a success that does not change the decision"
        shares.append(int(done.success.sum()))
    assert shares == sorted(shares), f"success falls as the budget grows: {shares}"
    assert shares[-1] > 0, "no success at all on a model that is easy to fool"
