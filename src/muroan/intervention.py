"""A named change of what arrives at a model, and what it makes of it: the one experiment behind most questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.meter import Codes
from muroan.model import Capability


@dataclass(frozen=True)
class Arrived:
    """What arrives under a condition: row i fuses codes[m][index[m][i]] of every modality m.

    present[m] bool [N] where something is absent. done bool [N]: whom it was done to (None: everyone); the others
    keep their clean answer. columns: what else a row should say of it, [N] each.
    """

    codes: Mapping[str, Codes]
    index: Mapping[str, Tensor]
    present: Mapping[str, Tensor] = field(default_factory=dict)
    done: Tensor | None = None
    columns: Mapping[str, object] = field(default_factory=dict)

    def logits(self, clean: Clean) -> Tensor:
        """Answers [N, K]; only those to whom something was done are asked."""
        if self.done is None or bool(self.done.all()):
            return clean.model.logits(self.codes, self.index, self.present or None)
        out, at = clean.logits.clone(), self.done.nonzero().flatten()
        if len(at):
            present = {m: p[at] for m, p in self.present.items()} or None
            out[at] = clean.model.logits(self.codes, {m: i[at] for m, i in self.index.items()}, present)
        return out


@dataclass(frozen=True)
class Intervention(ABC):
    """Subclasses are frozen dataclasses, registered with `@register`; their fields say what is done and how much of it.

        name    the kind: "removal", "swap", "perturbation"
        does    one sentence

    What `muroan.checks` tests: it is named; the same for the same samples, alone or in a batch; severity 0, or taking
    nothing away, changes nothing; it does not write into what it is given; draws belong to samples.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    source: ClassVar[str] = ""

    @property
    @abstractmethod
    def condition(self) -> str:
        """How rows name it: "without image", "image: fog 3". Two that differ have different names."""

    @abstractmethod
    def arrives(self, clean: Clean) -> Arrived:
        """What arrives instead of the clean inputs."""


def outcome(clean: Clean, change: Intervention) -> pl.DataFrame:
    """The rows of one intervention, one a sample, with the standard columns:

    right (1: the answer is right; 0: it is not), same (1: as the clean answer), confidence (null for a model that
    shows none), said (the class answered), done (whether anything was done to the sample).
    """
    arrived = change.arrives(clean)
    logits = arrived.logits(clean)
    chosen = logits.argmax(dim=1)
    scored = Capability.SCORES in clean.model.model.capabilities
    sure = logits.double().softmax(dim=1).amax(dim=1).numpy() if scored else [None] * len(clean)
    classes = clean.model.classes
    return clean.rows(
        change.condition,
        right=(chosen == clean.batch.targets).double(),
        same=(chosen == clean.predicted).double(),
        confidence=pl.Series("confidence", sure, dtype=pl.Float64),
        said=pl.Series("said", [classes[i] for i in chosen.tolist()], dtype=pl.Categorical),
        done=torch.ones(len(clean), dtype=torch.bool) if arrived.done is None else arrived.done,
        **arrived.columns,
    )
