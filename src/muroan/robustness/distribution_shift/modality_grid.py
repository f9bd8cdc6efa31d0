"""What a model that was trained with some inputs is worth with others: every training subset against every test subset.

Source: McKinzie et al., ICML 2023 (arXiv 2304.04385): P = mean_e s_e and R = min_e s_e over the subsets e of inputs
that evaluation leaves, and three settings in which they differ from training's. Names and settings are from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, mean, proportion
from muroan.estimate.totals import Worst, figure, totals, worst
from muroan.finding import MatrixChart, TableChart
from muroan.interventions.removals import Kept, every_subset
from muroan.meter import Metered
from muroan.modality import Value, concatenate, take
from muroan.model import Capability, Model

Floats = NDArray[np.float64]
How = Literal["absent", "neutral", "zero", "mean"]
Setting = Literal["matched", "missing at test", "added at test", "transfer", "partly other"]

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


class Summary(NamedTuple):
    """Cells of one setting: accuracy on average, the least of them with a simultaneous interval, and which it is."""

    average: Estimate
    least: Estimate
    at: tuple[Kept, Kept]
    cells: int


@dataclass(frozen=True)
class ModalityGrid:
    """Outcomes of the same samples in every cell.

    correct[train, test]: right or not [N], 1.0 or 0.0; ids [N]: whose. how: what stood for a missing input (`SAYS`).
    clusters: [N] names of what samples share, None where nothing; left_out: samples that lack an input in the data
    themselves.
    """

    names: Kept
    train: tuple[Kept, ...]
    test: tuple[Kept, ...]
    correct: Mapping[tuple[Kept, Kept], Floats]
    how: How
    ids: tuple[str, ...]
    clusters: tuple[str, ...] | None = None
    left_out: int = 0
    level: float = 0.95
    seed: int = 0

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
        rows = _ordered(train, names)
        columns = _ordered(test, names)
        fills = _fills(data, reference, how)
        batches = list(data.batches(SHARD))
        whole = [b.take(_complete(b).nonzero().flatten()) for b in batches]
        whole = [b for b in whole if len(b)]
        if not whole:
            raise AskedWrongly("no sample has all of its inputs, so nothing could be taken away from a complete one")
        correct: dict[tuple[Kept, Kept], Floats] = {}
        for kept in rows:
            model = make(kept)
            if how == "absent" and Capability.ABSENT not in model.capabilities:
                raise AskedWrongly(
                    f"{model.name} does not handle absent inputs itself (`absent` is not among its capabilities); "
                    "ask with how='neutral', 'zero' or 'mean'"
                )
            parts = [_outcomes(model, b, columns, how, fills) for b in whole]
            for s in columns:
                correct[kept, s] = np.concatenate([p[s] for p in parts])
        by = [c for b in whole for c in b.clusters or ()]
        return ModalityGrid(
            names=names,
            train=rows,
            test=columns,
            correct=correct,
            how=how,
            ids=tuple(i for b in whole for i in b.ids),
            clusters=tuple(by) or None,
            left_out=sum(map(len, batches)) - sum(map(len, whole)),
            level=level,
            seed=seed,
        )

    @staticmethod
    def together(grids: Sequence[ModalityGrid]) -> ModalityGrid:
        """One grid of several trainings of one recipe, seeds say: a row a sample and training.

        Rows of one sample are dependent, so samples (or their clusters) become the clusters. What the intervals then
        cover is the samples, not the recipe's own variation: few trainings say little of that, so show each as well.
        """
        head = grids[0]
        if any((g.names, g.train, g.test, g.how) != (head.names, head.train, head.test, head.how) for g in grids):
            raise AskedWrongly("grids of the same subsets, missing in one way, are put together")
        return replace(
            head,
            correct={c: np.concatenate([g.correct[c] for g in grids]) for c in head.correct},
            ids=tuple(i for g in grids for i in g.ids),
            clusters=tuple(c for g in grids for c in g.clusters or g.ids),
            left_out=sum(g.left_out for g in grids),
        )

    def cell(self, train: Kept, test: Kept) -> Estimate:
        """Accuracy of the model trained with `train` where `test` is left."""
        return proportion(self.correct[train, test], self.clusters, level=self.level)

    def average(self, train: Kept) -> Estimate:
        """P: accuracy on average over the test subsets."""
        return self._average([(train, s) for s in self.test])

    def least(self, train: Kept) -> Worst:
        """R: accuracy with the worst test subset, its interval simultaneous over all of them, and its index."""
        return self._least([(train, s) for s in self.test])

    def ceilings(self) -> dict[Kept, Estimate]:
        """What a model trained with one input alone reaches with that input alone, where the grid holds it."""
        return {(m,): self.cell((m,), (m,)) for m in self.names if ((m,), (m,)) in self.correct}

    def settings(self) -> dict[Setting, Summary]:
        """The cells of each setting on their own; settings without a cell are left out."""
        out: dict[Setting, Summary] = {}
        for name in SETTINGS:
            cells = [(a, b) for a in self.train for b in self.test if setting(a, b) == name]
            if cells:
                found = self._least(cells)
                out[name] = Summary(self._average(cells), found.estimate, cells[found.at], len(cells))
        return out

    def gain(self, train: Kept, base: ModalityGrid, of: Kept | None = None) -> Estimate:
        """R of the model trained with `train` minus R of `base`'s trained with `of` (the same, if None), paired.

        The least over one list of subsets is not comparable with that over another: both grids need the same.
        """
        if self.test != base.test or self.how != base.how or self.ids != base.ids:
            raise AskedWrongly("least accuracies are compared over the same subsets and samples, missing in one way")
        k = len(self.test)
        mine = [self.correct[train, s] for s in self.test]
        theirs = [base.correct[of or train, s] for s in base.test]
        table = np.column_stack([np.ones(len(mine[0])), *mine, *theirs])
        sums = totals(table, self.clusters, [[1] + [1] * k + [0] * k, [1] + [0] * k + [1] * k])
        return figure(
            sums,
            lambda t: (t[:, 1 : k + 1].min(axis=1) - t[:, k + 1 :].min(axis=1)) / t[:, 0],
            level=self.level,
            seed=self.seed,
            method="bootstrap of the difference of the least",
        )

    def notes(self) -> list[str]:
        """What a reader of the figures has to know."""
        out = [
            f"Missing means: {SAYS[self.how]}.",
            f"{len(self.train)} training × {len(self.test)} test subsets of {' + '.join(self.names)}; figures over "
            "other lists of subsets are not comparable.",
        ]
        if not self.ceilings():
            out.append("No model was trained with one input alone: what could be reached with it is not known.")
        if self.left_out:
            out.append(f"{self.left_out} samples lack an input in the data themselves; they are left out.")
        return out

    def matrix(self) -> MatrixChart:
        """Accuracies, a row a training subset."""
        return MatrixChart(
            title=f"Accuracy by inputs in training (rows) and in use (columns); n = {len(self._any())}",
            rows=[_said(a) for a in self.train],
            columns=[_said(b) for b in self.test],
            values=[[self.cell(a, b).value for b in self.test] for a in self.train],
            better="higher",
            value_range=(0, 1),
        )

    def table(self) -> TableChart:
        """Every cell with its interval and n."""
        rows: list[list[str | float | int | None]] = []
        for a in self.train:
            for b in self.test:
                e = self.cell(a, b)
                rows.append([_said(a), _said(b), setting(a, b), e.value, e.low, e.high, e.n])
        names = ["trained with", "used with", "setting", "accuracy", "low", "high", "n"]
        return TableChart(title="Accuracy by inputs in training and in use", columns=names, rows=rows)

    def _any(self) -> Floats:
        return next(iter(self.correct.values()))

    def _average(self, cells: Sequence[tuple[Kept, Kept]]) -> Estimate:
        shares = np.mean([self.correct[c] for c in cells], axis=0).clip(0, 1)
        return mean(shares, self.clusters, level=self.level, bounds=(0, 1))

    def _least(self, cells: Sequence[tuple[Kept, Kept]]) -> Worst:
        k = len(cells)
        table = np.column_stack([np.ones(len(self._any())), *(self.correct[c] for c in cells)])
        sums = totals(table, self.clusters, [[1] * (k + 1), [1] + [0] * k])
        return worst(
            sums,
            lambda t: t[:, 1:] / t[:, :1],
            largest=False,
            bounds=(0, 1),
            level=self.level,
            seed=self.seed,
        )


def _said(kept: Kept) -> str:
    return " + ".join(kept)


def _ordered(asked: Sequence[Kept] | None, names: Kept) -> tuple[Kept, ...]:
    """Subsets with their inputs in the data's order, each once."""
    if asked is None:
        return tuple(every_subset(names))
    for s in asked:
        if not s or not set(s) <= set(names) or len(set(s)) < len(s):
            raise AskedWrongly(f"{s} is no subset of the inputs {', '.join(names)}: name some of them, each once")
    return tuple(dict.fromkeys(tuple(m for m in names if m in s) for s in asked))


