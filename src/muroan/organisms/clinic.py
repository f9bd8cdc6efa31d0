"""The clinic: patients of which everything is known, and a model that reads them as they were made.

A patient has one of three diseases. Four inputs tell which, each on its own: a scan (a smooth pattern over the whole
picture), a note (eight words of a disease among twelve), vital signs over a day (one of three channels raised), and a
table (one of three laboratory values raised, and age, sex and site, which say nothing). Given the disease an input
tells the truth with a known probability (`TRUTH`), else one of the two others, independently of the other inputs.
By Bayes the log-odds of a disease are the sum of the votes of the inputs that are there,

    log P(disease | inputs) = sum over inputs m of  log(2 r_m / (1 - r_m)) · [m tells disease] + constant,

so the model that adds up these votes is exact, calibrated, also where inputs are missing, fair to every group, and
has memorised nobody. Every vote is spread over its input and saturates, so that small changes cost little. Nothing is
trained, everything is seeded and vectorised; no record describes a person.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.modality import Image, Series, Tabular, Text, Value
from muroan.model import Capability, Code, Embedded, Model
from muroan.organism import Bed, World

DISEASES = ("pneumonia", "embolism", "heart failure")
TRUTH = {"scan": 0.8, "note": 0.8, "vitals": 0.8, "table": 0.6}
"""How probably an input tells the true disease."""
VOTE = {m: math.log(r * (len(DISEASES) - 1) / (1 - r)) for m, r in TRUTH.items()}
"""The log-odds that an input's word for a disease is worth."""
SHARPNESS = 8.0
"""How fast a vote saturates: half of the evidence still gives 95 % of it."""

SIDE, HOURS = 32, 24
CONTRAST = 0.25
"""How far the pattern of a scan is from the mean grey."""
CUES = {
    "pneumonia": "cough sputum crackles fever chills infiltrate rigors purulent dullness pleurisy",
    "embolism": "sudden calf immobile clot haemoptysis syncope dimer thrombus travel tachycardia",
    "heart failure": "orthopnoea oedema gallop nocturia congestion ankles fatigue ascites murmur weight",
}
FILLERS = ("seen", "today", "reports", "since", "denies", "stable", "ward", "review", "plan", "mild")
CUE_WORDS, FILLER_WORDS = 8, 4
SYNONYMS = {word: f"{word}s" for cues in CUES.values() for word in cues.split()}
"""For every word of a disease another that says the same, known to the model."""
VOCABULARY = ("", *FILLERS, *[w for cues in CUES.values() for c in cues.split() for w in (c, SYNONYMS[c])])
WORD = {word: i for i, word in enumerate(VOCABULARY)}

LABS = ("crp", "d-dimer", "bnp")
SITES, SEXES, AGES = ("north", "south", "west"), ("female", "male"), ("under 40", "40 to 64", "65 and over")
COLUMNS = (*LABS, "age", "sex", *[f"site {s}" for s in SITES])
MODALITIES = {
    "scan": Image(size=(SIDE, SIDE), channels=1, fill=(0.5,)),
    "note": Text(lexicon=tuple((w, (s,)) for w, s in SYNONYMS.items())),
    "vitals": Series(length=HOURS, channels=("heart rate", "breathing", "temperature"), fill=(0.0, 0.0, 0.0)),
    "table": Tabular(columns=COLUMNS, fill=(0.0, 0.0, 0.0, 0.0, 0.5, 1 / 3, 1 / 3, 1 / 3)),
}
SIZE = 1000
"""Patients of a split: what a modest audit has. Power is power at this size."""

SplitName = Literal["audited", "reference", "members"]


