"""Which inputs does the model decide by, and can what an explanation says about that be trusted?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.controllability.explainability.attribution.deletion import (
    Curves,
    curves,
    random_orders,
    ranked,
    reversed_order,
)
from muroan.controllability.explainability.attribution.findings import MODALITIES, ORDERS, Settings, conclude, parts_of
from muroan.controllability.explainability.parts import Parts, PartValues, attribute, contexts, cut
from muroan.controllability.explainability.shapley import MOST, Erasable, Worths, worths
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.figure import Figure
from muroan.finding import Conclusion, Panel
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import uniform
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class AttributionProbe(Probe):
    """Which inputs does the model decide by, and are explanations of it true to it?

    For every sample the exact Shapley values of its modalities and what only several of them add together
    (`shapley`); for a random share of the samples KernelSHAP over the parts of each modality (`parts`), tested by
    removing the parts in the order of the explanation and in random orders (`deletion`). Explained is the centred
    logit of the model's own decision on the untouched sample. One row a sample under "modalities" and one under
    "parts of <modality>"; the latter's figures are null where the sample was not `chosen` (which depends on its
    name and the seed alone), so rows and quarantined samples add up for every condition.

    Known trade-offs (accepted): "missing" means the modality's neutral value, which the model may not have seen; a
    share of attribution weighs samples by how strongly the model reacts; parts are explained with the other
    modalities as they are, so parts and Shapley values of modalities do not add up to each other.

    Sources: Shapley 1953; Lundberg & Lee 2017 (NeurIPS), Theorem 2; Grabisch & Roubens 1999; Parcalabescu & Frank
    2023 (MM-SHAP: the share of attribution per modality); Samek et al. 2017 (deletion); DeYoung et al. 2020
    (ERASER).
    """

    name = "controllability.attribution"
    question = "Which inputs does the model decide by, and can explanations of it be trusted?"
    place = "controllability/explainability"
    source = "Lundberg & Lee 2017, equation 4 and Theorem 2; Samek et al. 2017; DeYoung et al. 2020"
    needs = frozenset({Capability.SCORES})
    figures = (
        Figure(
            "least_used",
            says="Share of the model's reasons that come from its least used input; 0: the input is ignored",
            better="higher",
            limit=0.02,
        ),
        Figure(
            "outvotes",
            says="How often the most used input gets its way against all others together, judged where those are "
            "right more often than it is; 0: never, 1: always, the others are not heard",
            limit=0.9,
        ),
        Figure(
            "interaction",
            says="Share of the contributions that no input makes alone; 0: inputs are only added up, 1: none "
            "speaks for itself",
            better="higher",
        ),
        Figure(
            "mass",
            says="Share of the model's reasons that come from this input; shares of all inputs add up to 1",
            better="higher",
        ),
        Figure(
            "agreement",
            says="How often the input whose removal changes the decision is the one that the explanation ranks "
            "first; 0.5 is chance, 1 perfect",
            better="higher",
        ),
        Figure(
            "deletion",
            says="How much more the decision's probability suffers when the parts that the explanation ranks "
            "first go first, against a random order; 0: the explanation knows nothing, below 0: it misleads",
            better="higher",
            limit=0.0,
            unit="points",
        ),
        Figure(
            "insertion",
            says="How much longer the decision stands when the parts that the explanation ranks last are removed "
            "first, against a random order; 0: the explanation knows nothing",
            better="higher",
            unit="points",
        ),
        Figure(
            "fidelity",
            says="Share of the score's changes that adding up the parts' attributions predicts; 1: all, 0: none",
            better="higher",
        ),
    )

    finds = {
        "controllability.unfounded-explanation": ("least_used",),
        "robustness.ignored-modality": ("least_used",),
        "robustness.collapse": ("outvotes",),
        "robustness.ignored-picture-vqa": ("least_used",),
    }

    limit: int | None = 1000
    parts_share: float = 0.2
    """Share of the samples whose parts are explained too."""
    cells: int = 4
    """Cells per axis of inputs with two axes."""
    pieces: int = 16
    """Parts of inputs with one axis; a text of at most so many words is cut into words."""
    coalitions: int = 128
    """Changed inputs per sample and modality from which attributions of parts are worked out."""
    steps: int = 8
    """Points of a deletion curve after the first."""
    orders: int = 2
    """Random orders per sample that the explanation's order is compared with."""

    def __post_init__(self) -> None:
        if not 0 <= self.parts_share <= 1:
            raise AskedWrongly(f"parts_share is {self.parts_share}; it must lie between 0 and 1")
        if self.steps < 2 or self.orders < 1:
            raise AskedWrongly("steps must be at least 2 (with one, every order is the same) and orders at least 1")
        self._explainer()

    def _explainer(self) -> Parts:
        return Parts(cells=self.cells, pieces=self.pieces, coalitions=self.coalitions)

    def applies(self, model: Model, schema: Schema) -> str | None:
        n = len(model.modalities)
        if n < 2:
            return "has one kind of input; nothing is shared between modalities"
        if n > MOST:
            return f"has {n} kinds of input; exact Shapley values take 2^n coalitions, at most {MOST} kinds"
        return None

    def observe(self, clean: Clean) -> Observation:
        erasable = Erasable.of(clean)
        found = worths(clean, erasable)
        draw = uniform(clean.keys(self.name, "parts")) if self.parts_share else np.ones(len(clean))
        chosen = torch.from_numpy(draw < self.parts_share)
        frames = [_modality_rows(clean, found, chosen)]
        picks = torch.nonzero(chosen).squeeze(1)
        values: dict[str, PartValues] = {}
        some = clean.take(picks.tolist()) if len(picks) else clean
        for m in clean.model.modalities:
            columns: dict[str, Tensor] = {}
            if len(picks):
                values[m], columns = self._parts(some, erasable.take(picks), m)
            frames.append(self._part_rows(clean, m, chosen, columns))
        shown = self._shown(some, values) if values else []
        return Observation(pl.concat(frames, how="diagonal_relaxed"), shown)

    def _parts(self, clean: Clean, erasable: Erasable, m: str) -> tuple[PartValues, dict[str, Tensor]]:
        explainer = self._explainer()
        modality = clean.model.modalities[m]
        seen = contexts(clean, m, "present", erasable)
        pieces = cut(clean, m, explainer.per_axis(modality))
        found = attribute(clean, pieces, explainer.design, seen)
        first = ranked(found.values, pieces.real())
        orders = torch.cat(
            [
                first[:, None],
                reversed_order(first, pieces.count)[:, None],
                random_orders(clean.keys(self.name, "orders", m), self.orders, pieces.real()),
            ],
            dim=1,
        )
        path = curves(clean, pieces, orders, self.steps, seen)
        area = path.area()
        chance = area[:, 2:].mean(dim=1)
        residual, spread = _fit(found, path)
        columns = {
            "parts": pieces.count,
            "chance": chance,
            "deletion": chance - area[:, 0],
            "insertion": area[:, 1] - chance,
            "residual": residual,
            "spread": spread,
        }
        means = (path.probability[:, 0], path.probability[:, 1], path.probability[:, 2:].mean(dim=1))
        for name, curve in zip(("ranked", "reversed", "random"), means, strict=True):
            columns |= {f"{name}.{j}": curve[:, j] for j in range(self.steps + 1)}
        return found, columns

    def _part_rows(self, clean: Clean, m: str, chosen: Tensor, columns: Mapping[str, Tensor]) -> pl.DataFrame:
        names = ["parts", "chance", "deletion", "insertion", "residual", "spread"]
        names += [f"{name}.{j}" for name in ORDERS for j in range(self.steps + 1)]
        full = {}
        for name in names:
            column = torch.full((len(clean),), torch.nan, dtype=torch.double)
            if name in columns:
                column[chosen] = columns[name].double()
            full[name] = column
        return clean.rows(parts_of(m), chosen=chosen, **full).with_columns(pl.col(names).fill_nan(None))

    def _shown(self, clean: Clean, values: Mapping[str, PartValues]) -> list[Shown]:
        """Two samples, wrong decisions first, else as drawn: not the ones that the explanation does best on."""
        draw = uniform(clean.keys(self.name, "shown")) + clean.correct.numpy()
        classes = clean.model.classes
        out = []
        for i in [int(k) for k in draw.argsort()[:2]]:
            panels = [p for m, v in values.items() if (p := _panel(clean, m, v, i)) is not None]
            if not panels:
                return []
            said, true = classes[int(clean.predicted[i])], classes[int(clean.batch.targets[i])]
            out.append(
                Shown(
                    sample=clean.batch.ids[i],
                    title=f"Why “{said}”" + ("" if said == true else f" (the label is “{true}”)"),
                    panels=panels,
                    caption="What speaks for the decision (above 0) and against it (below 0), relative to the "
                    "strongest part of the same input. Drawn at random, wrong decisions first.",
                    rank=float(draw[i]),
                )
            )
        return out

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self.name, evidence, Settings(self.parts_share, self.coalitions, self.steps, self.orders))


