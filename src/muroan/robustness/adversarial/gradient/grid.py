"""A grid of budgets: which combinations of inputs, each at which share of its full budget, are attacked.

Budgets are nested. A cell contains another if it allows at least as much in every input; what gave way in a cell gives
way in every cell that contains it, so cells are explored from small to large, a sample that gave way is not attacked
again in any larger cell, and success never falls as a budget grows: by construction, not as a finding. A larger cell
also begins where the worst point of a smaller one left off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch
from muroan.budget import Budget, movable, worded
from muroan.interventions.attacks.controls import random_search
from muroan.interventions.attacks.joint import Joint, opened
from muroan.interventions.attacks.results import bettered, either, nothing, placed, rows, worst
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.removals import of_sizes
from muroan.meter import Metered

ALL_CELLS = 3
"""Up to so many attackable inputs every combination of levels is a cell; with more, each alone and all alike."""

Cell = tuple[float, ...]
"""A share of the full budget for every attackable input, in order."""


def shares_of(inputs: int) -> tuple[float, ...]:
    """The shares that are tried of a continuous input's budget, unless told otherwise."""
    return (0.25, 0.5, 1.0) if inputs < ALL_CELLS else (0.5, 1.0)


@dataclass(frozen=True)
class Grid:
    """full[m]: the most that input m may change; shares: the levels of continuous inputs, rising to 1.

    Texts go word by word up to their words; with three inputs in steps of the shares, and never by less than a word.
    """

    full: Mapping[str, Budget]
    shares: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.full)

    def levels(self, m: str) -> tuple[float, ...]:
        """Shares of input m's budget, from 0 to 1."""
        words = self.full[m].words
        if not words:
            return (0.0, *self.shares)
        if len(self.full) < ALL_CELLS:
            return tuple(k / words for k in range(words + 1))
        return tuple(sorted({0.0, *(int(s * words + 1e-9) / words for s in self.shares)}))

    def cells(self) -> list[Cell]:
        """All cells but the empty one, small before large."""
        levels = [self.levels(m) for m in self.names]
        if len(levels) <= ALL_CELLS:
            cells = set(product(*levels))
        else:
            cells = {tuple(s if i == k else 0.0 for i in range(len(levels))) for k, ls in enumerate(levels) for s in ls}
            cells |= {tuple(max(x for x in ls if x <= s) for ls in levels) for s in self.shares}
        return sorted((c for c in cells if any(c)), key=lambda c: (sum(c), c))

    def budgets(self, cell: Cell) -> dict[str, Budget]:
        """What the cell allows, of the inputs that it allows to change at all."""
        return {m: self.full[m].scaled(s) for m, s in zip(self.names, cell, strict=True) if s}

    def only(self, cell: Cell, kept: Sequence[str]) -> Cell:
        """The cell with all other inputs left alone."""
        return tuple(s if m in kept else 0.0 for m, s in zip(self.names, cell, strict=True))

    def support(self, cell: Cell) -> tuple[str, ...]:
        """The inputs that the cell allows to change at all."""
        return tuple(m for m, s in zip(self.names, cell, strict=True) if s)

    def whole(self, support: Sequence[str]) -> Cell:
        """The cell that allows these inputs everything."""
        return tuple(float(m in support) for m in self.names)

    def supports(self) -> list[tuple[str, ...]]:
        """The sets of inputs that are attacked, small before large."""
        k = len(self.names)
        return of_sizes(self.names, range(1, k + 1) if k <= ALL_CELLS else (1, k))


def contains(a: Cell, b: Cell) -> bool:
    """Whether cell a allows everything that b allows."""
    return all(x >= y for x, y in zip(a, b, strict=True))


def next_below(cell: Cell, others: Sequence[Cell]) -> list[Cell]:
    """The largest of the cells that `cell` contains: each of the rest lies in one of them."""
    inside = [c for c in others if c != cell and contains(cell, c)]
    return [c for c in inside if not any(c != d and contains(d, c) for d in inside)]


