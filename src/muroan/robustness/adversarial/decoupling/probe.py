"""How little of the input must be taken away until the decision changes?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.errors import AskedWrongly, nearest
from muroan.evidence import Evidence
from muroan.figure import Figure, conditions
from muroan.finding import Conclusion
from muroan.intervention import outcome
from muroan.interventions.attacks.decoupling import OF_THE_CODE, Decoupling
from muroan.interventions.attacks.matched import best_of
from muroan.interventions.attacks.removal import Boxes, Removal, lengths, share
from muroan.interventions.removals import Removal as Missing
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.adversarial.decoupling.exhibits import shown
from muroan.robustness.adversarial.decoupling.findings import SMALLEST, Decoupled, percent
from muroan.rows import Rows
from muroan.say import Say


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

    - excess, paired, is the alarm; also for each input alone, since one short text can hide what a picture hangs on.
    - beyond_whole is the second alarm, and where `excess` is blind: where one word of twelve decides, twelve random
      removals find it as well as a search. All of the input is removed by the same means as a part of it.
    - area is the area under success as a function of the budget, from 0.01 % to `budget` on a log scale. It is ours;
      the paper's own measure is not known.
    - share_median, share_worst: the share is that of the union of what was removed, and an upper bound of the smallest
      one that would do.
    - null goes through the same steps as a removal. Anything but 0 is the measurement's own doing, and voids the rest.

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
    among = pl.col("attacked")
    figures = (
        Figure(
            "success",
            says="Share of attacked answers that change when a small, well-chosen part of the input is removed. "
            "0: none; 1: all.",
        ),
        Figure(
            "success_at_1",
            says="Share of attacked answers that change when at most 1 % of the input is removed. 0: none; 1: all.",
        ),
        Figure(
            "excess",
            says="How many more answers a search turns than random removals of equal size, asked as often. 0: "
            "no more than chance; 1: every decision hangs on few places that chance does not hit.",
            limit=0.3,
        ),
        Figure(
            "beyond_whole",
            says="Share of attacked answers that change without a small part of one input, though not without all of "
            "it, beyond chance. 0: no part matters more than its whole; 1: every answer hangs on a part of what it "
            "does not need.",
            limit=0.2,
        ),
        Figure(
            "area",
            says="How early answers change as more of the input may be removed, 0.01 % up to the budget, log scale. "
            "0: none changes; 1: all change with 0.01 % removed.",
        ),
        Figure(
            "share_median",
            says="Part of the input whose removal changes the answer, for the median changed answer. Near 0: a "
            "handful of points decides.",
            better="higher",
        ),
        Figure(
            "share_worst",
            says="Part of the input that had to be removed for the answer that held out longest among those that "
            "changed.",
            better="higher",
        ),
        Figure("involves", says="Share of changed answers for which something of this input was removed."),
        Figure("own_share", says="Part of this input that was removed, on average over the changed answers."),
        Figure(
            "reliance",
            says="Share of answers that change when this input is missing altogether. 0: the model ignores it.",
        ),
        Figure(
            "null",
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
        everyone, rows = torch.ones(len(clean), dtype=torch.bool), partial(_rows, removal, attacked)
        frames, found = [], {}
        scopes = {"": names} | ({f" {m}": [m] for m in names} if self.each and len(names) > 1 else {})
        # All of an input removed as its parts are: the model is still told that it is there.
        without = {f" {m}": Missing((m,), told=False).arrives(clean).logits(clean).argmax(dim=1) for m in names}
        for scope, among in scopes.items():
            f = found[scope] = attack.find(removal, parts, dict.fromkeys(among, self.per_input))
            hit, predicted = f.success.nonzero().flatten(), clean.predicted.clone()
            if len(hit):
                predicted[hit] = removal.ask(hit, {m: b[hit] for m, b in f.boxes.items()})
            spent = {"probes": f.probes, "tries": f.tries, "calls": f.calls}
            taken, whole = (f.removed, f.success), without.get(scope)
            frames.append(
                rows(f"attack{scope}", f.success, attacked, taken, f.boxes, whole, predicted=predicted, **spent)
            )
            draws = torch.where(attacked, f.calls, 0)
            drawn = best_of(removal, f.spent, draws, clean.keys(self.name, "random", scope))
            taken = {m: removal.count(m, torch.arange(len(clean)), b) for m, b in f.spent.items()}, attacked
            spent = {"tries": drawn.tries, "calls": draws}
            frames.append(rows(f"random{scope}", drawn.success, attacked, taken, drawn.boxes, **spent))
        same = removal.untouched().argmax(dim=1)
        frames.append(rows("null", same != clean.predicted, everyone, predicted=same))
        for m in names:
            change, taken = Missing((m,)), ({m: removal.points[m]}, everyone)
            gone = outcome(clean, change).predicted
            frames.append(rows(change.condition, gone != clean.predicted, everyone, taken, predicted=gone))
        return Observation(pl.concat(frames), shown(removal, found))

    def conclude(self, evidence: Evidence) -> Conclusion:
        rows, say = conditions(evidence, self.among), Say(self.name)
        answers = "Right answers" if self.correct_only else "Answers"
        if not len(rows["attack"]):
            reason = "no sample is predicted correctly" if self.correct_only else "no sample is of these classes"
            title = f"{answers} turned by removing parts of the input"
            say.nothing(("success", "excess"), title, f"there is nothing to attack: {reason}")
            return Conclusion(findings=say.findings)
        whose = "answered correctly" if self.correct_only else "whatever their answer"
        some = f", of the classes {', '.join(self.classes)}" if self.classes else ", of all classes"
        attacked = (
            f"{len(rows['attack'])} of {rows['attack'].seen} samples were attacked: those {whose}{some}. A success is "
            "an answer that differs from the untouched one."
        )
        unchanged = Rows.of(evidence, "null").share("success")
        done = Decoupled(rows, unchanged, self.budget, answers, attacked)
        done.conclude(say)
        notes = [attacked, *self._notes()]
        if unchanged.value > 0:
            changed = f"{unchanged.value:.2%} of the answers change when nothing is removed"
            why = "the model, or how it reads its input, answers differently each time."
            notes = [f"NOT TO BE TRUSTED: {changed}: {why}", *notes]
        return Conclusion(findings=say.findings, charts=done.charts(), notes=notes)

    def _notes(self) -> list[str]:
        """How it was searched, and how that is to be read."""
        meant = {
            "margin": f"its removal leaves less than {self.threshold:g} of the answer's lead over the next best",
            "label": "its removal alone changes the answer",
            "argmax": "its removal changes which coordinate of the fused code is the largest",
            "cosine": f"its removal takes the fused code's cosine with the untouched one below {self.threshold:g}",
        }[self.test]
        return [
            f"At most {percent(self.budget)} of all points and {percent(self.per_input)} of any one input may be "
            "removed; points are pixels, words, frames, columns and steps, counted alike, and shares are of their "
            "union.",
            f"A part is a candidate if {meant} (test {self.test!r}); words and columns always are. At most "
            f"{self.max_tries} sets of candidates are tried ({self.search} search).",
            "Random removal: as many pieces of the same kinds and sizes, as often as the attack asked the model; where "
            "the attack failed, as much as the most that it tried. The best draw counts, and where few removals are "
            "possible none is drawn twice.",
            "A share found is an upper bound of the smallest that would do. An attack can miss what exists, so these "
            "figures bound robustness from above.",
            *([] if self.shrink else ["Removed parts were not shrunk."]),
        ]


def _rows(
    removal: Removal,
    attacked: Tensor,
    condition: str,
    success: Tensor,
    known: Tensor,
    removed: tuple[Mapping[str, Tensor], Tensor] | None = None,
    boxes: Boxes | None = None,
    without: Tensor | None = None,
    **counted: Tensor,
) -> pl.DataFrame:
    """One row a sample. known: where success is (null elsewhere); removed: points taken, and where that is known.
    without: the decision with all of the one attacked input removed (null where several are attacked). counted: the
    decision, and what it cost.

    share: removed points as a part of all; share.<input>: of that input; boxes: what was removed, as JSON
    {input: [[start..., length...]]}, enough to draw it again.
    """
    clean, none = removal.clean, torch.zeros(len(removal.clean), dtype=torch.long)
    points, where = removed or ({}, known)
    total = torch.stack([none, *points.values()]).sum(dim=0)
    shares = {"share": _where(share(total, removal.total), where, pl.Float64)}
    for m, n in removal.points.items():
        shares[f"share.{m}"] = _where(share(points.get(m, none), n), where & (n > 0), pl.Float64)
    usual = {"predicted": clean.predicted, "probes": none, "tries": none, "calls": none}
    return clean.rows(
        condition,
        attacked=attacked,
        success=_where(success, known, pl.Boolean),
        **shares,
        **(usual | counted),
        boxes=pl.Series("boxes", _as_json(boxes or {}, len(clean)), dtype=pl.String),
        without=pl.Series("without", [None] * len(clean) if without is None else without.tolist(), dtype=pl.Int64),
    )


def _where(values: Tensor, known: Tensor, dtype: Any) -> pl.Series:
    pairs = zip(values.tolist(), known.tolist(), strict=True)
    return pl.Series([v if k else None for v, k in pairs], dtype=dtype)


def _as_json(boxes: Boxes, n: int) -> list[str | None]:
    gone = [{m: own for m, b in boxes.items() if (own := b[i][lengths(b[i]) > 0].tolist())} for i in range(n)]
    return [json.dumps(row) if row else None for row in gone]