# Rows.


def _modality_rows(clean: Clean, found: Worths, chosen: Tensor) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "chosen": chosen,
        "score": found.everything,
        "score_of_nothing": found.nothing,
        "interaction": found.interaction(),
    }
    for prefix, values in (("shapley", found.shapley()), ("alone", found.alone())):
        columns |= {f"{prefix}.{m}": v for m, v in values.items()}
    columns |= {f"pair.{a}+{b}": v for (a, b), v in found.pairs().items()}
    for i, m in enumerate(found.modalities):
        decision = found.without(m)
        columns[f"alone_decides.{m}"] = found.decision[:, 1 << i]
        columns[f"others_decide.{m}"] = decision
        columns[f"changes.{m}"] = decision != clean.predicted
        columns[f"correct_without.{m}"] = decision == clean.batch.targets
    return clean.rows(MODALITIES, **columns)


def _fit(found: PartValues, path: Curves) -> tuple[Tensor, Tensor]:
    """Squared error of "the parts add up" along the random orders, and the score's own variation there, [N] each.

    The ends of a path are left out: they are right by construction. States that repeat count as often.
    """
    gone, score = path.gone[:, 2:], path.score[:, 2:]
    predicted = found.everything[:, None, None] - (gone * found.values[:, None, None, :]).sum(dim=-1)
    lost = gone.sum(dim=-1)
    inside = (lost > 0) & (lost < found.cut.count[:, None, None])
    count = inside.sum(dim=(1, 2)).clamp_min(1)
    centre = (score * inside).sum(dim=(1, 2)) / count
    residual = ((score - predicted) ** 2 * inside).sum(dim=(1, 2))
    return residual, ((score - centre[:, None, None]) ** 2 * inside).sum(dim=(1, 2))


def _panel(clean: Clean, m: str, found: PartValues, i: int) -> tuple[Panel, Any] | None:
    """One sample's parts of one modality with their weights; None for kinds that have no picture and no words."""
    count = int(found.cut.count[i])
    values = found.values[i, :count]
    weights = (values / values.abs().max().clamp_min(1e-12)).tolist() if count else []
    boxes = found.cut.boxes[i, :count].tolist()
    kind, value = found.cut.modality.kind, clean.batch.inputs[m][i]
    if kind == "image":
        return Panel(label=m, kind="image", boxes=[tuple(b) for b in boxes], weights=weights), value
    if kind == "text":
        words = [w for (_, length), w in zip(boxes, weights, strict=True) for _ in range(length)]
        return Panel(label=m, kind="text", text=value, weights=words), None
    return None
