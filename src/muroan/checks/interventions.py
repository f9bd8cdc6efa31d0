"""The promises of an intervention, on a world that has inputs of every kind, some of them missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.data.memory import InMemory
from muroan.intervention import Intervention, Outcome, outcome
from muroan.meter import Codes, Metered
from muroan.modality import Audio, Image, Modality, Series, Tabular, Text, Value
from muroan.model import Model, TorchModel

N = 24
ALONE = 5
"""Samples that are looked at alone."""
KINDS: dict[str, Modality] = {
    "picture": Image(size=(8, 8)),
    "note": Text(lexicon=(("warm", ("hot",)), ("cold", ("chilly",)))),
    "sound": Audio(rate=16, length=64),
    "watch": Series(length=20, channels=("a", "b")),
    "labs": Tabular(columns=("c", "d"), fill=(0.0, 0.0)),
}


@cache
def _data(name: str) -> InMemory:
    """Random values of six people, four samples each, one of which lacks an input."""
    rng = np.random.default_rng([N, *name.encode()])
    whole = {
        "picture": list(rng.uniform(0, 1, (N, 3, 8, 8)).astype(np.float32)),
        "note": [f"the {w} day was {v}" for w, v in zip(rng.choice(["warm", "cold"], N), range(N), strict=True)],
        "sound": list(rng.uniform(-1, 1, (N, 64)).astype(np.float32)),
        "watch": list(rng.normal(0, 1, (N, 20, 2)).astype(np.float32)),
        "labs": list(rng.normal(0, 1, (N, 2)).astype(np.float32)),
    }
    inputs = {m: [None if i % 20 == 4 * k else v for i, v in enumerate(of)] for k, (m, of) in enumerate(whole.items())}
    return InMemory(
        inputs,
        targets=[i % 3 for i in range(N)],
        modalities=KINDS,
        classes=("a", "b", "c"),
        groups={"who": [str(i // 4) for i in range(N)]},
        clusters=[f"{name} {i // 2}" for i in range(N)],
        ids=[f"{name} {i}" for i in range(N)],
        name=f"every kind of input ({name})",
    )


def _letters(texts: list[str]) -> Tensor:
    return torch.tensor([[t.count(c) for c in "eaw"] for t in texts], dtype=torch.float32).view(-1, 3)


def _seen_by(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1) @ weights


@cache
def _model() -> Model:
    """Adds up what it sees: any change of an input changes its scores."""
    g = torch.Generator().manual_seed(0)
    sizes = {"picture": 192, "sound": 64, "watch": 40, "labs": 2}
    return TorchModel(
        encoders={"note": _letters} | {m: _seen_by(torch.randn(n, 3, generator=g)) for m, n in sizes.items()},
        fusion=lambda codes: sum(codes[m] for m in KINDS),
        head=lambda z: z,
        classes=("a", "b", "c"),
    )


def _clean(index: list[int] | None = None) -> Clean:
    batch = _data("audited").first(N)
    return Clean.observe(Metered(_model(), KINDS), batch if index is None else batch.take(index), seed=3)


def _cases(change: Intervention, clean: Clean) -> list[Intervention]:
    cases = list(change.cases(clean, _data("reference")))
    assert cases, "it cannot be asked for of inputs of any kind"
    return cases


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-4)


def says_what_it_is(change: Intervention) -> None:
    """A name, one sentence, settings that do not change under it, and the standard columns in its rows."""
    assert re.fullmatch(r"[a-z0-9_]+", change.name), f"name {change.name!r} is no word"
    assert change.does.endswith("."), "`does` is no sentence"
    assert is_dataclass(change), "it is no dataclass"
    frozen = type(change).__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert frozen, "it can be changed after it was named: make it a frozen dataclass"
    clean = _clean()
    for case in _cases(change, clean):
        rows = outcome(clean, case).rows()
        assert rows["sample"].to_list() == list(clean.batch.ids), f"{case.condition}: not one row a sample, in order"
        assert set(rows["condition"]) == {case.condition}, f"{case.condition}: rows do not bear its name"


def different_ones_have_different_names(change: Intervention) -> None:
    names = [case.condition for case in _cases(change, _clean())]
    assert all(names), "a condition has no name"
    twice = sorted({n for n in names if names.count(n) > 1})
    assert not twice, f"several are named {twice}"


def of_no_size_changes_nothing(change: Intervention) -> None:
    """Severity 0, nothing taken away; also severity 0 of each that has one."""
    clean = _clean()
    cases: list[Any] = _cases(change, clean)
    none = [case.nothing() for case in cases]
    if any(f.name == "severity" for f in fields(change)):
        none += [replace(case, severity=0) for case in cases]
    for nothing in none:
        if nothing is not None:
            after = outcome(clean, nothing).logits
            assert _close(after, clean.logits), f"{nothing.condition}: of no size, and it changes answers"


def whom_it_is_not_done_to_keeps_the_answer(change: Intervention) -> None:
    clean = _clean()
    changes = False
    for case in _cases(change, clean):
        came = outcome(clean, case)
        assert torch.equal(came.logits[~came.done], clean.logits[~came.done]), f"{case.condition}: another answer"
        changes |= bool((came.logits != clean.logits).any()) or case == case.nothing()
    assert changes, "it never changes anything"


def the_same_alone_and_in_any_order(change: Intervention) -> None:
    """Draws belong to samples: a sample's row does not depend on what is beside it, nor on its place."""
    clean, turned = _clean(), _clean(list(range(N))[::-1])
    alone = {i: _clean([i]) for i in range(ALONE)}
    for case, same in zip(_cases(change, clean), _cases(change, turned), strict=True):
        together = outcome(clean, case)
        assert _equal(together, outcome(clean, case)), f"{case.condition}: asked again, something else"
        assert _equal(together, outcome(turned, same), list(range(N))[::-1]), f"{case.condition}: the order matters"
        for i, one in alone.items():
            assert _equal(outcome(one, case), together, [i]), f"{case.condition}: sample {i} differs when alone"


def _equal(a: Outcome, b: Outcome, at: list[int] | None = None) -> bool:
    """Whether what became of a's samples is what became of those at `at` of b's."""
    own, other = a.rows(), b.rows() if at is None else b.rows()[at]
    exact = [c for c in own.columns if not own.schema[c].is_float()]
    logits = b.logits if at is None else b.logits[at]
    return own.select(exact).equals(other.select(exact)) and _close(a.logits, logits)


def input_is_not_written_to(change: Intervention) -> None:
    clean = _clean()
    for case in _cases(change, clean):
        before = deepcopy(list(_tensors(clean)))
        outcome(clean, case)
        same = all(torch.equal(a, b) for a, b in zip(before, _tensors(clean), strict=True))
        assert same, f"{case.condition}: it wrote into what it was given"


def _tensors(clean: Clean) -> Iterator[Tensor]:
    """All that an intervention could write into."""
    batch: Batch = clean.batch
    values: list[Value | Codes] = [*batch.inputs.values(), *(c.data for c in clean.codes.values())]
    yield from (v for v in values if isinstance(v, Tensor))
    yield from (batch.targets, clean.logits, *clean.index.values(), *batch.present.values())
