"""N samples that travel together: inputs per modality, which are present, targets, groups, ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from muroan.modality import Modality, Value, concatenate, take, where
from muroan.randomness import Words


@dataclass(frozen=True)
class Schema:
    """What every batch of a data set looks like.

    modalities: name -> kind of input; classes: the labels in target order; groups: name -> its values;
    cluster: what samples share that makes them dependent ("image", "patient"), or None if nothing does.
    Intervals resample clusters, not samples, where there are any.
    """

    modalities: Mapping[str, Modality]
    classes: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cluster: str | None = None


@dataclass(frozen=True)
class Batch:
    """inputs[m]: value of N samples; targets long [N]; ids: N distinct strings.

    present[m]: bool [N], false where the source has no value; the input there already is the neutral one.
    groups[g]: N strings ("" where unknown). clusters: N strings, equal for dependent samples.
    keys[m]: optional long [N], equal for rows that hold the very same value, so that it is encoded once.
    contents[m]: optional, values and their keys [N, 2] (`muroan.content`), so that they are not read again; they count
    for nothing once inputs[m] are others.
    """

    modalities: Mapping[str, Modality]
    inputs: Mapping[str, Value]
    targets: Tensor
    ids: Sequence[str]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    clusters: Sequence[str] | None = None
    present: Mapping[str, Tensor] = field(default_factory=dict)
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    contents: Mapping[str, tuple[Value, Words]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int] | Tensor) -> Batch:
        """The samples at `index`, in that order."""
        picks = [int(i) for i in index]
        at = torch.tensor(picks, dtype=torch.long)
        inputs = {m: take(v, at) for m, v in self.inputs.items()}
        known = {m: k for m in inputs if (k := self._contents(m)) is not None}
        return replace(
            self,
            inputs=inputs,
            targets=self.targets[at],
            ids=[self.ids[i] for i in picks],
            groups={g: [v[i] for i in picks] for g, v in self.groups.items()},
            clusters=None if self.clusters is None else [self.clusters[i] for i in picks],
            present={m: v[at] for m, v in self.present.items()},
            keys={m: v[at] for m, v in self.keys.items()},
            contents={m: (inputs[m], k[picks]) for m, k in known.items()},
        )

    def with_inputs(self, **changed: Value) -> Batch:
        """The same samples with some inputs replaced (their keys no longer hold)."""
        return replace(
            self,
            inputs={**self.inputs, **changed},
            keys={m: k for m, k in self.keys.items() if m not in changed},
        )

    def if_there(self, modality: str, value: Value) -> Value:
        """The value of a modality where the samples have it; where they do not, what stands there already."""
        here = self.present.get(modality)
        return value if here is None else where(here, value, self.inputs[modality])

    def without(self, *missing: str) -> Batch:
        """The same samples with these modalities missing: neutral input, `present` false."""
        gone = torch.zeros(len(self), dtype=torch.bool)
        out = self.with_inputs(**{m: self.modalities[m].neutral(self.inputs[m]) for m in missing})
        # All rows of a missing modality are alike where its neutral value has one size for all.
        return replace(out, present={**self.present, **dict.fromkeys(missing, gone)})

    def has(self, *modalities: str) -> Tensor:
        """Which samples have all of these inputs, bool [N]."""
        everyone = torch.ones(len(self), dtype=torch.bool)
        return torch.stack([everyone, *(self.present.get(m, everyone) for m in modalities)]).all(dim=0)

    def unique(self, modality: str) -> tuple[Value, Tensor]:
        """(distinct values, index [N]) with values[index] == inputs[modality]; all rows if no keys are known."""
        if modality not in self.keys:
            return self.inputs[modality], torch.arange(len(self))
        first, inverse = self._first(modality)
        return take(self.inputs[modality], first), inverse

    def unique_contents(self, modality: str) -> Words | None:
        """The keys [D, 2] of the values that `unique` gives, where they are known."""
        known = self._contents(modality)
        if known is None or modality not in self.keys:
            return known
        distinct: Words = known[self._first(modality)[0].numpy()]
        return distinct

    def knowing(self, contents: Mapping[str, Words]) -> Batch:
        """The same batch with the keys [N, 2] of what its inputs hold."""
        return replace(self, contents={m: (self.inputs[m], k) for m, k in contents.items()})

    def _contents(self, modality: str) -> Words | None:
        values, keys = self.contents.get(modality, (None, None))
        return keys if values is self.inputs[modality] else None

    def _first(self, modality: str) -> tuple[Tensor, Tensor]:
        """(the first row that holds each distinct value [D], which one each row holds [N])."""
        _, inverse = torch.unique(self.keys[modality], return_inverse=True)
        first = torch.full((int(inverse.max()) + 1 if len(self) else 0,), len(self), dtype=torch.long)
        return first.scatter_reduce(0, inverse, torch.arange(len(self)), reduce="amin"), inverse

    @staticmethod
    def concat(batches: Sequence[Batch]) -> Batch:
        """Batches of one schema, one after another."""
        head = batches[0]
        # A batch says nothing about a modality that all of its samples have.
        partial = sorted({m for b in batches for m in b.present})
        return Batch(
            modalities=head.modalities,
            inputs={m: concatenate([b.inputs[m] for b in batches]) for m in head.inputs},
            targets=torch.cat([b.targets for b in batches]),
            ids=[i for b in batches for i in b.ids],
            groups={g: [v for b in batches for v in b.groups[g]] for g in head.groups},
            clusters=None if head.clusters is None else [c for b in batches for c in b.clusters or ()],
            present={
                m: torch.cat([b.present.get(m, torch.ones(len(b), dtype=torch.bool)) for b in batches]) for m in partial
            },
            keys={m: torch.cat([b.keys[m] for b in batches]) for m in head.keys if all(m in b.keys for b in batches)},
        )
