"""Whether a question gets the same answer however it is put."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from muroan.batch import Batch, Schema
from muroan.clean import Clean
from muroan.content import digests, distinct
from muroan.errors import AskedWrongly, unknown
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.model import Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.registry import open_function, register
from muroan.robustness.distribution_shift.consistency.findings import NAMED, ConsistencyFindings

CLUSTER = "cluster"
FUNCTION = "python:"


@register
@dataclass(frozen=True, kw_only=True)
class Consistency(Probe):
    """Groups of wordings that the data themselves hold; nothing is generated, and nothing but the clean pass is asked.

    - disagreement: how probably two wordings of one question get different answers, on average over groups. Needs no
      labels, and does not depend on how many wordings there are; a model that errs on a question whichever way it is
      put has 0. The alarm: beyond one pair in ten what users are told depends on how they happen to ask.
    - contradiction: share of questions with two different answers. Grows with the number of wordings.
    - consensus, CS(k): share of the subsets of k wordings that are all answered right, C(m, k) / C(n, k) with m of n
      right. Groups of fewer than k are left out and counted. consensus gap: CS(1) − CS(k) for the largest k of which
      there are ten groups, on the groups that have so many.
    - flips: with `original`, what an edit does to the answer, of pairs (original, other): right to wrong among those
      that were right, wrong to right and wrong to another wrong among those that were wrong.

    same: which samples are one question. The name of a group of the data, "cluster", or "python:package.module:name", a
    function of a text that gives what it asks (equal texts ask the same of the same other inputs). None given: samples
    that share every input but one text, and the right answer. Samples of different right answers never are one.
    original: [group, value] of the wordings that the others are edits of. largest: the largest k.

    Known trade-offs (accepted): where nothing is named, texts with the same other inputs and the same right answer may
    ask for different things ("is it red?", "is it a square?"), and then this is no more than how errors are spread; a
    sentence that two people would not answer alike counts against the model. Do not set `limit` low: a random subset
    of the samples tears groups apart.
    """

    name = "robustness.consistency"
    question = "Does the model answer the same question the same way however it is put?"
    place = "robustness/distribution_shift"
    source = (
        "Li, Gan and Liu 2020 (arXiv 2012.08673); consensus score: Shah et al., CVPR 2019 (VQA-Rephrasings); "
        "flips: Agarwal et al., CVPR 2020 (IV-VQA, CV-VQA)"
    )
    metrics = (
        Metric(
            name="disagreement",
            says="How probably two wordings of one question get different answers. 0: never; 1: always.",
            limit=0.1,
        ),
        Metric(
            name="contradiction",
            says="Share of questions that get two different answers, depending on their wording. 0: none; 1: all.",
        ),
        Metric(
            name="consensus_gap",
            says="Accuracy on a single wording that is lost if several have to be right. 0: errors do not depend on "
            "the wording; towards 1: nearly every question is answered wrong in some wording.",
            unit="points",
        ),
        Metric(
            name="consensus",
            says="Share of subsets of k wordings of a question that are all answered right. 1: all; 0: none.",
            better="higher",
        ),
        Metric(
            name="flips",
            says="Share of answers that an edit turns, of those that were as said on the original. 0: none; 1: all.",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {"robustness.brittle-to-rephrasing": ("disagreement",)}

    same: str = ""
    original: tuple[str, ...] = ()
    largest: int = 4

    def __post_init__(self) -> None:
        if self.largest < 2:
            raise AskedWrongly(f"largest is {self.largest}; consensus is of at least 2 wordings")
        if len(self.original) not in (0, 2):
            raise AskedWrongly(f"original is [group, value], got {list(self.original)}")

    def applies(self, model: Model, schema: Schema) -> str | None:
        for name in (*self.original[:1], *([self.same] if self._column else [])):
            if name not in schema.groups:
                raise unknown("group", name, [*schema.groups, CLUSTER])
        if self.same == CLUSTER and schema.cluster is None:
            return "the data have no clusters; name a group that says which samples are one question"
        if (not self.same or self.same.startswith(FUNCTION)) and not texts(schema, model.modalities):
            return "needs a text that may be put in several ways, or a group that says which samples are one question"
        return None

    @property
    def _column(self) -> bool:
        return bool(self.same) and self.same != CLUSTER and not self.same.startswith(FUNCTION)

    def observe(self, clean: Clean) -> Observation:
        batch = clean.batch
        inputs = tuple(clean.model.modalities)
        contents = {m: of_each(batch, m) for m in inputs}
        rows = []
        if self._column or self.same == CLUSTER:
            found = batch.clusters if self.same == CLUSTER else batch.groups[self.same]
            everything = [_joined(row) for row in zip(*contents.values(), strict=True)]
            rows.append(self._rows(clean, NAMED, list(found or [""] * len(batch)), everything))
        else:
            asks = open_function(self.same) if self.same else None
            for m in texts(batch, inputs):
                rest = [v for n, v in contents.items() if n != m]
                same = [_joined(row) if all(row) else "" for row in zip(*rest, strict=True)]
                if asks is not None:
                    same = asked(same or ["-"] * len(batch), batch.inputs[m], asks)
                same = [s if own else "" for s, own in zip(same or [""] * len(batch), contents[m], strict=True)]
                rows.append(self._rows(clean, m, same, contents[m]))
        return Observation(pl.concat(rows), [s for frame in rows for s in shown(clean, frame)][:2])

    def _rows(self, clean: Clean, condition: str, same: Sequence[str], wording: Sequence[str]) -> pl.DataFrame:
        return clean.rows(
            condition,
            predicted=clean.predicted,
            correct=clean.correct,
            same=pl.Series("same", list(same), dtype=pl.String),
            wording=pl.Series("wording", list(wording), dtype=pl.String),
        )

    def conclude(self, evidence: Evidence) -> Conclusion:
        original = (self.original[0], self.original[1]) if self.original else ()
        found = ConsistencyFindings(evidence, self.name, self.largest, original)
        return Conclusion(findings=found.findings(), charts=found.charts(), notes=found.notes())


def shown(clean: Clean, rows: pl.DataFrame) -> list[Shown]:
    """A question of this batch that gets two answers."""
    target = clean.batch.targets.tolist()
    seen: dict[tuple[str, int], int] = {}
    for i in sorted(range(len(clean)), key=lambda i: clean.batch.ids[i]):
        same, answer = rows["same"][i], int(clean.predicted[i])
        first = seen.setdefault((same, target[i]), i) if same else i
        before = int(clean.predicted[first])
        if answer != before and rows["wording"][first] != rows["wording"][i]:
            classes = clean.model.classes
            pair = [p for k in (first, i) for p in panels(clean.batch.take([k]), 0, {})]
            return [
                Shown(
                    sample=clean.batch.ids[i],
                    title="Put in two ways, answered in two",
                    panels=pair,
                    caption=f"{classes[before]!r} to {clean.batch.ids[first]}, {classes[answer]!r} to "
                    f"{clean.batch.ids[i]}; {classes[target[i]]!r} is right.",
                )
            ]
    return []


def texts(schema: Schema | Batch, modalities: Sequence[str]) -> list[str]:
    """The inputs that are texts."""
    return [m for m in modalities if schema.modalities[m].kind == "text"]


def of_each(batch: Batch, modality: str) -> list[str]:
    """A digest of what each sample holds there; "" where it has none."""
    values, own = batch.unique(modality)
    _, which, known = distinct(values)
    found = [known[i] for i in which[own].tolist()]
    if modality not in batch.present:
        return found
    return [d if here else "" for d, here in zip(found, batch.present[modality].tolist(), strict=True)]


def asked(same: Sequence[str], wordings: Sequence[str], asks: Callable[[str], object]) -> list[str]:
    """The keys of the other inputs ("" where one is missing), with what each text asks."""
    known = {text: digests([str(asks(text))])[0] for text in set(wordings)}
    return [_joined((key, known[text])) if key else "" for key, text in zip(same, wordings, strict=True)]


def _joined(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()
