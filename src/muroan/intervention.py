"""A named change of what arrives at a model, and what it makes of it: the one experiment behind most questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import polars as pl
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.meter import Codes


@dataclass(frozen=True)
class Arrived:
    """What arrives under a condition: row i fuses codes[m][index[m][i]] of every modality m.

    present[m] bool [N] where something is absent. done bool [N]: whom it was done to (None: everyone); the others
    keep their clean answer. targets [N]: the right answers, where they are others now. columns: what else a row should
    say of it, [N] each.
    """

    codes: Mapping[str, Codes]
    index: Mapping[str, Tensor]
    present: Mapping[str, Tensor] = field(default_factory=dict)
    done: Tensor | None = None
    targets: Tensor | None = None
    columns: Mapping[str, object] = field(default_factory=dict)

    def logits(self, clean: Clean) -> Tensor:
        """Answers [N, K]; only those to whom something was done are asked."""
        if self.done is None or bool(self.done.all()):
            return clean.model.logits(self.codes, self.index, self.present or None)
        answers, at = clean.logits.clone(), self.done.nonzero().flatten()
        if len(at):
            present = {m: p[at] for m, p in self.present.items()} or None
            answers[at] = clean.model.logits(self.codes, {m: i[at] for m, i in self.index.items()}, present)
        return answers


@dataclass(frozen=True)
class Intervention(ABC):
    """Subclasses are frozen dataclasses, registered with `@register`; their fields say what is done and how much of it,
    and all have defaults.

        name    the kind: "removal", "other_class"
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

    def cases(self, clean: Clean, reference: Dataset) -> Iterable[Intervention]:
        """What it can be asked for of these inputs, at every size that it has; none where it fits none of them."""
        return [self]

    def nothing(self) -> Intervention | None:
        """The same of no size (severity 0, nothing taken away), which changes nothing; None where it has no size."""
        return None


@dataclass(frozen=True)
class Outcome:
    """What a model answers to the samples of a clean pass under an intervention: logits [N, K]."""

    clean: Clean
    change: Intervention
    arrived: Arrived
    logits: Tensor

    @cached_property
    def predicted(self) -> Tensor:
        """Class indices, long [N]."""
        return self.logits.argmax(dim=1)

    @cached_property
    def right(self) -> Tensor:
        """bool [N]."""
        targets = self.arrived.targets
        return self.predicted == (self.clean.batch.targets if targets is None else targets)

    @cached_property
    def done(self) -> Tensor:
        """Whether anything was done to a sample, bool [N]."""
        everyone = torch.ones(len(self.clean), dtype=torch.bool)
        return everyone if self.arrived.done is None else self.arrived.done

    def rows(self, **columns: Any) -> pl.DataFrame:
        """Evidence, one row a sample, with the columns given and the standard ones:

        right (1: the answer is right; 0: it is not), same (1: as the clean answer), confidence (null for a model that
        shows none), said (the class answered), done (whether anything was done to the sample).
        """
        classes = self.clean.model.classes
        return self.clean.rows(
            self.change.condition,
            right=self.right.double(),
            same=(self.predicted == self.clean.predicted).double(),
            confidence=self.clean.confidence(self.logits),
            said=pl.Series([classes[i] for i in self.predicted.tolist()], dtype=pl.Categorical),
            done=self.done,
            **self.arrived.columns,
            **columns,
        )


def outcome(clean: Clean, change: Intervention) -> Outcome:
    """What becomes of the samples of a clean pass."""
    arrived = change.arrives(clean)
    return Outcome(clean, change, arrived, arrived.logits(clean))
