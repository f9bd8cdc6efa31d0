"""Does one sticker, the same for every picture, turn decisions that it was never fitted on?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly, NotApplicable
from muroan.figure import Bars, Figure, lost, share
from muroan.interventions.attacks.universal_patch import (
    STARTS,
    Place,
    Recipe,
    UniversalPatch,
    best_noise,
    fit,
    grey,
)
from muroan.meter import Metered
from muroan.modality import Image, Value
from muroan.model import Capability, Model
from muroan.panels import before_after
from muroan.probe import Observation, Probe
from muroan.randomness import choose
from muroan.registry import register
from muroan.rows import Rows

NULL = "nothing"
CONTROLS = ("noise", "grey")
BESIDE = {**{f"{c} patch": c for c in CONTROLS}, "no change": NULL}
CHANGED, LOST = share("changed"), lost("clean_correct", "correct")


@register
@dataclass(frozen=True, kw_only=True)
class Universal(Probe):
    """One patch is fitted on the reference and stuck on every audited picture, which it has never seen.

    On a model with aligned codes it is fitted to the codes (AdvCLIP's losses, without its GAN), on others to leave the
    model's own decisions. Beside it, in the same place and of the same size: the best of as many random patches as
    fitting makes passes, chosen on the same reference, and a grey one, which only covers. The figure is what the fitted
    patch adds to the stronger of them; a patch that merely hides the answer adds nothing.

    share: of the picture's area. samples: of the reference that it is fitted on; steps, rows: of Adam, and pictures a
    step. modality: which picture, the first if none is named.

    Known trade-offs (accepted): one place, the source's; a patch that is optimised longer or over places may do more,
    so the figure is a lower bound. That the stronger control is chosen on the audited samples makes it smaller still.
    """

    name = "robustness.universal"
    question = "Can one small sticker, the same on every picture, turn decisions?"
    place = "robustness/adversarial"
    source = "AdvCLIP, Zhou et al., ACM MM 2023 (arXiv 2308.07026): losses, place and size of the patch"
    among = pl.col("present")
    nobody = "no sample has a picture"
    figures = (
        Figure(
            "excess",
            "What the patch adds",
            limit=0.2,
            says="Share of decisions that the fitted patch changes minus that of the stronger control, random or grey, "
            "of the same place and size. 0: it only covers; 1: it turns all, the control none.",
        ),
        Figure(
            "changed",
            "Decisions that one patch, fitted on other pictures, changes",
            CHANGED,
            at="patch",
            beside=BESIDE,
            by_group="Decisions that the patch changes",
            limit=0.5,
            says="Share of all decisions that a patch changes. 0: none; 1: all.",
        ),
        Figure(
            "accuracy_lost",
            "Accuracy lost under the patch",
            LOST,
            at="patch",
            named=True,
            judged=False,
            unit="points",
            says="Accuracy on unchanged pictures minus accuracy with the patch. 0: nothing is lost; 1: everything.",
        ),
        Figure("accuracy_lost", "Accuracy lost under the noise patch", LOST, at="noise", named=True, judged=False),
        Figure("accuracy_lost", "Accuracy lost under the grey patch", LOST, at="grey", named=True, judged=False),
    )
    bars = (
        Bars(
            "Decisions changed by one patch on every picture",
            "share of decisions",
            CHANGED,
            dict.fromkeys(("patch", *CONTROLS, NULL), ""),
            controls=(*CONTROLS, NULL),
        ),
    )
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS})
    finds = {"robustness.corner-pattern": ("excess",)}
    outcomes = {"changed": "lower"}

    limit: int | None = 300
    share: float = 0.03
    samples: int = 128
    steps: int = 60
    rows: int = 64
    modality: str | None = None

    def __post_init__(self) -> None:
        self.recipe()
        if self.samples < self.rows:
            raise ValueError(f"{self.samples} samples of the reference give no {self.rows} rows a step")

    def recipe(self) -> Recipe:
        return Recipe(share=self.share, steps=self.steps, rows=self.rows)

    def chosen(self, modalities: Mapping[str, Any], model: tuple[str, ...]) -> str | None:
        """The picture that gets the patch."""
        pictures = [m for m in model if isinstance(modalities[m], Image)]
        return next((m for m in pictures if self.modality in (None, m)), None)

    def applies(self, model: Model, schema: Schema) -> str | None:
        m = self.chosen(schema.modalities, model.modalities)
        if m is None:
            return "the model takes no picture" + (f" {self.modality!r}" if self.modality else "")
        kind = schema.modalities[m]
        assert isinstance(kind, Image)
        try:
            Place.of(kind.size, self.share)
        except AskedWrongly as error:
            return str(error)
        return None

    def prepare(self, model: Metered, reference: Dataset, seed: int) -> dict[str, UniversalPatch]:
        batch = reference.load(choose(reference.ids, self.samples, self.name, seed)).batch
        m = None if batch is None else self.chosen(batch.modalities, tuple(model.modalities))
        if batch is None or m is None:
            raise NotApplicable("no sample of the reference can be read")
        recipe = self.recipe()
        return {
            "patch": fit(model, batch, m, recipe, seed=seed),
            "noise": best_noise(model, batch, m, recipe, seed=seed),
            "grey": grey(batch, m, self.share),
        }

    def observe(self, clean: Clean) -> Observation:
        patches: Mapping[str, UniversalPatch] = clean.prepared[self.name]
        m, batch, classes = next(iter(patches.values())).modality, clean.batch, clean.model.classes
        pictures = {NULL: batch.inputs[m]} | {name: patch.put(batch) for name, patch in patches.items()}
        frames = {c: self._rows(clean, c, m, x) for c, x in pictures.items()}
        said, changed = frames["patch"]["predicted"], torch.from_numpy(frames["patch"]["changed"].to_numpy().copy())
        shown = [
            before_after(
                batch,
                i,
                f"“{classes[int(clean.predicted[i])]}” becomes “{classes[said[i]]}” under the patch",
                {m: ("with the patch", pictures["patch"])},
                caption="The same patch is on every picture; it was fitted on others.",
            )
            for i in (changed & clean.correct).nonzero().flatten().tolist()[:1]
        ]
        return Observation(pl.concat(frames.values()), shown)

    @staticmethod
    def _rows(clean: Clean, condition: str, m: str, pictures: Value) -> pl.DataFrame:
        # One patch for all: equal pictures are equal with it, so their keys still hold. The rest keeps its codes.
        batch = replace(clean.batch, inputs={**clean.batch.inputs, m: pictures})
        distinct, index = batch.unique(m)
        codes = {**clean.codes, m: clean.model.encode(m, distinct, anew=True)}
        predicted = clean.model.logits(codes, {**clean.index, m: index}, batch.present or None).argmax(dim=1)
        return clean.rows(
            condition,
            predicted=predicted,
            changed=predicted != clean.predicted,
            correct=predicted == batch.targets,
            present=batch.present.get(m, torch.ones(len(clean), dtype=torch.bool)),
        )

    def lines(self, rows: Mapping[str, Rows]) -> Iterable[Figure]:
        strong = max(CONTROLS, key=lambda c: (CHANGED(rows[c]).value, c))
        yield Figure(
            "excess",
            f"Decisions that the fitted patch changes beyond a {strong} one",
            CHANGED,
            at="patch",
            minus=strong,
            beside=BESIDE,
            note="The stronger control is chosen on the same samples (oracle), which understates the excess.",
        )
        yield from self.figures

    def notes(self, rows: Mapping[str, Rows]) -> list[str]:
        return [
            f"The patch covers {self.share:.1%} of a picture; it was fitted on {self.samples} samples of the reference "
            f"in {self.steps} steps, and the random one is the best of {2 * self.steps + STARTS} there."
        ]
