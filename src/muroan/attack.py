"""An attack: within a budget per modality, change a batch so that the model's decision changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.meter import Metered
from muroan.model import Capability


@dataclass(frozen=True)
class Attacked:
    """What an attack made of N samples.

    batch: the changed inputs, unchanged where the attack failed to improve on them; success [N]: the model's
    decision on `batch` differs from the one the attack started from; logits [N, K] on `batch`; trace: anything
    per sample that explains the result (steps to success, share erased per modality), each [N, ...].
    """

    batch: Batch
    success: Tensor
    logits: Tensor
    trace: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Subclasses are frozen dataclasses whose fields are settings, registered with `@register`.

    The promises that `muroan.checks` tests: in budget per modality; the same seed gives the same result, alone
    or in a batch; a zero budget changes nothing; the input batch is not written to; every model call is
    counted; success does not fall as the budget grows.
    """

    name: ClassVar[str]
    place: ClassVar[str] = "robustness/adversarial"
    source: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset()

    @abstractmethod
    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        """Attack every sample within `budgets`; modalities without a budget are left alone."""