TRACE = ("loss_first", "loss_best", "zero_gradient", "promised", "kept")
"""What is kept of an ascent: the highest loss of all that was tried so far, the rest of the last ascent that began at
the sample itself."""


def starts(grid: Grid, attack: Joint, cell: Cell) -> tuple[int, int]:
    """Ascents of a cell: those that begin at the sample itself or at random, and those that begin below."""
    support, restarts = grid.support(cell), attack.climb().restarts
    if attack.ascent == "fgsm":
        return 1, 0
    last = cell == grid.whole(support)
    if not any(grid.support(c) == support and c != cell and contains(cell, c) for c in grid.cells()):
        return (restarts if last else 1), 0
    return (1, restarts - 1) if last and restarts > 1 else (0, 1)


def explore(model: Metered, batch: Batch, grid: Grid, attack: Joint, *, seed: int) -> dict[Cell, Attacked]:
    """Attack every cell of the grid, small before large: the worst point that was found in it, of each of N samples.

    The first cell of a set of inputs begins at the sample itself, the cells between at the worst point of the largest
    ones below, the last (all of the budgets) at both, and at random points if there are more starts. FGSM, which is one
    step from the sample, always begins there. Where one continuous input alone is moved, `trace` has `TRACE`.
    """
    if not len(batch):
        return dict.fromkeys(grid.cells(), nothing(model, batch))
    walk = _Walk(model, batch, grid, attack, seed, nothing(model, batch))
    for cell in grid.cells():
        walk.visit(cell)
    return walk.done


