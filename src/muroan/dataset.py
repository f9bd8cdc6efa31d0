"""A sized source of batches with a schema.

A source implements `sample(i)`: one sample's raw values, or `BadSample` with the reason why it is unusable.
`load` does the rest: checks each value, quarantines what is bad with its reason, and stacks what is good.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from muroan.batch import Batch, Schema
from muroan.errors import FOREIGN, AskedWrongly, BadSample, MuroanError, nearest, shown
from muroan.modality import where
from muroan.randomness import sample_keys

OWN_SPLITS = ("audited", "reference", "members")
"""Splits that every audit knows; others have names of their own (`Splits.named`)."""


@dataclass(frozen=True)
class Sample:
    """One sample as its source has it.

    inputs[m]: a raw value that the modality's `check` accepts, or None where the source has none;
    target: a class name or index; keys[m]: equal for samples with the very same value (see `Batch.keys`).
    """

    inputs: Mapping[str, Any]
    target: str | int
    groups: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None
    keys: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Quarantined:
    """A sample that could not be used, where it fell out ("read", or a probe's name) and why."""

    sample: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """The usable samples, in the order asked for (None if there are none), and the others."""

    batch: Batch | None
    quarantined: tuple[Quarantined, ...] = ()


class Dataset(ABC):
    """Subclasses set `name`, `schema` and `ids` (distinct, in order) and implement `sample`."""

    name: str
    schema: Schema
    ids: Sequence[str]

    @abstractmethod
    def sample(self, i: int) -> Sample:
        """The i-th sample; raises `BadSample` if it cannot be read."""

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: Sequence[int]) -> Loaded:
        """The samples at `index`; nothing is dropped in silence."""
        good: list[tuple[str, int, Sample, dict[str, Any], int]] = []
        bad: list[Quarantined] = []
        checked: dict[tuple[str, int], Any] = {}
        for i in index:
            try:
                sample = self.sample(i)
                values: dict[str, Any] = {}
                for m, modality in self.schema.modalities.items():
                    raw, key = sample.inputs.get(m), sample.keys.get(m)
                    if raw is None:
                        values[m] = None
                        continue
                    if key is not None and (m, key) in checked:
                        values[m] = checked[m, key]
                        continue
                    try:
                        values[m] = modality.check(raw)
                    except BadSample as error:
                        raise BadSample(f"{m}: {error}") from error
                    if key is not None:
                        checked[m, key] = values[m]
                if all(v is None for v in values.values()):
                    raise BadSample("no input is present")
                good.append((self.ids[i], i, sample, values, self._target(sample.target)))
            except BadSample as error:
                bad.append(Quarantined(self.ids[i], "read", str(error)))
            except MuroanError:
                raise
            except FOREIGN as error:  # a source is anybody's code; one row it stumbles over is one row
                bad.append(Quarantined(self.ids[i], "read", f"{type(error).__name__}: {shown(str(error), 200)}"))
        if not good:
            return Loaded(None, tuple(bad))
        return Loaded(self._batch(good), tuple(bad))

    def batches(self, rows: int) -> Iterator[Batch]:
        """All that can be read, in order, at most so many samples at a time."""
        for start in range(0, len(self), rows):
            batch = self.load(range(start, min(start + rows, len(self)))).batch
            if batch is not None:
                yield batch

    def first(self, n: int) -> Batch:
        """Those of the first n samples that can be read; raises `AskedWrongly` if none can."""
        batch = self.load(range(min(n, len(self)))).batch
        if batch is None:
            raise AskedWrongly(f"{self.name}: none of the first {min(n, len(self))} samples can be read")
        return batch

    def _target(self, target: str | int) -> int:
        classes = self.schema.classes
        if isinstance(target, str):
            if target not in classes:
                raise BadSample(f"label {shown(target)} is not among the classes. {nearest(target, classes)}")
            return classes.index(target)
        if not 0 <= target < len(classes):
            raise BadSample(f"label {target} is not among the {len(classes)} classes")
        return int(target)

    def _batch(self, good: list[tuple[str, int, Sample, dict[str, Any], int]]) -> Batch:
        inputs, present, keys = {}, {}, {}
        for m, modality in self.schema.modalities.items():
            column = [values[m] for _, _, _, values, _ in good]
            here = torch.tensor([v is not None for v in column])
            # A missing value stands as some other sample's value, then erased: the neutral value has its shape.
            stand_in = next((v for v in column if v is not None), None)
            if stand_in is None:
                stand_in = modality.blank()
            value = modality.collate([stand_in if v is None else v for v in column])
            if not bool(here.all()):
                value = where(here, value, modality.neutral(value))
                present[m] = here
            inputs[m] = value
            found = [s.keys.get(m) for _, _, s, _, _ in good]
            if all(k is not None for k in found) and bool(here.all()):
                keys[m] = torch.tensor(found, dtype=torch.long)
        return Batch(
            modalities=self.schema.modalities,
            inputs=inputs,
            targets=torch.tensor([t for *_, t in good], dtype=torch.long),
            ids=[name for name, *_ in good],
            groups={g: [s.groups.get(g, "") for _, _, s, _, _ in good] for g in self.schema.groups},
            clusters=[str(s.cluster) for _, _, s, _, _ in good] if self.schema.cluster else None,
            present=present,
            keys=keys,
        )

    def clusters(self) -> list[str]:
        """Every sample's cluster, in the order of `ids`; an unreadable sample is a cluster of its own.

        Without `schema.cluster` samples are independent, and each is its own. This reads every sample; a source
        that knows its clusters without reading pictures overrides it.
        """
        if self.schema.cluster is None:
            return list(self.ids)
        found = []
        for i, name in enumerate(self.ids):
            try:
                found.append(str(self.sample(i).cluster))
            except BadSample:
                found.append(name)
            except MuroanError:
                raise
            except FOREIGN:  # as in `load`, which says why
                found.append(name)
        return found

    def fingerprint(self) -> str:
        """A text that changes when the samples do. Sources with contents at hand add them."""
        digest = hashlib.blake2b("\n".join(self.ids).encode(), digest_size=12).hexdigest()
        return f"{self.name}:{len(self)}:{digest}"

    def subset(self, index: Sequence[int], name: str | None = None) -> Dataset:
        """Some of the samples as a data set of their own."""
        return Subset(self, index, name or self.name)