@cache
def patterns() -> Tensor:
    """The three patterns of a scan [3, SIDE, SIDE]: orthogonal, of mean 0 and values ±1."""
    low = (torch.arange(SIDE) < SIDE // 2).float() * 2 - 1
    middle = ((torch.arange(SIDE) - (SIDE - 1) / 2).abs() < SIDE / 4).float() * 2 - 1
    return torch.stack([low[None, :].expand(SIDE, -1), low[:, None].expand(-1, SIDE), middle[:, None] * middle[None]])


@dataclass(frozen=True)
class Patients:
    """N patients of a split. A fault of the data is a function of them (`dataclasses.replace` what it changes).

    disease, told[m], age, sex, site: [N] indices into `DISEASES`, `AGES`, `SEXES`, `SITES`; told[m] is what input m
    says, right or wrong. The inputs: scan [N, 1, 32, 32] in [0, 1], note N strings, vitals [N, 24, 3], table [N, 8].
    rng: for what a fault draws; nothing else draws from it.
    """

    split: SplitName
    seed: int
    disease: np.ndarray
    told: Mapping[str, np.ndarray]
    age: np.ndarray
    sex: np.ndarray
    site: np.ndarray
    scan: Tensor
    note: list[str]
    vitals: Tensor
    table: Tensor
    rng: np.random.Generator

    def __len__(self) -> int:
        return len(self.disease)

    def dataset(self) -> InMemory:
        """As an audit reads them."""
        return InMemory(
            {"scan": self.scan, "note": self.note, "vitals": self.vitals, "table": self.table},
            targets=self.disease,
            modalities=MODALITIES,
            classes=DISEASES,
            groups={
                "age": [AGES[i] for i in self.age],
                "sex": [SEXES[i] for i in self.sex],
                "site": [SITES[i] for i in self.site],
            },
            ids=[f"{self.split}-{i}" for i in range(len(self))],
            name=f"clinic ({self.split})",
        )


def patients(split: SplitName, seed: int, n: int = SIZE) -> Patients:
    """n patients, drawn anew for every split and seed."""
    rng = np.random.default_rng([seed, *split.encode()])
    k = len(DISEASES)
    disease = rng.integers(0, k, n)
    told = {m: np.where(rng.random(n) < r, disease, (disease + rng.integers(1, k, n)) % k) for m, r in TRUTH.items()}
    age, sex, site = rng.integers(0, len(AGES), n), rng.integers(0, 2, n), rng.integers(0, len(SITES), n)
    return Patients(
        split=split,
        seed=seed,
        disease=disease,
        told=told,
        age=age,
        sex=sex,
        site=site,
        scan=draw_scan(told["scan"], rng),
        note=draw_note(told["note"], rng),
        vitals=draw_vitals(told["vitals"], rng),
        table=draw_table(told["table"], age, sex, site, rng),
        rng=np.random.default_rng([seed, 1, *split.encode()]),
    )


def draw_scan(told: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Scans [N, 1, SIDE, SIDE] that tell these diseases."""
    noise = torch.from_numpy(rng.uniform(-0.1, 0.1, (len(told), 1, SIDE, SIDE)).astype(np.float32))
    return (0.5 + CONTRAST * patterns()[torch.from_numpy(told)][:, None] + noise).clamp(0, 1)


def draw_note(told: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Notes of `CUE_WORDS` + `FILLER_WORDS` words that tell these diseases."""
    cues = np.array([CUES[d].split() for d in DISEASES])
    picked = rng.random((len(told), cues.shape[1])).argsort(axis=1)[:, :CUE_WORDS]
    words = np.concatenate([cues[told[:, None], picked], rng.choice(FILLERS, (len(told), FILLER_WORDS))], axis=1)
    order = rng.random(words.shape).argsort(axis=1)
    return [" ".join(row) for row in np.take_along_axis(words, order, axis=1)]


def draw_vitals(told: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Vital signs [N, HOURS, 3], standardised: the told disease's channel is raised by 1 all day."""
    noise = rng.normal(0, 0.4, (len(told), HOURS, len(DISEASES)))
    return torch.from_numpy((noise + np.eye(len(DISEASES))[told][:, None]).astype(np.float32))


def draw_table(
    told: np.ndarray, age: np.ndarray, sex: np.ndarray, site: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """Rows [N, 8]: the told disease's laboratory value is raised by 1; age standardised, sex and site as 0 and 1."""
    labs = np.eye(len(LABS))[told] + rng.normal(0, 0.1, (len(told), len(LABS)))
    years = age - 1 + rng.uniform(-0.4, 0.4, len(told))
    return torch.from_numpy(np.column_stack([labs, years, sex, np.eye(len(SITES))[site]]).astype(np.float32))


def columns(table: Tensor, *names: str) -> Tensor:
    """Columns [N, len(names)] of the table, by name."""
    return table[:, [COLUMNS.index(n) for n in names]]


def sex(table: Tensor) -> Tensor:
    """[N, 1]: 0 for women, 1 for men."""
    return columns(table, "sex")


class Clinician(Model):
    """Adds up what the inputs vote: Bayes' rule for the clinic, and right by construction.

    A fault of the model is a subclass that changes one of its methods. dose: of that fault. A code is a vote [N, 3]
    with what else a fault reads behind it: `cues` of an input, and words that it can `mark` in a note.
    """

    name = "clinician"
    modalities = tuple(MODALITIES)
    classes = DISEASES
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.EMBEDDINGS})
    cues: ClassVar[Mapping[str, Callable[[Value], Tensor]]] = {}
    """What is read of a scan, vital signs or a table besides its signs: values -> [N, any number], by input."""

    def __init__(self, dose: float = 0.0) -> None:
        self.dose = dose

    @classmethod
    def trained(cls, dose: float, seed: int) -> Self:
        """The clinician of a seed, who has learnt nothing by heart from its patients."""
        return cls(dose)

    def meets(self, p: Patients) -> Patients:
        """The patients as this clinician meets them, where a fault needs something that hangs in their inputs."""
        return p

    def signs(self, modality: str, values: Value) -> Tensor:
        """How much an input speaks for each disease [N, 3]: 1 for the told one, 0 where it says nothing."""
        if modality == "note":
            return _counted(values)
        if modality == "scan":
            centred = (values[:, 0] - 0.5).flatten(1)
            signs: Tensor = centred @ patterns().flatten(1).T / (SIDE * SIDE * CONTRAST)
            return signs
        return values.mean(dim=1) if modality == "vitals" else columns(values, *LABS)

    def beside(self, modality: str, values: Value) -> Tensor:
        """What is read of an input besides its signs [N, any number]; of a note it is the sum of its words' marks."""
        return self.cues[modality](values) if modality in self.cues else torch.zeros(len(values), 0)

    def mark(self, word: str) -> Sequence[float]:
        """Numbers that a word's vector goes on with behind the diseases, as many for every word."""
        return ()

    def vote(self, modality: str, signs: Tensor) -> Tensor:
        """Log-odds [N, 3] that these signs are worth; equal for all diseases where they say nothing."""
        return VOTE[modality] * (SHARPNESS * signs).softmax(dim=1)

    def code(self, modality: str, signs: Tensor, beside: Tensor) -> Code:
        """The vote with what is beside it."""
        return torch.cat([self.vote(modality, signs), beside], dim=1)

    def encode(self, modality: str, values: Value) -> Code:
        if modality == "note" and self.mark(""):  # so that words and their vectors give the same
            return self.encode_embedded(modality, self.embed(modality, values))
        return self.code(modality, self.signs(modality, values), self.beside(modality, values))

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        texts = [t.split() for t in values]
        longest = max([1, *map(len, texts)])
        index = torch.tensor([[WORD.get(w, 0) for w in t] + [0] * (longest - len(t)) for t in texts], dtype=torch.long)
        mask = torch.arange(longest) < torch.tensor([len(t) for t in texts], dtype=torch.long)[:, None]
        vectors = _word_vectors()[index.view(-1, longest)]
        if width := len(self.mark("")):
            marks = torch.zeros(*mask.shape, width)
            marks[mask] = torch.tensor([self.mark(w) for t in texts for w in t]).view(-1, width)
            vectors = torch.cat([vectors, marks], dim=2)
        return Embedded(vectors, mask, torch.where(mask, torch.arange(longest), -1))

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        told = (embedded.vectors * embedded.mask[..., None]).sum(dim=1)
        return self.code(modality, told[:, : len(DISEASES)] / CUE_WORDS, told[:, len(DISEASES) :])

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.stack([codes[m][:, : len(DISEASES)] for m in self.modalities]).sum(dim=0)

    def decide(self, fused: Tensor) -> Tensor:
        return fused

    def fingerprint(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}:{self.dose}"


def carried(code: Code) -> Tensor:
    """What an input's code carries beside its vote."""
    beside: Tensor = code[:, len(DISEASES) :]
    return beside


def one(disease: int) -> Tensor:
    """[3]: 1 at one disease, 0 at the others."""
    return torch.eye(len(DISEASES))[disease]


def best_accuracy(read: Sequence[str]) -> float:
    """The accuracy of Bayes' rule that reads these inputs: the mean of the largest posterior."""
    k, total = len(DISEASES), 0.0
    for told in product(range(k), repeat=len(read)):
        rates = [(t, TRUTH[m]) for t, m in zip(told, read, strict=True)]
        total += max(math.prod(r if t == d else (1 - r) / (k - 1) for t, r in rates) for d in range(k)) / k
    return total


_SPEAKS_FOR = {w: k for k, d in enumerate(DISEASES) for cue in CUES[d].split() for w in (cue, SYNONYMS[cue])}
_PACKED = {word: 1 << 20 * k for word, k in _SPEAKS_FOR.items()}
"""A word -> the disease that it speaks for, as 1 at that disease's digit to base 2^20."""


def _counted(texts: Sequence[str]) -> Tensor:
    """The signs of notes, counted a text at a time: attacks on words ask for half a million of them."""
    speaks, speaks_for = _PACKED.__contains__, _PACKED.__getitem__
    packed = torch.tensor([sum(map(speaks_for, filter(speaks, t.split()))) for t in texts], dtype=torch.long)
    return torch.stack([packed >> 20 * k & (1 << 20) - 1 for k in range(len(DISEASES))], dim=1) / CUE_WORDS


@cache
def _word_vectors() -> Tensor:
    """One vector [3] a word of the vocabulary: 1 at the disease that it speaks for."""
    vectors = torch.zeros(len(VOCABULARY), len(DISEASES))
    for word, k in _SPEAKS_FOR.items():
        vectors[WORD[word], k] = 1.0
    return vectors


def world(
    seed: int, model: Model | None = None, change: Callable[[Patients], Patients] = lambda p: p, n: int = SIZE
) -> World:
    """A model (the exact one if None) and the clinic's three splits, each after `change`."""
    names: tuple[SplitName, ...] = ("audited", "reference", "members")
    return model or Clinician(), Splits(*(change(patients(s, seed, n)).dataset() for s in names))


def planted(fault: type[Clinician] | Callable[[Patients, float], Patients], dose: float, seed: int) -> World:
    """A fault of the model is a class of clinicians, one of the data a change of patients by a dose."""
    if isinstance(fault, type):
        clinician: Clinician = fault.trained(dose, seed)  # type: ignore[attr-defined]
        return world(seed, clinician, clinician.meets)
    return world(seed, change=lambda p: fault(p, dose))


CLINIC = Bed(
    "clinic",
    f"{SIZE} made patients a split: a scan, a note, vital signs and a table; the model is Bayes' rule",
    world,
    exact=True,
    plants=planted,
)


def clinic_of(clinician: Callable[[], type[Clinician]], name: str, says: str) -> Bed:
    """The clinic with the patients that these clinicians meet; at dose 0 they are Bayes' rule there."""
    return Bed(name, says, lambda seed: planted(clinician(), 0.0, seed), exact=True, plants=planted)


__all__ = ["CLINIC", "Clinician", "Patients", "patients", "replace", "world"]
