"""Whether a question gets the same answer however it is put."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import torch

from muroan.batch import Batch, Schema
from muroan.clean import Clean
from muroan.content import digests
from muroan.errors import AskedWrongly, unknown
from muroan.evidence import AUDITED, Evidence
from muroan.figure import Figure
from muroan.finding import Chart, Conclusion
from muroan.model import Model
from muroan.panels import Shown, panels
from muroan.probe import Observation, Probe
from muroan.registry import open_function, register
from muroan.robustness.distribution_shift.consistency.findings import chart, notes, say_flips, say_groups
from muroan.robustness.distribution_shift.consistency.wordings import Wordings
from muroan.say import Say

NAMED = "named"
"""The condition of rows whose groups the data name."""
NO_GROUP = "no two samples are the same question put in two ways: name the column that says which are"
CLUSTER = "cluster"
FUNCTION = "python:"


@register
@dataclass(frozen=True, kw_only=True)
class Consistency(Probe):
    """Groups of wordings that the data themselves hold; nothing is generated, and nothing but the clean pass is asked.

    Disagreement is a mean over groups, needs no labels, and does not depend on how many wordings there are; a model
    that errs on a question whichever way it is put has 0. It is the alarm: beyond one pair in ten what users are told
    depends on how they happen to ask. Contradiction grows with the number of wordings. The consensus score CS(k) of a
    group is C(m, k) / C(n, k) with m of n wordings right; groups of fewer than k are left out and counted, and the gap
    CS(1) − CS(k) is for the largest k of which there are ten groups, on those groups. Flips are, with `original`, of
    pairs (original, other): right to wrong among those that were right, wrong to right and wrong to another wrong among
    those that were wrong.

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
    figures = (
        Figure(
            "disagreement",
            says="How probably two wordings of one question get different answers. 0: never; 1: always.",
            limit=0.1,
        ),
        Figure(
            "contradiction",
            says="Share of questions that get two different answers, depending on their wording. 0: none; 1: all.",
        ),
        Figure(
            "consensus_gap",
            says="Accuracy on a single wording that is lost if several have to be right. 0: errors do not depend on "
            "the wording; towards 1: nearly every question is answered wrong in some wording.",
            unit="points",
        ),
        Figure(
            "consensus",
            says="Share of subsets of k wordings of a question that are all answered right. 1: all; 0: none.",
            better="higher",
        ),
        Figure(
            "flips",
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
        batch, inputs = clean.batch, tuple(clean.model.modalities)
        contents = {m: of_each(clean, m) for m in inputs}
        frames = []
        if self._column or self.same == CLUSTER:
            named = batch.clusters if self.same == CLUSTER else batch.groups[self.same]
            everything = [_joined(row) for row in zip(*contents.values(), strict=True)]
            frames.append(_rows(clean, NAMED, list(named or [""] * len(batch)), everything))
        else:
            asks = open_function(self.same) if self.same else None
            for m in texts(batch, inputs):
                rest = [v for other, v in contents.items() if other != m]
                alone = "" if asks is None else "-"
                same = [_joined(row) if all(row) else "" for row in zip(*rest, strict=True)] or [alone] * len(batch)
                if asks is not None:
                    same = asked(same, batch.inputs[m], asks)
                same = [s if own else "" for s, own in zip(same, contents[m], strict=True)]
                frames.append(_rows(clean, m, same, contents[m]))
        return Observation(pl.concat(frames), [s for frame in frames for s in shown(clean, frame)][:2])

    def conclude(self, evidence: Evidence) -> Conclusion:
        say, about = Say(self.name), evidence.about
        every = {c: Wordings.of(evidence.of(AUDITED, c), about) for c in evidence.conditions()}
        groups = {c: w for c, w in every.items() if len(w.groups)}
        if not groups:
            say.nothing(["disagreement"], "How often two wordings of one question get different answers", NO_GROUP)
        charts: list[Chart] = []
        said: list[str] = []
        for name, wordings in groups.items():
            text = None if name == NAMED else name
            of, ks = say.about(modality=text) if len(groups) > 1 else say, wordings.sizes(self.largest)
            say_groups(of, wordings, ks)
            if self.original:
                say_flips(of, wordings.pairs(*self.original))
            charts.append(chart(wordings, ks, "" if text is None else f", by {text}"))
            said += notes(wordings, text)
        return Conclusion(findings=say.findings, charts=charts, notes=said)


def _rows(clean: Clean, condition: str, same: Sequence[str], wording: Sequence[str]) -> pl.DataFrame:
    return clean.rows(
        condition,
        predicted=clean.predicted,
        correct=clean.correct,
        same=pl.Series("same", list(same), dtype=pl.String),
        wording=pl.Series("wording", list(wording), dtype=pl.String),
    )


def shown(clean: Clean, rows: pl.DataFrame) -> list[Shown]:
    """A question of this batch that gets two answers."""
    targets, ids, classes = clean.batch.targets.tolist(), clean.batch.ids, clean.model.classes
    seen: dict[tuple[str, int], int] = {}
    for i in sorted(range(len(clean)), key=ids.__getitem__):
        same, answer = rows["same"][i], int(clean.predicted[i])
        first = seen.setdefault((same, targets[i]), i) if same else i
        before = int(clean.predicted[first])
        if answer != before and rows["wording"][first] != rows["wording"][i]:
            pair = [p for k in (first, i) for p in panels(clean.batch.take([k]), 0, {})]
            said = f"{classes[before]!r} to {ids[first]}, {classes[answer]!r} to {ids[i]}"
            caption = f"{said}; {classes[targets[i]]!r} is right."
            return [Shown(ids[i], "Put in two ways, answered in two", pair, caption)]
    return []


def texts(schema: Schema | Batch, modalities: Sequence[str]) -> list[str]:
    """The inputs that are texts."""
    return [m for m in modalities if schema.modalities[m].kind == "text"]


def of_each(clean: Clean, modality: str) -> list[str]:
    """A digest of what each sample holds there; "" where it has none."""
    _, own, digest = clean.distinct(modality)
    here = clean.batch.present.get(modality, torch.ones(len(clean), dtype=torch.bool))
    return [digest[i] if there else "" for i, there in zip(own.tolist(), here.tolist(), strict=True)]


def asked(same: Sequence[str], wordings: Sequence[str], asks: Callable[[str], object]) -> list[str]:
    """The keys of the other inputs ("" where one is missing), with what each text asks."""
    known = {text: digests([str(asks(text))])[0] for text in set(wordings)}
    return [_joined((key, known[text])) if key else "" for key, text in zip(same, wordings, strict=True)]


def _joined(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()
