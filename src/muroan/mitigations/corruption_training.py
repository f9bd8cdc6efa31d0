"""Training on naturally changed inputs: noise, blur, weather, compression, misspelling, loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch, Schema
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly, unknown
from muroan.interventions.perturbations import SEVERITIES, TABLE, Draws, Perturbation, of_kind
from muroan.interventions.perturbations.image import scale_of
from muroan.losses import task_loss
from muroan.mitigation import Objective, Retraining
from muroan.modality import Modality, Value, copy, put, take
from muroan.model import Model
from muroan.randomness import key, sample_keys, uniform
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class CorruptionTraining(Retraining):
    """At every step each input of a sample is changed with chance `share`, by a random perturbation and severity.

    Which one is drawn for every sample, input and step anew, of the table that `robustness.corruptions` measures by;
    what wants a tool that does not ship is left out. The loss is that of the task on the changed samples, and training
    is stopped by it on a held-out part that is changed too. To claim more than that a model knows what it has seen,
    train on some `families` ("noise", "blur", ...; see `muroan list`) and measure on others.

    families, corruptions: names of those to train on; none: all that fit. severities: of 1 to 5. modalities: inputs
    that are changed; none: all. scale_to_size: lengths in pixels are scaled to the picture's own size.
    """

    name = "corruption_training"
    does = "Trains on inputs with noise, blur, bad compression, misspelling or loss, against such shifts."
    place = "robustness/distribution_shift"
    source = (
        "Vasiljevic et al. 2016 (arXiv 1611.05760); Hendrycks and Dietterich, ICLR 2019: perturbations and severities; "
        "drawing them all alike, a sample at a time: chosen here"
    )
    improves = {"robustness.corruptions": ("mmi", "worst_corruption", "flip_rate", "consistency")}

    families: tuple[str, ...] = ()
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    modalities: tuple[str, ...] = ()
    share: float = 0.7
    scale_to_size: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise AskedWrongly(f"share is {self.share}; it must be above 0 and at most 1")
        if not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise AskedWrongly(f"severities are {self.severities}; they must be among {SEVERITIES}")
        for what, names, known in (
            ("corruption", self.corruptions, {p.name for p in TABLE}),
            ("family of corruptions", self.families, {p.family for p in TABLE}),
        ):
            for name in names:
                if name not in known:
                    raise unknown(what, name, known)

    def chosen(self, modality: Modality) -> tuple[Perturbation, ...]:
        """The perturbations that an input of this kind is trained on."""
        return tuple(
            p
            for p in of_kind(modality.kind)
            if p.wants is None
            and p.fits(modality) is None
            and (not self.families or p.family in self.families)
            and (not self.corruptions or p.name in self.corruptions)
            and set(p.severities) & set(self.severities)
        )

    def _rows(self, model: Model, schema: Schema) -> dict[str, tuple[Perturbation, ...]]:
        fitting = {m: self.chosen(schema.modalities[m]) for m in self.modalities or model.modalities}
        return {m: rows for m, rows in fitting.items() if rows}

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m in self.modalities:
            if m not in model.modalities:
                raise unknown("modality", m, model.modalities)
        return None if self._rows(model, schema) else "no perturbation that was asked for fits any of its inputs"

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        rows = self._rows(model, data.schema)
        by_names: dict[str, list[str]] = {}
        for m, perturbations in rows.items():
            by_names.setdefault(", ".join(p.name for p in perturbations), []).append(m)
        said = "; ".join(f"{', '.join(inputs)} with {names}" for names, inputs in by_names.items())

        def changed(batch: Batch) -> Tensor:
            # The trainer seeds torch at every step, and validates with the same draws every time.
            step = int(torch.randint(2**62, ()))
            with torch.no_grad():
                new = {m: self.corrupted(batch, m, of, seed, step) for m, of in rows.items()}
            return task_loss(model, batch.with_inputs(**new))

        return Objective(changed, notes=lambda: [f"trained on {said}"])

    def corrupted(self, batch: Batch, m: str, rows: tuple[Perturbation, ...], *purpose: object) -> Value:
        """An input of a batch, changed for a `share` of the samples; what is drawn for one depends on its id alone."""
        modality, values = batch.modalities[m], batch.inputs[m]
        keys = sample_keys(batch.ids, self.name, m, *purpose)
        chance, way = uniform(keys, 2).T
        hit = chance < self.share
        if m in batch.present:
            hit &= batch.present[m].numpy()
        ways = [(p, s) for p in rows for s in p.severities if s in self.severities]
        # A perturbation first and then one of its severities, so that one with few of them is not rarer.
        weight = np.array([1 / sum(q is p for q, _ in ways) for p, _ in ways])
        edges = np.cumsum(weight / weight.sum())
        which = np.searchsorted(edges[:-1], way, side="right")
        new = copy(values)
        for k in np.unique(which[hit]):
            p, severity = ways[k]
            mine = np.flatnonzero(hit & (which == k))
            draws, at = Draws(keys[mine] ^ np.uint64(key(p.name))), torch.from_numpy(mine)
            put(new, at, p(take(values, at), severity, draws, modality, scale=self._scale(modality)))
        return new

    def _scale(self, modality: Modality) -> float:
        return scale_of(modality) if self.scale_to_size else 1.0
