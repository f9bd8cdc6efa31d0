"""Square attack: random search that asks for nothing but scores, so that no gradient can lead it astray.

Source: Andriushchenko, Croce, Flammarion & Hein, ECCV 2020 (arXiv 1912.00049), algorithm 1 with the L∞ distribution:
begin at vertical stripes on the border of the ball; then put a random square of ±radius, one sign a channel, in place
of what was there and keep it if the margin falls. The squares shrink: `share` of the pixels at first, halved at 0.1,
0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries (the paper's 10, 50, ... 8,000 of 10,000). The paper takes a share of
0.05 for L∞, more for robust models; AutoAttack, and this file, 0.8.

Ours, where the paper has nothing to say:

- a series or a sound has a run of consecutive steps in place of the square, `share` of its length, one sign a channel,
  and begins at random signs;
- a table, whose columns have no order, has a random `share` of its columns, one sign a column;
- of several inputs each query changes one, in turn, so that only that one is encoded;
- a proposal that would change nothing has its signs turned (the paper draws again until one does);
- squares reach every border (the paper's code leaves out the last row and column).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets, movable
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Room
from muroan.interventions.attacks.gradient_attack import ROWS
from muroan.interventions.attacks.losses import margin
from muroan.interventions.attacks.results import in_parts
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Codes, Metered
from muroan.modality import where
from muroan.model import Capability
from muroan.randomness import key, uniform
from muroan.registry import register

HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Parts of all queries after which the share of a proposal is halved."""


def share_at(query: int, queries: int, share: float) -> float:
    """Share of the points that the proposal number `query` (from 0) of `queries` changes."""
    done = int(query / queries * 10_000) / 10_000  # as the paper's code rounds it
    return float(share * 0.5 ** sum(done > at for at in HALVED_AT))