class Subset(Dataset):
    """Some samples of another data set."""

    def __init__(self, source: Dataset, index: Sequence[int], name: str) -> None:
        self.name, self.schema = name, source.schema
        self._source, self._index = source, list(index)
        self.ids = [source.ids[i] for i in self._index]

    def sample(self, i: int) -> Sample:
        return self._source.sample(self._index[i])

    def load(self, index: Sequence[int]) -> Loaded:
        return self._source.load([self._index[i] for i in index])

    def clusters(self) -> list[str]:
        known = self._source.clusters()
        return [known[i] for i in self._index]

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} of {self._source.fingerprint()}"


@dataclass(frozen=True)
class Splits:
    """What an audit reads: the data audited; a reference disjoint from it, on which thresholds, detectors and
    calibrations are fitted; members, a sample of the training data, for privacy questions.

    named: further splits that a method or a probe asks for by name ("forget", "retain", "client-3"). A sample stands in
    one split: who names what is to be forgotten and what is to be kept takes both out of the members.
    """

    audited: Dataset
    reference: Dataset | None = None
    members: Dataset | None = None
    named: Mapping[str, Dataset] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name in self.named:
            if name in OWN_SPLITS or not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
                raise AskedWrongly(
                    f"{shown(name)} is no name of a split: small letters, digits and hyphens, and none of "
                    f"{', '.join(OWN_SPLITS)}"
                )

    def items(self) -> list[tuple[str, Dataset]]:
        """(name, data) of every split that there is: the audit's own, then those that have names."""
        own = zip(OWN_SPLITS, (self.audited, self.reference, self.members), strict=True)
        return [(n, d) for n, d in own if d is not None] + sorted(self.named.items())

    def get(self, name: str) -> Dataset | None:
        """A split by its name; None where there is none."""
        return dict(self.items()).get(name)

    def having(self, more: Mapping[str, Dataset]) -> Splits:
        """The same with these splits, in the place of those of the same names."""
        own = {n: d for n, d in more.items() if n in OWN_SPLITS}
        return replace(self, **own, named={**self.named, **{n: d for n, d in more.items() if n not in own}})

    def check(self) -> None:
        """Raises `AskedWrongly` if two splits share a sample, or the reference shares a cluster with the data audited:
        nothing is scored where it was fitted."""
        seen: dict[str, str] = {}
        for name, data in self.items():
            for i in data.ids:
                if seen.setdefault(i, name) != name:
                    raise AskedWrongly(f"sample {i!r} is both {seen[i]} and {name}; the splits must be disjoint")
        if self.reference is None or self.audited.schema.cluster is None:
            return
        # Sources that would have to read every sample to know its cluster are taken at their word.
        if all(type(d).clusters is not Dataset.clusters for d in (self.audited, self.reference)):
            shared = set(self.audited.clusters()) & set(self.reference.clusters())
            if shared:
                raise AskedWrongly(
                    f"{len(shared)} {self.audited.schema.cluster}s are in both the data audited and the reference "
                    f"({min(shared)!r}, for one); what is fitted on them is not scored on others"
                )


def split_off(data: Dataset, share: float, seed: int) -> Splits:
    """A reference of about `share` of the clusters (samples, where there are none), drawn by `seed`.

    Which clusters are drawn depends on their names alone, not on the order of the samples. share 0: no reference.
    """
    if not 0 <= share < 1:
        raise AskedWrongly(f"the reference's share is {share}; it must be at least 0 and below 1")
    if share == 0:
        return Splits(data)
    by = data.clusters()
    names = sorted(set(by))
    drawn = int(len(names) * share)
    if drawn == 0:
        raise AskedWrongly(
            f"{data.name} has {len(names)} {data.schema.cluster or 'sample'}s, too few to split {share:g} of them "
            "off as a reference; name a reference, or ask for a larger share"
        )
    order = dict(zip(names, sample_keys(names, "split off", seed).tolist(), strict=True))
    cut = sorted(order.values())[drawn]
    reference = [i for i, b in enumerate(by) if order[b] < cut]
    audited = [i for i, b in enumerate(by) if order[b] >= cut]
    return Splits(data.subset(audited, data.name), data.subset(reference, f"{data.name} (reference)"))
