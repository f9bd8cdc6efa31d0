"""How far does somebody get who knows nothing of models, with what anybody can do to a text or a picture?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.errors import unknown
from muroan.evidence import Evidence
from muroan.figure import Figure, conditions
from muroan.finding import Bar, BarChart, Cell, Conclusion, TableChart
from muroan.interventions.attacks.low_skill import PAIRS, TRICKS, Trick
from muroan.interventions.perturbations import Draws
from muroan.interventions.perturbations.image import scale_of
from muroan.meter import Codes
from muroan.modality import Modality, Value, concatenate, differ, take, where
from muroan.model import Model
from muroan.panels import Shown, before_after, turned
from muroan.probe import Observation, Probe
from muroan.randomness import sample_keys
from muroan.registry import register
from muroan.robustness.adversarial.low_skill.macro_f1 import counts, drops
from muroan.say import Say

CHUNK = 64
"""Pictures changed at once: bounds memory."""
NULL = "nothing"


@dataclass(frozen=True)
class Done:
    """An input under a trick: the codes of its values, which one is each sample's own [N], and whose are others now."""

    codes: Codes
    own: Tensor
    changed: Tensor


@register
@dataclass(frozen=True, kw_only=True)
class LowSkill(Probe):
    """Twelve tricks by hand, five of texts and seven of pictures, and three of both at once; no look at the model.

    For each the macro-F1 and the accuracy that are lost, paired with the unchanged samples; the headline is the trick
    that costs most, with an interval that holds for all of them at once (max-t over resamples of the clusters), since
    the worst of many noisy figures looks worse than it is. Tricks that may hide the answer from a person too (words
    blacked out, a sticker, a bar) are shown and not judged, nor are they among those that the worst is chosen from.

    tricks: names of those wanted, none: all that fit. Cost: a pass through the changed input's encoder for each trick
    and distinct value, and a fusion for each sample.

    Known trade-offs (accepted): one strength each, ours; nobody was asked whether they still read what came out, so
    look at the samples shown; the list is in the spirit of HateProof's nine, which it does not repeat.
    """

    name = "robustness.low_skill"
    question = "What does it cost when somebody misspells, blurs or sticks something on by hand?"
    place = "robustness/adversarial"
    source = "in the spirit of HateProof, WWW 2023 (arXiv 2302.05703)"
    figures = (
        Figure(
            "worst_drop",
            says="Macro-F1 lost under the trick that costs most, of those that leave the answer to be seen. "
            "0: none costs anything; 1: everything is lost.",
            limit=0.2,
            unit="points",
        ),
        Figure(
            "drop",
            says="Macro-F1 lost under this trick. 0: nothing; 1: everything; below 0: better when changed.",
            unit="points",
        ),
        Figure(
            "accuracy_drop",
            says="Accuracy lost under this trick. 0: nothing; 1: everything; below 0: better when changed.",
            unit="points",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {"robustness.one-corruption": ("worst_drop",), "robustness.thrown-by-misspelling": ("worst_drop",)}

    limit: int | None = 300
    tricks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.tricks:
            if name not in {t.name for t in TRICKS}:
                raise unknown("trick", name, {t.name for t in TRICKS})

    def chosen(self, kind: str) -> list[Trick]:
        """The tricks for a kind of input."""
        return [t for t in TRICKS if t.kind == kind and (not self.tricks or t.name in self.tricks)]

    def applies(self, model: Model, schema: Schema) -> str | None:
        kinds = {schema.modalities[m].kind for m in model.modalities}
        return (
            None if any(self.chosen(k) for k in kinds) else f"no trick fits these inputs ({', '.join(sorted(kinds))})"
        )

    def observe(self, clean: Clean) -> Observation:
        done: dict[tuple[str, str], Done] = {}
        for m, kind in clean.model.modalities.items():
            for trick in self.chosen(kind.kind):
                values, own, new = self.changed(clean, m, trick)
                done[m, trick.name] = Done(clean.model.encode(m, new), own, differ(values, new)[own])
        frames, shown = [_rows(clean, NULL, {}, {})], []
        for condition, tricks in self._conditions(clean.model.modalities).items():
            frames.append(_rows(clean, condition, tricks, {m: done[m, t.name] for m, t in tricks.items()}))
            shown += self._shown(clean, condition, tricks, frames[-1]["predicted"].to_numpy(), rank=len(frames))
        return Observation(pl.concat(frames), shown)

    def _conditions(self, kinds: Mapping[str, Modality]) -> dict[str, dict[str, Trick]]:
        """Condition -> modality -> trick: each alone, then texts and pictures together."""
        out = {f"{m}: {t.name}": {m: t} for m, kind in kinds.items() for t in self.chosen(kind.kind)}
        known = {t.name: t for kind in kinds.values() for t in self.chosen(kind.kind)}
        for pair in PAIRS:
            if {*pair} <= known.keys():
                by_kind = {known[name].kind: known[name] for name in pair}
                out[" + ".join(pair)] = {m: by_kind[k.kind] for m, k in kinds.items() if k.kind in by_kind}
        return out

    def changed(self, clean: Clean, m: str, trick: Trick) -> tuple[Value, Tensor, Value]:
        """(distinct values of a modality, which one is each sample's [N], what the trick makes of them).

        A value that several samples share is changed once; what is drawn depends on its contents.
        """
        kind = clean.batch.modalities[m]
        values, own, names = clean.distinct(m)
        parts = []
        for k in range(0, len(values), CHUNK):
            keys = sample_keys(names[k : k + CHUNK], clean.seed, self.name, trick.name)
            some = take(values, range(k, min(k + CHUNK, len(values))))
            parts.append(trick.change(some, Draws(keys), kind, scale_of(kind)))
        new = concatenate(parts)
        if m in clean.batch.present:  # what is not there cannot be changed
            here = torch.zeros(len(values), dtype=torch.bool)
            here[own[clean.batch.present[m]]] = True
            new = where(here, new, values)
        return values, own, new

    def _shown(
        self, clean: Clean, condition: str, tricks: Mapping[str, Trick], predicted: ArrayLike, *, rank: int
    ) -> list[Shown]:
        """One sample that the trick turns from right to wrong, before and after."""
        if (lost := turned(clean, predicted)) is None:
            return []
        i, caption = lost
        one, after = clean.take([i]), {}
        for m, trick in tricks.items():
            _, own, new = self.changed(one, m, trick)
            after[m] = trick.name, take(new, own)
        return [before_after(clean.batch, i, f"Wrong after {condition}", after, caption=caption, rank=float(rank))]

    def conclude(self, evidence: Evidence) -> Conclusion:
        """The worst judged trick, then every trick."""
        say, rows, k = Say(self.name), conditions(evidence, None), len(evidence.about.classes)
        null = rows.pop(NULL)
        hides = {c: str(r.column("hides")[0]) for c, r in rows.items()}
        judged = [c for c in rows if not hides[c]]
        if judged:
            sums = counts(null, ["clean_predicted", *(rows[c]["predicted"] for c in judged)])
            worst = null.worst_of(sums, judged, lambda t: drops(t, k), (-1, 1))
            say(
                "worst_drop",
                f"Macro-F1 lost under {worst.name}, the worst of {len(judged)}",
                worst.estimate,
                controls={"null change": null.lost("clean_correct", "correct")},
                note="Chosen on the same samples; the interval holds for all tricks at once.",
            )
        else:
            reason = "every trick that was asked for may hide the answer from a person too"
            say.nothing(["worst_drop"], "Macro-F1 lost under the worst trick", reason)
        bars: list[Bar] = []
        table: list[list[Cell]] = []
        for c, r in rows.items():
            sums = counts(r, ["clean_predicted", "predicted"])
            lost = r.figure(sums, lambda t: drops(t, k)[:, 0], "paired bootstrap")
            assert lost is not None  # every sample has a class
            more = {"condition": c, "note": f"Never judged: {hides[c]}." if hides[c] else ""}
            say.detail("drop", f"Macro-F1 lost under {c}", lost, **more)
            say.detail("accuracy_drop", f"Accuracy lost under {c}", r.lost("clean_correct", "correct"), **more)
            kind = "may hide the answer" if hides[c] else c.partition(": ")[0] if ": " in c else "several inputs"
            bars.append(Bar(label=c, estimate=lost, of=kind, control=bool(hides[c])))
            shares = float(r["correct"].mean()), float(r["changed"].mean())
            table.append([c, lost.value, lost.low, lost.high, *shares, len(r)])
        columns = ["trick", "macro-F1 lost", "low", "high", "accuracy", "inputs changed", "samples"]
        unread = "nobody was asked whether they still read what came out: look at it."
        notes = [f"Tricks in the spirit of HateProof; {unread}"]
        if hidden := [c for c in rows if hides[c]]:
            notes.append(f"Shown, never judged, since a person may lose the answer too: {', '.join(hidden)}.")
        return Conclusion(
            findings=say.findings,
            charts=[
                BarChart(title="Macro-F1 lost by trick", y_label="macro-F1 lost", bars=bars),
                TableChart(title="Tricks, paired with unchanged samples", columns=columns, rows=table),
            ],
            notes=notes,
        )


def _rows(clean: Clean, condition: str, tricks: Mapping[str, Trick], done: Mapping[str, Done]) -> pl.DataFrame:
    new = {m: (d.codes, d.own) for m, d in done.items()}
    predicted = clean.having(new, anew=condition == NULL).argmax(dim=1)
    nobody = torch.zeros(len(clean), dtype=torch.bool)
    return clean.rows(
        condition,
        predicted=predicted,
        correct=predicted == clean.batch.targets,
        changed=torch.stack([nobody, *(d.changed for d in done.values())]).any(dim=0),
        hides=["; ".join(dict.fromkeys(t.hides for t in tricks.values() if t.hides))] * len(clean),
    )
