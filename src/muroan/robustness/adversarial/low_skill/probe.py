"""How far does somebody get who knows nothing of models, with what anybody can do to a text or a picture?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.content import distinct
from muroan.errors import unknown
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric
from muroan.interventions.attacks.low_skill import PAIRS, TRICKS, Trick, named, scale_of
from muroan.interventions.perturbations import Draws
from muroan.meter import Codes
from muroan.modality import Modality, Value, concatenate, take, where
from muroan.model import Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import sample_keys
from muroan.registry import register
from muroan.robustness.adversarial.low_skill.findings import NULL, conclude

CHUNK = 64
"""Pictures changed at once: bounds memory."""


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
    metrics = (
        Metric(
            name="worst_drop",
            says="Macro-F1 lost under the trick that costs most, of those that leave the answer to be seen. "
            "0: none costs anything; 1: everything is lost.",
            limit=0.2,
            unit="points",
        ),
        Metric(
            name="drop",
            says="Macro-F1 lost under this trick. 0: nothing; 1: everything; below 0: better when changed.",
            unit="points",
        ),
        Metric(
            name="accuracy_drop",
            says="Accuracy lost under this trick. 0: nothing; 1: everything; below 0: better when changed.",
            unit="points",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {
        "robustness.one-corruption": ("worst_drop",),
        "robustness.thrown-by-misspelling": ("worst_drop",),
    }

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
        model, kinds = clean.model, {m: clean.batch.modalities[m] for m in clean.model.modalities}
        changed: dict[tuple[str, str], tuple[Codes, Tensor]] = {}
        touched: dict[tuple[str, str], Tensor] = {}
        for m, kind in kinds.items():
            for trick in self.chosen(kind.kind):
                values, own, new = self.changed(clean, m, trick)
                changed[m, trick.name] = model.encode(m, new), own
                touched[m, trick.name] = _differ(values, new)[own]
        frames = [self._rows(clean, NULL, "", {m: (clean.codes[m], clean.index[m]) for m in kinds}, {})]
        shown: list[Shown] = []
        for condition, names in self._conditions(kinds).items():
            which = {m: changed[m, name] for m, name in names.items()}
            hides = "; ".join(dict.fromkeys(h for n in names.values() if (h := named(n).hides)))
            frames.append(self._rows(clean, condition, hides, which, {m: touched[m, n] for m, n in names.items()}))
            shown += self._shown(clean, condition, names, frames[-1], rank=float(len(frames)))
        return Observation(pl.concat(frames), shown)

    def _conditions(self, kinds: Mapping[str, Modality]) -> dict[str, dict[str, str]]:
        """Condition -> modality -> trick: each alone, then texts and pictures together."""
        out = {f"{m}: {t.name}": {m: t.name} for m, kind in kinds.items() for t in self.chosen(kind.kind)}
        have = {t.name for kind in kinds.values() for t in self.chosen(kind.kind)}
        for text, picture in PAIRS:
            if {text, picture} <= have:
                by = {"text": text, "image": picture}
                out[f"{text} + {picture}"] = {m: by[k.kind] for m, k in kinds.items() if k.kind in by}
        return out

    def changed(self, clean: Clean, m: str, trick: Trick) -> tuple[Value, Tensor, Value]:
        """(distinct values of a modality, which one is each sample's [N], what the trick makes of them).

        A value that several samples share is changed once; what is drawn depends on its contents.
        """
        kind = clean.batch.modalities[m]
        known, own = clean.batch.unique(m)
        values, which, contents = distinct(known)
        parts = []
        for k in range(0, len(values), CHUNK):
            keys = sample_keys(contents[k : k + CHUNK], clean.seed, self.name, trick.name)
            some = take(values, range(k, min(k + CHUNK, len(values))))
            parts.append(trick.change(some, Draws(keys), kind, scale_of(kind)))
        new = concatenate(parts)
        if m in clean.batch.present:  # what is not there cannot be changed
            here = torch.zeros(len(values), dtype=torch.bool)
            here[which[own][clean.batch.present[m]]] = True
            new = where(here, new, values)
        return values, which[own], new

    def _rows(
        self,
        clean: Clean,
        condition: str,
        hides: str,
        which: Mapping[str, tuple[Codes, Tensor]],
        touched: Mapping[str, Tensor],
    ) -> pl.DataFrame:
        codes = {**clean.codes, **{m: c for m, (c, _) in which.items()}}
        index = {**clean.index, **{m: i for m, (_, i) in which.items()}}
        predicted = clean.model.logits(codes, index, clean.batch.present or None).argmax(dim=1)
        nobody = torch.zeros(len(clean), dtype=torch.bool)
        return clean.rows(
            condition,
            predicted=predicted,
            correct=predicted == clean.batch.targets,
            changed=torch.stack([nobody, *touched.values()]).any(dim=0),
            hides=[hides] * len(clean),
        )

    def _shown(
        self, clean: Clean, condition: str, names: Mapping[str, str], rows: pl.DataFrame, rank: float
    ) -> list[Shown]:
        """One sample that the trick turns from right to wrong, before and after."""
        wrong = (clean.correct & ~torch.from_numpy(rows["correct"].to_numpy().copy())).nonzero().flatten().tolist()
        if not wrong:
            return []
        i = min(wrong, key=lambda j: clean.batch.ids[j])
        one = clean.take([i])
        after = {m: (name, self._one(one, m, name)) for m, name in names.items()}
        classes = clean.model.classes
        return [
            Shown(
                sample=clean.batch.ids[i],
                title=f"Wrong after {condition}",
                panels=panels(one.batch, 0, after),
                caption=f"Right before; {classes[int(rows['predicted'][i])]!r} instead of "
                f"{classes[int(clean.predicted[i])]!r}.",
                rank=rank,
            )
        ]

    def _one(self, one: Clean, m: str, name: str) -> Value:
        _, own, new = self.changed(one, m, named(name))
        return take(new, own)

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def _differ(values: Value, new: Value) -> Tensor:
    """Whether each value is another now [N]."""
    if isinstance(values, Tensor):
        unlike: Tensor = (values != new).flatten(1).any(dim=1)
        return unlike
    pairs: Sequence[bool] = [a != b for a, b in zip(values, new, strict=True)]
    return torch.tensor(pairs, dtype=torch.bool)
