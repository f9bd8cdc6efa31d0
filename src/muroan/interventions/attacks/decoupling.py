"""The decoupling attack of MUROAN: remove the fewest points of the input that change the model's decision.

Source: Vishwamitra, Hu, Zhao, Cheng, Luo, "Understanding and Measuring Robustness of Multimodal Learning",
arXiv 2112.12792. The objective is to find a small set S of points, over all modalities together, with

    argmax G(F(x \\ S)) != argmax G(F(x)).

1. Candidates. Pictures are searched as a quadtree, sound and series as a binary tree; only boxes whose removal
   alone decouples (`test`) are split further. Words and table columns are left out one at a time.
2. Sets of each sample's candidates, by increasing size, until one changes the decision.
3. Shrinking (ours). Removed boxes are dropped or trimmed, largest first, for as long as the decision stays changed. A
   candidate that changes the decision but is too large for the budget is shrunk before larger sets are tried.

Where it departs from the code released with the paper, on purpose: parts are removed from the input before any
preprocessing of the model; a set's size is its union, not its last element; a set with a box inside another box of
it is not tried; words and columns are candidates whatever the test says of them; candidates are tried fewest points
first, among equals the most decisive (there: regions first, then words); a word is removed in the same way
everywhere; boxes stay inside the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.clean import Clean
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.grouped import distinct, rank
from muroan.interventions.attacks.losses import margin
from muroan.interventions.attacks.removal import POINTWISE, Read, Removal, lengths, pick
from muroan.interventions.attacks.subsets import SEARCHES, Found, Parts, Search
from muroan.meter import Codes, Metered
from muroan.registry import register

TESTS = ("label", "margin", "argmax", "cosine")
OF_THE_CODE = ("argmax", "cosine")
"""Tests that look at the fused code, so need a model that can be taken apart."""


@register
@dataclass(frozen=True, kw_only=True)
class Decoupling(Attack):
    """Removes parts of the input until the decision changes; budgets: `share` of each modality's points.

    test: when a part counts as decoupling, that is, becomes a candidate and is searched more finely:
        "margin": the lead of the decision over its best rival (in logits) falls below `threshold` of itself. The
            default: it works on every model, and finds the most of the four (on easy-VQA, see the probe).
        "label": the decision changes. A region is then a candidate only if it is enough alone, so regions that are
            only enough together are never found.
        "argmax": the largest coordinate of the fused code is another one (the test released with the paper).
        "cosine": the fused code's cosine with the untouched one is below `threshold`.
        The last two need a model that can be taken apart, and say nothing about the decision by themselves.
    search: "subset" tries sets by increasing size. "cumulative" tries subsets of words and columns first, then
        removes regions one after another, smallest first, without putting any back.
    max_tries: sets considered for each sample, those of size one included.
    cell: boxes are split until no side is longer than this; a small input is always split three times.
    overlap: split into overlapping boxes too, which finds what straddles a border, for three times the calls.
    shrink: whether to take step 3.
    share: the most that may be removed, as a part of the points of all modalities together; one point, at least.

    All samples are searched at once, and the result is that of searching each alone, one set after another. A
    larger budget never loses a success: sets beyond the budget are passed over, but keep their place in the order.
    The budget binds what is removed in the end, not what the search asks about on its way there.

    Known trade-offs (accepted): the set found is an upper bound of the smallest one; a pixel and a word count as one
    point each; evidence that no single box of the tree bears is not found in a picture.
    """

    name = "decoupling"
    source = "MUROAN, arXiv 2112.12792"

    test: str = "margin"
    threshold: float = 0.8
    search: str = "subset"
    max_tries: int = 500
    cell: int = 8
    overlap: bool = False
    shrink: bool = True
    share: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (("test", self.test, TESTS), ("search", self.search, SEARCHES)):
            if value not in known:
                raise AskedWrongly(f"{name} is {value!r}; it must be one of {', '.join(known)}")
        if self.max_tries < 1 or self.cell < 1:
            raise AskedWrongly(f"max_tries and cell must be at least 1, not {self.max_tries} and {self.cell}")
        if not 0 <= self.share <= 1:
            raise AskedWrongly(f"share is {self.share}; it must lie between 0 and 1")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        """Attack every sample within `budgets`. The search draws nothing, so `seed` changes nothing."""
        clean = Clean.observe(model, batch)
        removal = Removal(clean)
        shares = {m: b.share for m, b in budgets.items() if m in model.modalities and b.share > 0}
        parts = self.parts(removal, torch.ones(len(batch), dtype=torch.bool), tuple(shares))
        found = self.find(removal, parts, shares)
        hit = found.success.nonzero().flatten()
        logits = clean.logits.clone()
        if len(hit):
            logits[hit] = removal.ask(hit, pick(found.boxes, hit), lambda *asked: asked[3])
        trace = {"probes": found.probes, "candidates": found.candidates, "tries": found.tries, "calls": found.calls}
        trace |= {f"removed.{m}": n for m, n in found.removed.items()}
        return Attacked(batch.with_inputs(**removal.apply(found.boxes)), found.success, logits, trace)

    # Step 1: candidates

    def parts(self, removal: Removal, attacked: Tensor, among: Sequence[str]) -> dict[str, Parts]:
        """The parts of `among` that the search looks at, each removed alone, for the samples in `attacked` [N]."""
        read = self._read(removal.clean)
        return {m: self._probe(removal, m, attacked & (removal.points[m] > 0), read) for m in among}

    def _probe(self, removal: Removal, m: str, attacked: Tensor, read: Read) -> Parts:
        sample, grid = attacked.nonzero().flatten(), removal.grids[m]
        if removal.modalities[m].kind in POINTWISE:
            sample = sample.repeat_interleave(grid[sample, 0])
            start = rank(sample)
            return self._alone(removal, m, sample, torch.stack([start, torch.ones_like(start)], dim=1), read)
        finest = ((grid.amax(dim=1) + 7) // 8).clamp(1, self.cell)
        box, axes = torch.cat([torch.zeros_like(grid), grid], dim=1)[sample], grid.shape[1]
        levels: list[Parts] = []
        while len(sample) or not levels:
            parent, box = split(box, finest[sample], overlap=self.overlap)
            sample = sample[parent]
            if self.overlap:
                once = _once(sample, box)
                sample, box = sample[once], box[once]
            levels.append(self._alone(removal, m, sample, box, read))
            further = levels[-1].decouples & (box[:, axes:].amax(dim=1) > finest[sample])
            sample, box = sample[further], box[further]
        return Parts.concat(levels)

    def _alone(self, removal: Removal, m: str, sample: Tensor, box: Tensor, read: Read) -> Parts:
        """These boxes, each removed from its sample and asked about."""
        if not len(sample):
            none = torch.zeros(0, dtype=torch.bool)
            return Parts(sample, box, lengths(box), none, none, none.double())
        flips, kept, lead = removal.ask(sample, {m: box[:, None]}, read).unbind(dim=1)
        # For "label" and "argmax" what is kept is 1 or 0, whatever the threshold.
        below = self.threshold if self.test in ("margin", "cosine") else 0.5
        return Parts(sample, box, lengths(box), flips > 0, kept < below, 1 - lead)

    def _read(self, clean: Clean) -> Read:
        """(codes, index, sample, logits) -> [t, 3]: does the decision change, what `test` sees kept, the lead kept."""
        untouched, leads = clean.predicted, (-margin(clean.logits, clean.predicted)).clamp_min(1e-12)
        present = dict(clean.batch.present)
        if self.test in OF_THE_CODE:
            if not clean.model.apart:
                raise NotApplicable(f"the test {self.test!r} needs a model that can be taken apart")
            fused = clean.model.fused(clean.codes, clean.index, present or None).flatten(1)

        def read(codes: Mapping[str, Codes], index: Mapping[str, Tensor], sample: Tensor, logits: Tensor) -> Tensor:
            flips = logits.argmax(dim=1) != untouched[sample]
            lead = -margin(logits, untouched[sample]) / leads[sample]
            kept = lead if self.test == "margin" else (~flips).double()
            if self.test in OF_THE_CODE:
                here = {m: p[sample] for m, p in present.items()}
                now, before = clean.model.fused(codes, index, here or None).flatten(1), fused[sample]
                if self.test == "argmax":
                    kept = (now.argmax(dim=1) == before.argmax(dim=1)).double()
                else:
                    kept = torch.nn.functional.cosine_similarity(now.double(), before.double(), dim=1)
            return torch.stack([flips.double(), kept, lead], dim=1)

        return read

    # Steps 2 and 3

    def find(self, removal: Removal, parts: Mapping[str, Parts], shares: Mapping[str, float]) -> Found:
        """Search among the parts of the modalities in `shares`, removing at most that share of each."""
        search = Search(
            removal,
            {m: parts[m] for m in shares},
            most={m: whole(removal.points[m] * s) for m, s in shares.items()},
            most_in_all=whole(removal.total * self.share).clamp_min(1 if self.share > 0 else 0),
            order=self.search,
            max_tries=self.max_tries,
        )
        search.singles()
        if self.shrink:
            search.fit()
        search.sets()
        if self.shrink:
            search.shrink()
        return search.found()


def whole(points: Tensor) -> Tensor:
    """Whole points in a share of points; 0.29 of 100 is 29, whatever floats make of it."""
    return (points.double() + 1e-9).floor().long()


def split(box: Tensor, finest: Tensor, *, overlap: bool = False) -> tuple[Tensor, Tensor]:
    """(parent [Q], boxes [Q, 2·axes]): each box [P, 2·axes] halved, rounding up, along sides over `finest` [P].

    The halves stay inside the box, so that they partition it. With `overlap` there is a third piece in the middle
    of each halved side. In the order of the boxes; within one, the first axis varies fastest.
    """
    axes = box.shape[1] // 2
    starts, sizes = [], []
    for axis in range(axes):
        start, size = box[:, axis], box[:, axes + axis]
        long = size > finest
        half = torch.where(long, (size + 1) // 2, size)
        rest = size - half
        pieces = [(start, half), (start + half, rest)]
        if overlap:
            pieces.append((start + half // 2, torch.where(long, half, 0)))
        view = [len(box), *[1] * (axes - 1 - axis), len(pieces), *[1] * axis]
        starts.append(torch.stack([s for s, _ in pieces], dim=1).view(view))
        sizes.append(torch.stack([n for _, n in pieces], dim=1).view(view))
    shape = [len(box), *[max(t.shape[i] for t in starts) for i in range(1, axes + 1)]]
    children = torch.stack([t.expand(shape) for t in starts + sizes], dim=-1).flatten(1, axes)
    parent = torch.arange(len(box))[:, None].expand(children.shape[:2])
    real = lengths(children) > 0
    return parent[real], children[real]


def _once(sample: Tensor, box: Tensor) -> Tensor:
    """Rows without those that repeat an earlier (sample, box), in order."""
    _, at = torch.unique(torch.cat([sample[:, None], box], dim=1), dim=0, return_inverse=True)
    return distinct(at)[0].sort().values
