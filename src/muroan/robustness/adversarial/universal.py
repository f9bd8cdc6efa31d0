"""Does one sticker, the same for every picture, turn decisions that it was never fitted on?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch

from muroan.batch import Batch, Schema
from muroan.clean import Clean
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly, NotApplicable
from muroan.estimate import paired_difference, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Conclusion, Finding, Metric
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
from muroan.modality import Image
from muroan.model import Capability, Model
from muroan.panels import panels
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import choose
from muroan.registry import register

NULL = "nothing"
CONTROLS = ("noise", "grey")


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
    metrics = (
        Metric(
            name="excess",
            says="Share of decisions that the fitted patch changes minus that of the stronger control, random or grey, "
            "of the same place and size. 0: it only covers; 1: it turns all, the control none.",
            limit=0.2,
        ),
        Metric(
            name="changed",
            says="Share of all decisions that a patch changes. 0: none; 1: all.",
            limit=0.5,
        ),
        Metric(
            name="accuracy_lost",
            says="Accuracy on unchanged pictures minus accuracy with the patch. 0: nothing is lost; 1: everything.",
            unit="points",
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
        frames = [self._rows(clean, NULL, clean.batch)]
        changed = {}
        for name, patch in patches.items():
            # One patch for all: equal pictures are equal with it, so their keys still hold.
            inputs = {**clean.batch.inputs, patch.modality: patch.put(clean.batch)}
            changed[name] = replace(clean.batch, inputs=inputs)
            frames.append(self._rows(clean, name, changed[name]))
        turned = [i for i, hit in enumerate(frames[1]["changed"]) if hit and bool(clean.correct[i])]
        shown = [self._shown(clean, changed["patch"], frames[1], i) for i in turned[:1]]
        return Observation(pl.concat(frames), shown)

    def _rows(self, clean: Clean, condition: str, batch: Batch) -> pl.DataFrame:
        # What is not the picture keeps its codes.
        m = self._picture(clean)
        distinct, index = batch.unique(m)
        logits = clean.model.logits(
            {**clean.codes, m: clean.model.encode(m, distinct)}, {**clean.index, m: index}, batch.present or None
        )
        here = batch.present.get(m, torch.ones(len(clean), dtype=torch.bool))
        predicted = logits.argmax(dim=1)
        return clean.rows(
            condition,
            predicted=predicted,
            changed=predicted != clean.predicted,
            correct=predicted == batch.targets,
            present=here,
        )

    def _picture(self, clean: Clean) -> str:
        m = self.chosen(clean.batch.modalities, tuple(clean.model.modalities))
        assert m is not None
        return m

    def _shown(self, clean: Clean, changed: Batch, rows: pl.DataFrame, i: int) -> Shown:
        classes, m = clean.model.classes, self._picture(clean)
        before, after = (classes[int(k)] for k in (clean.predicted[i], rows["predicted"][i]))
        return Shown(
            sample=clean.batch.ids[i],
            title=f"“{before}” becomes “{after}” under the patch",
            panels=panels(clean.batch.take([i]), 0, {m: ("with the patch", changed.inputs[m][[i]])}),
            caption="The same patch is on every picture; it was fitted on others.",
        )

    def conclude(self, evidence: Evidence) -> Conclusion:
        level = evidence.about.level
        by = {c: evidence.of(AUDITED, c).filter(pl.col("present")).sort("sample") for c in evidence.conditions()}
        if not len(by["patch"]):
            reason = "no sample has a picture"
            return Conclusion(
                findings=[Finding(probe=self.name, metric="excess", title="What the patch adds", reason=reason)]
            )
        rates = {c: proportion(r["changed"], clusters(r), level=level) for c, r in by.items()}
        strong = max(CONTROLS, key=lambda c: (rates[c].value, c))
        of, controls = by["patch"], {f"{c} patch": rates[c] for c in CONTROLS} | {"no change": rates[NULL]}
        lost = {c: paired_difference(r["clean_correct"], r["correct"], clusters(r), level=level) for c, r in by.items()}
        findings = [
            Finding(
                probe=self.name,
                metric="excess",
                title=f"Decisions that the fitted patch changes beyond a {strong} one",
                estimate=paired_difference(of["changed"], by[strong]["changed"], clusters(of), level=level),
                controls=controls,
                note="The stronger control is chosen on the same samples (oracle), which understates the excess.",
            ),
            Finding(
                probe=self.name,
                metric="changed",
                title="Decisions that one patch, fitted on other pictures, changes",
                estimate=rates["patch"],
                controls=controls,
            ),
            *(
                Finding(
                    probe=self.name,
                    metric="accuracy_lost",
                    title=f"Accuracy lost under the {c} patch" if c != "patch" else "Accuracy lost under the patch",
                    estimate=lost[c],
                    condition=c,
                    judged=False,
                )
                for c in ("patch", *CONTROLS)
            ),
            *self._groups(of, evidence),
        ]
        bars = [Bar(label=c, estimate=rates[c], control=c != "patch") for c in ("patch", *CONTROLS, NULL)]
        title = "Decisions changed by one patch on every picture"
        notes = [
            f"The patch covers {self.share:.1%} of a picture; it was fitted on {self.samples} samples of the reference "
            f"in {self.steps} steps, and the random one is the best of {2 * self.steps + STARTS} there."
        ]
        return Conclusion(
            findings=findings,
            charts=[BarChart(title=title, y_label="share of decisions", bars=bars, y_range=(0, 1))],
            notes=notes,
        )

    def _groups(self, rows: pl.DataFrame, evidence: Evidence) -> list[Finding]:
        out = []
        for name, values in evidence.about.groups.items():
            for value in values:
                some = rows.filter(pl.col(f"group.{name}") == value)
                if len(some) >= 10:
                    out.append(
                        Finding(
                            probe=self.name,
                            metric="changed",
                            title=f"Decisions that the patch changes, {name} {value}",
                            estimate=proportion(some["changed"], clusters(some), level=evidence.about.level),
                            group=f"{name}={value}",
                            judged=False,
                        )
                    )
        return out
