"""How little of the input must be taken away until the decision changes?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.errors import AskedWrongly, nearest
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric, Panel
from muroan.interventions.attacks.decoupling import OF_THE_CODE, Decoupling
from muroan.interventions.attacks.matched import best_of
from muroan.interventions.attacks.removal import Boxes, Removal, lengths, share
from muroan.interventions.attacks.subsets import Found
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.registry import register
from muroan.robustness.adversarial.decoupling.findings import SMALLEST, conclude

LONGEST = 600
"""Characters of a text that an exhibit shows."""
SURE = 0.9
"""Confidence from which an exhibit calls an answer sure."""


@register
@dataclass(frozen=True, kw_only=True)
class DecouplingProbe(Probe):
    """MUROAN's decoupling attack on each sample, on all inputs together and on each alone, beside chance.

    The attack (`Decoupling`, whose settings are here too) looks for a small set of regions, words, columns, frames
    or steps whose removal changes the decision. It may remove `budget` of all points (pixels, words, ... count as
    one each) and `per_input` of any one input, so that it never simply drops an input. By default only right answers
    are attacked, of all classes, so a success is an answer that was right and no longer stands.

    What a success is worth is told by chance: for every attacked sample, pieces of the same kinds, sizes and number
    are removed at random places, as often as the attack asked the model, and any one hit counts. Where the attack
    failed, the random pieces are those of the largest set that it tried within the budget. Words and columns are
    drawn without repeats, so that trying every word once is not taken for cleverness.

    - success: attacked samples whose decision changes (flips / attacked). success_at_1: by at most 1 % of the points.
    - excess: success minus that of the random removals, paired. 0: what changes decisions is found as easily by
      chance; 1: a search always finds what chance never does, decisions hang on few places. The alarm. Also for
      each input alone, since one short text can hide what a picture hangs on.
    - beyond_whole: attacked samples that a small part of one input turns though they stand when all of that input is
      removed by the same means, beyond answers that stand by chance. 0: a part never matters more than the whole it is
      a part of; 1: every decision hangs on a part of an input that it does not need. The second alarm, and where
      `excess` is blind: where one word of twelve decides, twelve random removals find it as well as a search.
    - area: how early decisions fall, averaged over budgets from 0.01 % to `budget` on a log scale: the area under
      success as a function of the budget. It is ours; the paper's own measure is not known. 0: none falls; 1: all
      fall to 0.01 %.
    - share_median, share_worst: of the points, among successes; the share is that of the union, and an upper bound
      of the smallest one that would do.
    - involves, own_share: which inputs the removed points came from, and how much of each.
    - reliance: decisions that change when an input is missing altogether.
    - null: decisions that change when nothing is removed, through the same steps. Anything but 0 is the
      measurement's own doing, and voids the rest.

    The default test is "margin": it works on every model, and on easy-VQA it turns the most answers of the four, above
    all through the picture (`reproductions/r01.py` measures them all). It looks at the decision, not at the fused
    code, as the test released with the paper does ("argmax"); the notes of a report say which test was used.

    Known trade-offs (accepted): removing what a question asks about should change the answer, so success alone has
    no honest default limit; a pixel and a word count alike, so shares of inputs of different kinds do not compare;
    erased points take a neutral value, which may be unlike anything in training; where inputs have very many parts,
    `max_tries` sets of all inputs together can miss what the same number of one input's own finds.
    """

    name = "robustness.decoupling"
    question = "How little of the input must be taken away until the decision changes?"
    place = "robustness/adversarial"
    source = "Vishwamitra et al., MUROAN, arXiv 2112.12792 (decoupling attack); controls are ours"
    outcomes = {"success": "lower"}
    finds = {
        "robustness.decisive-word": ("beyond_whole",),
        "robustness.decisive-patch": ("beyond_whole", "excess"),
        "robustness.decoupled": ("excess",),
        "robustness.telling-patch-vqa": ("excess",),
    }
    metrics = (
        Metric(
            name="success",
            says="Share of attacked answers that change when a small, well-chosen part of the input is removed. "
            "0: none; 1: all.",
        ),
        Metric(
            name="success_at_1",
            says="Share of attacked answers that change when at most 1 % of the input is removed. 0: none; 1: all.",
        ),
        Metric(
            name="excess",
            says="How many more answers a search turns than random removals of equal size, asked as often. 0: "
            "no more than chance; 1: every decision hangs on few places that chance does not hit.",
            limit=0.3,
        ),
        Metric(
            name="beyond_whole",
            says="Share of attacked answers that change without a small part of one input, though not without all of "
            "it, beyond chance. 0: no part matters more than its whole; 1: every answer hangs on a part of what it "
            "does not need.",
            limit=0.2,
        ),
        Metric(
            name="area",
            says="How early answers change as more of the input may be removed, 0.01 % up to the budget, log scale. "
            "0: none changes; 1: all change with 0.01 % removed.",
        ),
        Metric(
            name="share_median",
            says="Part of the input whose removal changes the answer, for the median changed answer. Near 0: a "
            "handful of points decides.",
            better="higher",
        ),
        Metric(
            name="share_worst",
            says="Part of the input that had to be removed for the answer that held out longest among those that "
            "changed.",
            better="higher",
        ),
        Metric(name="involves", says="Share of changed answers for which something of this input was removed."),
        Metric(name="own_share", says="Part of this input that was removed, on average over the changed answers."),
        Metric(
            name="reliance",
            says="Share of answers that change when this input is missing altogether. 0: the model ignores it.",
        ),
        Metric(
            name="null",
            says="Share of answers that change when nothing is removed. Must be 0: else the measurement is void.",
        ),
    )

    limit: int | None = 400
    test: str = Decoupling.test
    threshold: float = Decoupling.threshold
    search: str = Decoupling.search
    max_tries: int = Decoupling.max_tries
    cell: int = Decoupling.cell
    overlap: bool = Decoupling.overlap
    shrink: bool = Decoupling.shrink
    budget: float = 0.05
    """The most that may be removed, as a part of all points of the sample; one point, at least."""
    per_input: float = 0.5
    """The most that may be removed of any one input."""
    correct_only: bool = True
    """Attack right answers only; otherwise every answer."""
    classes: tuple[str, ...] = ()
    """Attack samples of these classes only; empty: of all."""
    each: bool = True
    """Attack each input alone too."""

    def __post_init__(self) -> None:
        self._attack()  # its settings are checked there
        if not SMALLEST < self.budget <= 1 or not 0 < self.per_input <= 1:
            raise AskedWrongly(
                f"budget is {self.budget} and per_input {self.per_input}; they must be at most 1, and above "
                f"{SMALLEST} and 0"
            )

    def _attack(self) -> Decoupling:
        own = {f.name: getattr(self, f.name) for f in fields(Decoupling) if f.name != "share"}
        return Decoupling(share=self.budget, **own)

    def applies(self, model: Model, schema: Schema) -> str | None:
        for name in self.classes:
            if name not in schema.classes:
                raise AskedWrongly(f"{self.name}: there is no class {name!r}. {nearest(name, schema.classes)}")
        if len(model.classes) < 2:
            return "with one class no decision can change"
        if self.test in OF_THE_CODE and Capability.FUSE not in model.capabilities:
            return f"the test {self.test!r} needs fuse, which {model.name} does not have"
        return None

    def _attacked(self, clean: Clean) -> Tensor:
        attacked = clean.correct if self.correct_only else torch.ones(len(clean), dtype=torch.bool)
        if not self.classes:
            return attacked
        wanted = torch.tensor([clean.model.classes.index(c) for c in self.classes])
        return attacked & torch.isin(clean.batch.targets, wanted)

    def observe(self, clean: Clean) -> Observation:
        removal, attack, attacked = Removal(clean), self._attack(), self._attacked(clean)
        names = list(clean.model.modalities)
        parts = attack.parts(removal, attacked, names)
        everyone = torch.arange(len(clean))
        frames, found = [], {}
        scopes = {"": names} | ({f" {m}": [m] for m in names} if self.each and len(names) > 1 else {})
        without = {f" {m}": self._whole(clean, m) for m in names}
        for scope, among in scopes.items():
            f = found[scope] = attack.find(removal, parts, dict.fromkeys(among, self.per_input))
            frames.append(_attack_rows(removal, f, attacked, f"attack{scope}", without.get(scope)))
            draws = torch.where(attacked, f.calls, 0)
            drawn = best_of(removal, f.spent, draws, clean.keys(self.name, "random", scope))
            frames.append(
                _rows(
                    removal,
                    f"random{scope}",
                    attacked,
                    success=(drawn.success, attacked),
                    removed=({m: removal.count(m, everyone, b) for m, b in f.spent.items()}, attacked),
                    tries=drawn.tries,
                    calls=draws,
                    boxes=drawn.boxes,
                )
            )
        all_of_them = torch.ones(len(clean), dtype=torch.bool)
        same = removal.untouched().argmax(dim=1)
        frames.append(_rows(removal, "null", attacked, success=(same != clean.predicted, all_of_them), predicted=same))
        for m in names:
            gone = clean.without(m).argmax(dim=1)
            frames.append(
                _rows(
                    removal,
                    f"without {m}",
                    attacked,
                    success=(gone != clean.predicted, all_of_them),
                    removed=({m: removal.points[m]}, all_of_them),
                    predicted=gone,
                )
            )
        return Observation(pl.concat(frames), _shown(removal, found))

    @staticmethod
    def _whole(clean: Clean, modality: str) -> Tensor:
        """Decisions [N] with all of an input removed as its parts are: the model is still told that it is there."""
        codes, index = dict(clean.codes), dict(clean.index)
        codes[modality], index[modality] = clean.neutral(modality)
        return clean.model.logits(codes, index, clean.batch.present or None).argmax(dim=1)

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def _attack_rows(
    removal: Removal, found: Found, attacked: Tensor, condition: str, without: Tensor | None
) -> pl.DataFrame:
    clean, hit = removal.clean, found.success.nonzero().flatten()
    predicted = clean.predicted.clone()
    if len(hit):
        predicted[hit] = removal.ask(hit, {m: b[hit] for m, b in found.boxes.items()})
    return _rows(
        removal,
        condition,
        attacked,
        success=(found.success, attacked),
        removed=(found.removed, found.success),
        predicted=predicted,
        probes=found.probes,
        tries=found.tries,
        calls=found.calls,
        boxes=found.boxes,
        without=without,
    )


def _rows(
    removal: Removal,
    condition: str,
    attacked: Tensor,
    *,
    success: tuple[Tensor, Tensor],
    removed: tuple[Mapping[str, Tensor], Tensor] | None = None,
    predicted: Tensor | None = None,
    probes: Tensor | None = None,
    tries: Tensor | None = None,
    calls: Tensor | None = None,
    boxes: Boxes | None = None,
    without: Tensor | None = None,
) -> pl.DataFrame:
    """One row a sample. success, removed: values and where they hold (null elsewhere). without: the decision with
    all of the one attacked input removed (null where several are attacked).

    share: removed points as a part of all; share.<input>: of that input; boxes: what was removed, as JSON
    {input: [[start..., length...]]}, enough to draw it again.
    """
    clean, nothing = removal.clean, torch.zeros(len(removal.clean), dtype=torch.long)
    points, where = removed or ({}, torch.ones(len(clean), dtype=torch.bool))
    total = torch.stack([nothing, *points.values()]).sum(dim=0)
    return clean.rows(
        condition,
        attacked=attacked,
        success=_where(success[0], success[1], pl.Boolean),
        share=_where(share(total, removal.total), where, pl.Float64),
        **{
            f"share.{m}": _where(share(points.get(m, nothing), n), where & (n > 0), pl.Float64)
            for m, n in removal.points.items()
        },
        predicted=clean.predicted if predicted is None else predicted,
        probes=nothing if probes is None else probes,
        tries=nothing if tries is None else tries,
        calls=nothing if calls is None else calls,
        boxes=pl.Series("boxes", _as_json(boxes or {}, len(clean)), dtype=pl.String),
        without=pl.Series("without", [None] * len(clean) if without is None else without.tolist(), dtype=pl.Int64),
    )


def _where(values: Tensor, known: Tensor, dtype: Any) -> pl.Series:
    pairs = zip(values.tolist(), known.tolist(), strict=True)
    return pl.Series([v if k else None for v, k in pairs], dtype=dtype)


def _as_json(boxes: Boxes, n: int) -> list[str | None]:
    rows: list[dict[str, list[list[int]]]] = [{} for _ in range(n)]
    for m, b in boxes.items():
        sample, slot = (lengths(b) > 0).nonzero(as_tuple=True)
        for i, box in zip(sample.tolist(), b[sample, slot].tolist(), strict=True):
            rows[i].setdefault(m, []).append(box)
    return [json.dumps(row) if row else None for row in rows]


def _shown(removal: Removal, found: Mapping[str, Found]) -> list[Shown]:
    """The smallest removal that changed a sure answer: from all inputs, and from a picture alone."""
    pictures = [f" {m}" for m, kind in removal.modalities.items() if kind.axes > 1]
    out: list[Shown] = []
    for scope in ["", *pictures]:
        if scope in found and (shown := _smallest(removal, found[scope], {s.sample for s in out})) is not None:
            out.append(shown)
    return sorted(out, key=lambda s: s.rank)[:2]


def _smallest(removal: Removal, found: Found, taken: set[str]) -> Shown | None:
    clean, ids = removal.clean, removal.clean.batch.ids
    own = {m: share(n, removal.points[m]).tolist() for m, n in found.removed.items()}
    confidence = clean.probabilities.amax(dim=1).tolist()

    def rank(i: int) -> float:
        # Answers that were in doubt anyway come last; a part of one input is comparable, a part of all is not.
        return float(max(shares[i] for shares in own.values()) + (confidence[i] < SURE))

    hits = [i for i in found.success.nonzero().flatten().tolist() if ids[i] not in taken]
    if not hits:
        return None
    i = min(hits, key=lambda i: (rank(i), ids[i]))
    boxes = {m: b[i : i + 1] for m, b in found.boxes.items()}
    after = int(removal.ask(torch.tensor([i]), boxes)[0])
    before, truth = int(clean.predicted[i]), int(clean.batch.targets[i])
    names = clean.model.classes
    panels: list[tuple[Panel, Any]] = []
    gone = []
    for m, modality in removal.modalities.items():
        b = boxes[m][0] if m in boxes else torch.zeros(0, 2, dtype=torch.long)
        panels.extend(_panels(removal, m, i, b[lengths(b) > 0]))
        n = int(found.removed[m][i]) if m in found.removed else 0
        if n:
            gone.append(f"{n} of the {m}'s {int(removal.points[m][i])} {modality.point}s")
    return Shown(
        sample=ids[i],
        title=f"{names[before]} becomes {names[after]} without {' and '.join(gone)}",
        panels=panels,
        caption=f"Answered {names[before]} with {confidence[i]:.0%} confidence, labelled {names[truth]}; with the "
        f"marked parts removed, {names[after]}.",
        rank=rank(i),
    )


def _panels(removal: Removal, m: str, i: int, gone: Tensor) -> list[tuple[Panel, Any]]:
    """One input with what was removed from it marked, and, for a picture, the same as the model saw it."""
    modality, value = removal.modalities[m], removal.clean.batch.inputs[m][i]
    if modality.kind == "image":
        size = (int(value.shape[-2]), int(value.shape[-1]))
        outlined = [(y, x, h, w) for y, x, h, w in gone.tolist()]
        out = [(Panel(label=m, kind="image", size=size, boxes=outlined), value)]
        if outlined:
            seen = modality.erase(value[None], modality.cover(value[None], gone[None]))[0]
            out.append((Panel(label=f"{m}, as attacked", kind="image", size=size), seen))
        return out
    if modality.kind == "text":
        marked = [start for start, _ in gone.tolist()]
        return [(Panel(label=m, kind="text", text=value[:LONGEST], marked=marked), None)]
    of = int(removal.points[m][i])
    pieces = [f"{start + 1}" if n == 1 else f"{start + 1} to {start + n}" for start, n in gone.tolist()]
    named = getattr(modality, "columns", None)
    if named is not None:
        pieces = [named[start] for start, _ in gone.tolist()]
    text = f"{modality.point}s removed: {', '.join(pieces)} (of {of})" if pieces else f"all {of} {modality.point}s kept"
    return [(Panel(label=m, kind="values", text=text[:LONGEST]), None)]