@register
@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Counted queries, no gradients: what somebody can do who only sees scores, and the check on masked gradients.

    Draws belong to samples, so a sample's search is the same alone and in a batch; a sample whose decision changed is
    asked nothing more. Inputs move in L∞ balls only.

    `trace`: queries [N] (beyond the one for the decision itself), margin_first, margin_best [N] (the best other logit
    minus the decision's own; positive: changed).

    queries: at most, per sample; 5,000 in AutoAttack. share: of the points, in the first proposals.
    """

    name = "square"
    source = "Andriushchenko et al., ECCV 2020, algorithm 1 (L∞); AutoAttack's share of 0.8"
    needs = frozenset({Capability.SCORES})

    queries: int = 500
    share: float = 0.8

    def __post_init__(self) -> None:
        if self.queries < 1 or not 0 < self.share <= 1:
            raise AskedWrongly(f"square needs a query and a share above 0 and at most 1, got {self}")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        moving = movable(model.modalities, budgets)
        wrong = [m for m, b in moving.items() if b.norm != "inf"]
        if wrong:
            raise AskedWrongly(f"square moves in L∞ balls; {wrong[0]} has a budget in L{moving[wrong[0]].norm}")
        return in_parts(batch, ROWS, lambda part, at: self._some(Stage.of(model, part), moving, seed))

    def _some(self, stage: Stage, moving: Budgets, seed: int) -> Attacked:
        worst = Worst.at(stage.batch, moving, margin(stage.logits, stage.predicted), stage.logits)
        if moving and len(stage.batch):
            _Search(self, stage, moving, seed).run(worst)
        trace = {"queries": worst.passes, "margin_first": worst.first, "margin_best": worst.loss}
        return worst.attacked(trace)


class _Search:
    """The R samples that are still open: which, where they are, the ends of their balls, margins, codes, keys."""

    def __init__(self, settings: Square, stage: Stage, moving: Budgets, seed: int) -> None:
        room = Room.around(stage.batch, moving, stage.every)
        ends = {m: room.ends(m) for m in moving}
        self.settings, self.stage, self.sample, self.x = settings, stage, room.sample, dict(room.origin)
        self.low, self.high = ({m: v[k] for m, v in ends.items()} for k in (0, 1))
        self.best = torch.full((len(room.sample),), -torch.inf, dtype=torch.double)
        self.codes = {m: stage.codes[m] for m in moving}
        self.keys = {m: room.keys(seed, settings.name, m) for m in moving}

    def run(self, worst: Worst) -> None:
        """All queries, or as many as there are open samples for."""
        names = list(self.x)
        for query in range(self.settings.queries):
            moved = [names[query % len(names)]] if query else names
            new = {m: self._proposed(m, query) if query else self._stripes(m) for m in moved}
            coded = {m: self.stage.model.encode(m, v, anew=True) for m, v in new.items()}
            logits = self.stage.asked({**self.codes, **coded}, self.sample)
            labels = self.stage.predicted[self.sample]
            found, turned = margin(logits, labels), logits.argmax(dim=1) != labels
            # The stripes are taken as they are, even where they are worse than the sample itself: `best` is -∞.
            self._accept(new, coded, found, turned | (found > self.best))
            worst.passes[self.sample] += 1
            worst.keep(query, self.sample, self.x, Seen(found, turned, logits))
            if bool(turned.any()):
                self._take((~turned).nonzero().flatten())
                if not len(self.sample):
                    return

    def _accept(self, new: dict[str, Tensor], coded: dict[str, Codes], found: Tensor, better: Tensor) -> None:
        self.best = torch.where(better, found, self.best)
        pick = torch.arange(len(better)) + len(better) * better
        for m, v in new.items():
            self.x[m] = where(better, v, self.x[m])
            if len(self.x) > 1:  # the only input that moves is encoded anew at every query
                self.codes[m] = Codes.concat([self.codes[m], coded[m]]).take(pick)

    def _take(self, rows: Tensor) -> None:
        """Forget all samples but these."""
        self.sample, self.best = self.sample[rows], self.best[rows]
        self.x, self.low, self.high = ({m: v[rows] for m, v in held.items()} for held in (self.x, self.low, self.high))
        self.codes = {m: c.take(rows) for m, c in self.codes.items()}
        self.keys = {m: k[rows.numpy()] for m, k in self.keys.items()}

    def _draws(self, m: str, query: int, *shape: int) -> Tensor:
        # One key a query beside one a sample: a key from every sample's name at every query would take longer than
        # the model itself.
        return torch.from_numpy(uniform(self.keys[m] ^ np.uint64(key(self.settings.name, query)), *shape))

    def _stripes(self, m: str) -> Tensor:
        x = self.x[m]
        shape = (x.shape[1], 1, x.shape[3]) if x.ndim == 4 else x.shape[1:]
        return torch.where(self._draws(m, 0, *shape) < 0.5, self.low[m], self.high[m])

    def _proposed(self, m: str, query: int) -> Tensor:
        x, kind = self.x[m], self.stage.batch.modalities[m].kind
        share = share_at(query, self.settings.queries, self.settings.share)
        chosen, up = {"image": self._square, "tabular": self._columns}.get(kind, self._span)(m, query, share)
        new = torch.where(chosen, torch.where(up, self.high[m], self.low[m]), x)
        same = (new == x).flatten(1).all(dim=1)
        if bool(same.any()):
            new[same] = torch.where(chosen[same], torch.where(up[same], self.low[m][same], self.high[m][same]), x[same])
        return new

    def _square(self, m: str, query: int, share: float) -> tuple[Tensor, Tensor]:
        channels, height, width = self.x[m].shape[1:]
        side = min(max(round(math.sqrt(share * height * width)), 1), max(min(height, width) - 1, 1))
        draws = self._draws(m, query, 2 + channels)
        inside = [
            _inside(draws[:, k], side, size).view(-1, 1, *shape)
            for k, (size, shape) in enumerate(((height, (height, 1)), (width, (1, width))))
        ]
        return inside[0] & inside[1], (draws[:, 2:] < 0.5)[:, :, None, None]

    def _span(self, m: str, query: int, share: float) -> tuple[Tensor, Tensor]:
        length, *channels = self.x[m].shape[1:]
        span = min(max(round(share * length), 1), max(length - 1, 1))
        wide = math.prod(channels)
        draws = self._draws(m, query, 1 + wide)
        inside = _inside(draws[:, 0], span, length).view(-1, length, *[1] * len(channels))
        return inside, (draws[:, 1:] < 0.5).view(-1, 1, *channels) if channels else draws[:, 1:] < 0.5

    def _columns(self, m: str, query: int, share: float) -> tuple[Tensor, Tensor]:
        columns = self.x[m].shape[1]
        draws = self._draws(m, query, 2, columns)
        chosen = draws[:, 0].argsort(dim=1).argsort(dim=1) < max(round(share * columns), 1)
        return chosen, draws[:, 1] < 0.5


def _inside(draw: Tensor, length: int, size: int) -> Tensor:
    """A run of `length` of `size` points that begins at a uniform place: bool [R, size]; draw [R] in (0, 1)."""
    start = (draw * (size - length + 1)).long()[:, None]
    at = torch.arange(size)
    return (at >= start) & (at < start + length)