@dataclass
class _Walk:
    """On the way through the cells: what was done in those behind."""

    model: Metered
    batch: Batch
    grid: Grid
    attack: Joint
    seed: int
    clean: Attacked
    done: dict[Cell, Attacked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = self.clean.logits.argmax(dim=1)

    def visit(self, cell: Cell) -> None:
        below = [self.done[c] for c in next_below(cell, list(self.done))]
        base = worst(below, self.labels) if below else self.clean
        texts, rest = self._allowed(cell)
        trace = self._carried(cell) if not texts and len(rest) == 1 else {}
        done, left = base, (~base.success).nonzero().flatten()
        if len(left):
            some = self.batch.take(left)
            if texts and rest:
                tried = self._mixed(cell, some, left)
            elif texts:
                tried = WordSubstitution().run(self.model, some, texts, seed=self.seed)
            else:
                tried = self._ascents(cell, some, left, (), trace)
            done = bettered(base, tried, left, self.labels[left])
        self.done[cell] = replace(done, trace=trace)

    def _allowed(self, cell: Cell) -> tuple[dict[str, Budget], dict[str, Budget]]:
        """(texts whose words may be replaced, continuous inputs that may be moved)."""
        budgets, known = self.grid.budgets(cell), self.model.modalities
        return worded(known, budgets), movable(known, budgets)

    def _alike(self, cell: Cell) -> list[Attacked]:
        """The largest cells below of the same inputs."""
        support = self.grid.support(cell)
        return [self.done[c] for c in next_below(cell, [c for c in self.done if self.grid.support(c) == support])]

    def _carried(self, cell: Cell) -> dict[str, Tensor]:
        """What is known of the samples from the largest cell below."""
        alike = self._alike(cell)
        if alike:
            return {k: v.clone() for k, v in alike[0].trace.items()}
        return {k: torch.full((len(self.batch),), -torch.inf, dtype=torch.double) for k in TRACE}

    def _ascents(
        self, cell: Cell, some: Batch, left: Tensor, texts: Iterable[str], trace: dict[str, Tensor]
    ) -> Attacked:
        """The samples `left` with their continuous inputs moved; texts: those that were changed before, in `some`."""
        climb, (anew, onward), (_, rest) = (
            self.attack.climb(),
            starts(self.grid, self.attack, cell),
            self._allowed(cell),
        )
        done: Attacked | None = None
        open_ = torch.arange(len(left))
        if anew:
            done = replace(climb, restarts=anew).run(self.model, some, rest, seed=self.seed)
            _note(trace, done, left, TRACE)
            open_ = (~done.success).nonzero().flatten()
        if onward and len(open_):
            at = left[open_]
            begin = worst([rows(a, at) for a in self._alike(cell)], self.labels[at]).batch
            said = self.batch.take(at).with_inputs(**{m: begin.inputs[m] for m in texts})
            again = replace(climb, restarts=onward).run(self.model, said, rest, seed=self.seed, begin=begin)
            _note(trace, again, at, ("loss_best",))
            done = again if done is None else bettered(done, again, open_, self.labels[at])
        assert done is not None
        return done

    def _mixed(self, cell: Cell, some: Batch, left: Tensor) -> Attacked:
        """Words and continuous inputs, either in the presence of the other, in the order that is asked for."""
        first: Attacked | None = None
        (texts, rest), open_ = self._allowed(cell), torch.arange(len(left))
        if self.attack.order != "words first":
            first = self.attack.words_last(self.model, texts, self._alone(cell, some, left, rest), seed=self.seed)
            open_ = (~first.success).nonzero().flatten()
            if self.attack.order == "words last" or not len(open_):
                return first
        at = left[open_]
        spoken = self._alone(cell, some.take(open_), at, texts)
        under = opened(some.take(open_), spoken.batch, texts, seed=self.seed)
        # Where the grid has no cell for the words alone, they may have been enough.
        second = either([spoken], self._ascents(cell, under, at, texts, {}))
        return second if first is None else bettered(first, second, open_, self.labels[at])

    def _alone(self, cell: Cell, some: Batch, at: Tensor, budgets: Mapping[str, Budget]) -> Attacked:
        """Some of a cell's inputs alone: as they were found before, where the grid has a cell for that."""
        part = self.grid.only(cell, list(budgets))
        if part in self.done:
            return rows(self.done[part], at)
        return self.attack.run(self.model, some, budgets, seed=self.seed)


def _note(trace: dict[str, Tensor], done: Attacked, at: Tensor, names: Sequence[str]) -> None:
    """Write what an ascent said of the samples `at`, where it is to be kept."""
    for k in names:
        if k in trace:
            new = done.trace[k].double()
            trace[k][at] = torch.maximum(new, trace[k][at]) if k == "loss_best" else new


def draws(grid: Grid, attack: Joint, support: Sequence[str]) -> int:
    """Forward passes that the ascents over these inputs make of a sample that resists, in all cells together.

    1 where only words change, since the attack on words tries all replacements there are.
    """
    moved = [m for m in support if not grid.full[m].words]
    if not moved or (len(moved) < len(support) and attack.order == "words last"):
        return 1
    cells = [c for c in grid.cells() if grid.support(c) == tuple(support)]
    return (attack.climb().steps + 1) * sum(sum(starts(grid, attack, c)) for c in cells)


def random_controls(
    model: Metered, batch: Batch, grid: Grid, attack: Joint, *, seed: int, purpose: str
) -> dict[tuple[str, ...], Attacked]:
    """Random changes as large as the full budgets of every set of inputs, in as many `draws` as the attack has passes.

    Nested as the attack is: what random changes of some of the inputs turned is not drawn for again.
    """
    controls: dict[tuple[str, ...], Attacked] = {}
    clean = nothing(model, batch)
    for support in grid.supports():
        base = either([done for s, done in controls.items() if set(s) < set(support)], clean)
        left = (~base.success).nonzero().flatten()
        allowed, tries = grid.budgets(grid.whole(support)), draws(grid, attack, support)
        why = f"{purpose} {' + '.join(support)}"
        guessed = random_search(model, batch.take(left), allowed, tries, seed=seed, purpose=why)
        controls[support] = placed(base, guessed, left)
    return controls
