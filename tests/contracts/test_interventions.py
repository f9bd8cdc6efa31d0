"""The contract of an intervention finds those that break it, and lets those pass that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from muroan import checks
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.intervention import Arrived, Intervention
from muroan.randomness import normal


@dataclass(frozen=True)
class Noise(Intervention):
    """Normal noise on a table; a fault is what a subclass does otherwise."""

    name = "noise"
    does = "Adds noise to a table."

    severity: int = 0

    @property
    def condition(self) -> str:
        return f"noise {self.severity}"

    def draws(self, clean: Clean) -> Tensor:
        return torch.from_numpy(normal(clean.keys("noise"), 2)).float()

    def changed(self, clean: Clean) -> Tensor:
        values = clean.batch.inputs["labs"]
        assert isinstance(values, Tensor)
        return values + self.severity * self.draws(clean)

    def arrives(self, clean: Clean) -> Arrived:
        codes = clean.model.encode("labs", self.changed(clean))
        index = {**clean.index, "labs": torch.arange(len(clean))}
        here = clean.batch.present
        return Arrived({**clean.codes, "labs": codes}, index, here, here.get("labs"))

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Intervention]:
        return [replace(self, severity=k) for k in (1, 2)]

    def nothing(self) -> Intervention:
        return replace(self, severity=0)


class Unnamed(Noise):
    condition = property(lambda self: "noise")  # type: ignore[assignment]


class NeverNothing(Noise):
    def changed(self, clean: Clean) -> Tensor:
        return super().changed(clean) + 1


class Positioned(Noise):
    def draws(self, clean: Clean) -> Tensor:
        return torch.from_numpy(np.random.default_rng(0).normal(size=(len(clean), 2))).float()


class Restless(Noise):
    def draws(self, clean: Clean) -> Tensor:
        return torch.rand(len(clean), 2)


class Writes(Noise):
    def changed(self, clean: Clean) -> Tensor:
        values = clean.batch.inputs["labs"]
        assert isinstance(values, Tensor)
        return values.add_(self.severity)


class Idle(Noise):
    def changed(self, clean: Clean) -> Tensor:
        return replace(self, severity=0).draws(clean) * 0 + clean.batch.inputs["labs"]  # type: ignore[operator]


class Nowhere(Noise):
    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Intervention]:
        return []


def broken(change: Intervention) -> set[str]:
    def breaks(check: Callable[[], None]) -> bool:
        try:
            check()
        except AssertionError:
            return True
        return False

    return {check.name for check in checks.of(change) if breaks(check)}


def test_one_that_keeps_its_promises_breaks_none() -> None:
    assert broken(Noise()) == set()


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (Unnamed(), "different_ones_have_different_names"),
        (NeverNothing(), "of_no_size_changes_nothing"),
        (Positioned(), "the_same_alone_and_in_any_order"),
        (Restless(), "the_same_alone_and_in_any_order"),
        (Writes(), "input_is_not_written_to"),
        (Idle(), "whom_it_is_not_done_to_keeps_the_answer"),
        (Nowhere(), "says_what_it_is"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_a_broken_promise_is_found(change: Intervention, promise: str) -> None:
    assert promise in broken(change)