def _complete(batch: Batch) -> torch.Tensor:
    here = [batch.present[m] for m in batch.modalities if m in batch.present]
    return torch.stack(here).all(dim=0) if here else torch.ones(len(batch), dtype=torch.bool)


def _fills(data: Dataset, reference: Dataset | None, how: How) -> dict[str, Value]:
    """One value a modality that stands for it where it is missing, for "zero" and "mean"."""
    if how not in SAYS:
        raise AskedWrongly(f"how is {how!r}; it must be one of {', '.join(SAYS)}")
    if how not in ("zero", "mean"):
        return {}
    out: dict[str, Value] = {m: k.collate([k.blank()]) for m, k in data.schema.modalities.items()}
    out = {m: torch.zeros_like(v) if isinstance(v, torch.Tensor) else v for m, v in out.items()}
    if how == "mean":
        if reference is None:
            raise AskedWrongly("how='mean' needs a reference to take means from, disjoint from the data audited")
        batch = reference.load(range(len(reference))).batch
        if batch is None:
            raise AskedWrongly("no sample of the reference can be read")
        seen = batch.take(_complete(batch).nonzero().flatten())
        out |= {m: v.mean(dim=0, keepdim=True) for m, v in seen.inputs.items() if isinstance(v, torch.Tensor)}
    return out


def _outcomes(
    model: Model, batch: Batch, tests: Sequence[Kept], how: How, fills: Mapping[str, Value]
) -> dict[Kept, Floats]:
    """Right or not [N] with each test subset; inputs and what stands for them are encoded once."""
    clean = Clean.observe(Metered(model, batch.modalities), batch)
    n, names = len(batch), list(model.modalities)
    gone = {}
    for m in names:
        if m in fills:
            gone[m] = clean.model.encode(m, concatenate([take(fills[m], [0])])), torch.zeros(n, dtype=torch.long)
        else:
            gone[m] = clean.neutral(m)
    out = {}
    for kept in tests:
        codes = {m: clean.codes[m] if m in kept else gone[m][0] for m in names}
        index = {m: clean.index[m] if m in kept else gone[m][1] for m in names}
        there = {m: torch.full((n,), m in kept) for m in names} if how == "absent" else None
        found = clean.model.logits(codes, index, there).argmax(dim=1)
        out[kept] = (found == batch.targets).numpy().astype(np.float64)
    return out
