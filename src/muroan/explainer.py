"""An explainer: how much each modality, and each part of it, speaks for the decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from muroan.clean import Clean
from muroan.model import Capability


@dataclass(frozen=True)
class Attribution:
    """N samples explained towards the class in `explained` [N].

    modalities[m]: [N], what the modality adds to the explained score; interaction: [N] or None, what no
    modality adds alone. parts[m]: (boxes [N, P, 2·axes], values [N, P]), 0 on padding.
    """

    explained: Tensor
    modalities: Mapping[str, Tensor] = field(default_factory=dict)
    interaction: Tensor | None = None
    parts: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Explainer(ABC):
    """Subclasses are frozen dataclasses whose fields are settings, registered with `@register`.

    The promises that `muroan.checks` tests: a modality that the model ignores gets zero; another model gets
    another explanation; removing what is ranked first hurts more than removing at random.
    """

    name: ClassVar[str]
    place: ClassVar[str] = "controllability/explainability"
    source: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES})

    @abstractmethod
    def explain(self, clean: Clean) -> Attribution:
        """Explain the model's own decision on every sample of the batch."""
