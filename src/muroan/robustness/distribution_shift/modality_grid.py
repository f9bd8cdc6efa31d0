"""What a model that was trained with some inputs is worth with others: every training subset against every test subset.

Source: McKinzie et al., ICML 2023 (arXiv 2304.04385): P = mean_e s_e and R = min_e s_e over the subsets e of inputs
that evaluation leaves, and three settings in which they differ from training's. Names and settings are from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.evidence import About
from muroan.finding import MatrixChart, TableChart
from muroan.intervention import outcome
from muroan.interventions.removals import Kept, Removal, every_subset, others
from muroan.meter import Codes, Metered
from muroan.modality import Value
from muroan.model import Capability, Model
from muroan.rows import Floats, Rows, Worst

How = Literal["absent", "neutral", "zero", "mean"]
Setting = Literal["matched", "missing at test", "added at test", "transfer", "partly other"]
Cell = tuple[Kept, Kept]
"""(what was trained with, what is left in use)"""

SAYS: Mapping[str, str] = {
    "absent": "the model is told that the input is absent and masks it",
    "neutral": "the neutral value of the input's kind stands in its place",
    "zero": "zeros (of texts nothing) stand in its place",
    "mean": "the mean value of the reference (of texts nothing) stands in its place",
}
"""Four different tests: a figure of one of them is none of another."""
SETTINGS: tuple[Setting, ...] = ("matched", "missing at test", "added at test", "transfer", "partly other")
SHARD = 512


def setting(train: Sequence[str], test: Sequence[str]) -> Setting:
    """Which mismatch it is to train with `train` and to be used with `test`."""
    a, b = set(train), set(test)
    if a == b:
        return "matched"
    if not a & b:
        return "transfer"
    if b < a:
        return "missing at test"
    return "added at test" if a < b else "partly other"


@dataclass(frozen=True)
class Filled(Removal):
    """Inputs are missing, and a value that is given stands in the place of each that has one (a batch of one).

    Not registered: its condition does not say which values.
    """

    values: Mapping[str, Value] = field(default_factory=dict)

    def instead(self, clean: Clean, modality: str) -> tuple[Codes, Tensor]:
        if modality not in self.values:
            return clean.neutral(modality)
        return clean.model.encode(modality, self.values[modality]), torch.zeros(len(clean), dtype=torch.long)


class Summary(NamedTuple):
    """Cells of one setting: accuracy on average, the least of them with a simultaneous interval, and which it is."""

    average: Estimate
    least: Estimate
    at: Cell
    cells: int


@dataclass(frozen=True)
class ModalityGrid:
    """Outcomes of the same samples in every cell.

    correct[train, test]: right or not [N], 1.0 or 0.0; rows: whose. how: what stood for a missing input (`SAYS`).
    left_out: samples that lack an input in the data themselves.
    """

    names: Kept
    train: tuple[Kept, ...]
    test: tuple[Kept, ...]
    correct: Mapping[Cell, Floats]
    how: How
    rows: Rows
    left_out: int = 0

    @staticmethod
    def measure(
        make: Callable[[Kept], Model],
        data: Dataset,
        *,
        train: Sequence[Kept] | None = None,
        test: Sequence[Kept] | None = None,
        how: How = "neutral",
        reference: Dataset | None = None,
        level: float = 0.95,
        seed: int = 0,
    ) -> ModalityGrid:
        """Each model of `make` asked with each test subset.

        make: a subset -> a model that was trained with these inputs alone; it takes all inputs of the data (those it
        was not trained with too, which is what "added" and "transfer" ask about). For one model that was trained with
        masks: `lambda kept: model`, `train=[names]`. train, test: subsets, all 2^n − 1 if None. reference: what "mean"
        takes its values from.
        """
        names = tuple(data.schema.modalities)
        trained, tests = _ordered(train, names), _ordered(test, names)
        fills = _fills(data, reference, how)
        batches = list(data.batches(SHARD))
        whole = [some for b in batches if len(some := b.take(b.has(*names).nonzero().flatten()))]
        if not whole:
            raise AskedWrongly("no sample has all of its inputs, so nothing could be taken away from a complete one")
        correct: dict[Cell, Floats] = {}
        for kept in trained:
            model = make(kept)
            if how == "absent" and Capability.ABSENT not in model.capabilities:
                raise AskedWrongly(
                    f"{model.name} does not handle absent inputs itself (`absent` is not among its capabilities); "
                    "ask with how='neutral', 'zero' or 'mean'"
                )
            seen = [Clean.observe(Metered(model, b.modalities), b) for b in whole]
            for left in tests:
                change = Filled(others(names, left), told=how == "absent", values=fills)
                correct[kept, left] = np.concatenate([outcome(c, change).right.double().numpy() for c in seen])
        every = Batch.concat(whole)
        samples = {"sample": list(every.ids), "cluster": every.clusters and list(every.clusters)}
        about = About(classes=data.schema.classes, modalities={}, groups={}, cluster=None, seed=seed, level=level)
        rows = Rows(pl.DataFrame(samples, schema={"sample": pl.String, "cluster": pl.String}), about)
        return ModalityGrid(names, trained, tests, correct, how, rows, sum(map(len, batches)) - len(every))

    @staticmethod
    def together(grids: Sequence[ModalityGrid]) -> ModalityGrid:
        """One grid of several trainings of one recipe, seeds say: a row a sample and training.

        Rows of one sample are dependent, so samples (or their clusters) become the clusters. What the intervals then
        cover is the samples, not the recipe's own variation: few trainings say little of that, so show each as well.
        """
        head = grids[0]
        if any((g.names, g.train, g.test, g.how) != (head.names, head.train, head.test, head.how) for g in grids):
            raise AskedWrongly("grids of the same subsets, missing in one way, are put together")
        frame = pl.concat([g.rows.frame for g in grids]).with_columns(cluster=pl.coalesce("cluster", "sample"))
        return replace(
            head,
            correct={c: np.concatenate([g.correct[c] for g in grids]) for c in head.correct},
            rows=replace(head.rows, frame=frame),
            left_out=sum(g.left_out for g in grids),
        )

    def cell(self, train: Kept, test: Kept) -> Estimate:
        """Accuracy of the model trained with `train` where `test` is left."""
        return self.rows.share(self.correct[train, test])

    def average(self, train: Kept) -> Estimate:
        """P: accuracy on average over the test subsets."""
        return self._average([(train, left) for left in self.test])

    def least(self, train: Kept) -> Worst[Cell]:
        """R: accuracy with the worst test subset, its interval simultaneous over all of them, and which it is."""
        return self._least([(train, left) for left in self.test])

    def ceilings(self) -> dict[Kept, Estimate]:
        """What a model trained with one input alone reaches with that input alone, where the grid holds it."""
        return {(m,): self.cell((m,), (m,)) for m in self.names if ((m,), (m,)) in self.correct}

    def settings(self) -> dict[Setting, Summary]:
        """The cells of each setting on their own; settings without a cell are left out."""
        cells = {name: [cell for cell in self.correct if setting(*cell) == name] for name in SETTINGS}
        return {
            name: Summary(self._average(some), *self._least(some), len(some)) for name, some in cells.items() if some
        }

    def gain(self, train: Kept, base: ModalityGrid, of: Kept | None = None) -> Estimate:
        """R of the model trained with `train` minus R of `base`'s trained with `of` (the same, if None), paired.

        The least over one list of subsets is not comparable with that over another: both grids need the same.
        """
        same = self.rows.frame["sample"].equals(base.rows.frame["sample"])
        if self.test != base.test or self.how != base.how or not same:
            raise AskedWrongly("least accuracies are compared over the same subsets and samples, missing in one way")
        k = len(self.test)
        mine = [self.correct[train, left] for left in self.test]
        theirs = [base.correct[of or train, left] for left in base.test]
        ones = np.ones(len(self.rows))
        gain = self.rows.figure(
            self.rows.totals([ones, *mine, *theirs], [[1] + [1] * k + [0] * k, [1] + [0] * k + [1] * k]),
            lambda t: (t[:, 1 : k + 1].min(axis=1) - t[:, k + 1 :].min(axis=1)) / t[:, 0],
            method="bootstrap of the difference of the least",
        )
        assert gain is not None
        return gain

    def notes(self) -> list[str]:
        """What a reader of the figures has to know."""
        said = [
            f"Missing means: {SAYS[self.how]}.",
            f"{len(self.train)} training × {len(self.test)} test subsets of {' + '.join(self.names)}; figures over "
            "other lists of subsets are not comparable.",
        ]
        if not self.ceilings():
            said.append("No model was trained with one input alone: what could be reached with it is not known.")
        if self.left_out:
            said.append(f"{self.left_out} samples lack an input in the data themselves; they are left out.")
        return said

    def matrix(self) -> MatrixChart:
        """Accuracies, a row a training subset."""
        return MatrixChart(
            title=f"Accuracy by inputs in training (rows) and in use (columns); n = {len(self.rows)}",
            rows=[" + ".join(a) for a in self.train],
            columns=[" + ".join(b) for b in self.test],
            values=[[self.cell(a, b).value for b in self.test] for a in self.train],
            better="higher",
            value_range=(0, 1),
        )

    def table(self) -> TableChart:
        """Every cell with its interval and n."""
        rows: list[list[str | float | int | None]] = []
        for a, b in self.correct:
            e = self.cell(a, b)
            rows.append([" + ".join(a), " + ".join(b), setting(a, b), e.value, e.low, e.high, e.n])
        names = ["trained with", "used with", "setting", "accuracy", "low", "high", "n"]
        return TableChart(title="Accuracy by inputs in training and in use", columns=names, rows=rows)

    def _average(self, cells: Sequence[Cell]) -> Estimate:
        return self.rows.mean(np.mean([self.correct[c] for c in cells], axis=0), (0, 1))

    def _least(self, cells: Sequence[Cell]) -> Worst[Cell]:
        return self.rows.worst({c: self.correct[c] for c in cells}, largest=False)


def _ordered(asked: Sequence[Kept] | None, names: Kept) -> tuple[Kept, ...]:
    """Subsets with their inputs in the data's order, each once."""
    if asked is None:
        return tuple(every_subset(names))
    for s in asked:
        if not s or not set(s) <= set(names) or len(set(s)) < len(s):
            raise AskedWrongly(f"{s} is no subset of the inputs {', '.join(names)}: name some of them, each once")
    return tuple(dict.fromkeys(tuple(m for m in names if m in s) for s in asked))


def _fills(data: Dataset, reference: Dataset | None, how: How) -> dict[str, Value]:
    """One value a modality that stands for it where it is missing, for "zero" and "mean"."""
    if how not in SAYS:
        raise AskedWrongly(f"how is {how!r}; it must be one of {', '.join(SAYS)}")
    if how not in ("zero", "mean"):
        return {}
    blank: dict[str, Value] = {m: k.collate([k.blank()]) for m, k in data.schema.modalities.items()}
    fills = {m: torch.zeros_like(v) if isinstance(v, Tensor) else v for m, v in blank.items()}
    if how == "mean":
        if reference is None:
            raise AskedWrongly("how='mean' needs a reference to take means from, disjoint from the data audited")
        batch = reference.first(len(reference))
        seen = batch.take(batch.has(*batch.modalities).nonzero().flatten())
        fills |= {m: v.mean(dim=0, keepdim=True) for m, v in seen.inputs.items() if isinstance(v, Tensor)}
    return fills
