"""Does the model survive a darker or a brighter picture? A probe of its own, and the planted fault that it finds."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

import muroan
from muroan.estimate import paired_difference, proportion
from muroan.evidence import clusters
from muroan.finding import Bar, BarChart, Conclusion
from muroan.modality import Value
from muroan.organisms import clinic


@muroan.register
@dataclass(frozen=True, kw_only=True)
class Brightness(muroan.Probe):
    """Shifts the brightness of every picture and compares decisions with those on the untouched ones.

    Only pictures are encoded again, each distinct one once; what else the model reads is taken from the clean pass.
    """

    name = "robustness.brightness"
    question = "Does the model survive a darker or a brighter picture?"
    place = "robustness/distribution_shift"
    source = "an example; brightness is one of the corruptions of Hendrycks and Dietterich 2019"
    metrics = (
        muroan.Metric(
            name="accuracy_lost",
            says="Accuracy on untouched pictures minus accuracy on shifted ones. 0: brightness does not matter.",
            limit=0.1,
        ),
        muroan.Metric(
            name="accuracy", says="Share of right answers under one shift; 1: always right.", better="higher"
        ),
    )
    finds = {"robustness.brightness-reader": ("accuracy_lost",)}
    outcomes = {"correct": "higher"}

    shifts: tuple[float, ...] = (-0.2, 0.2)
    """What is added to every pixel, in units of the full range."""

    def applies(self, model: muroan.Model, schema: muroan.Schema) -> str | None:
        if any(schema.modalities[m].kind == "image" for m in model.modalities):
            return None
        return "the model reads no pictures"

    def observe(self, clean: muroan.Clean) -> muroan.Observation:
        frames = []
        for shift in self.shifts:
            codes = dict(clean.codes)
            for m in clean.model.modalities:
                if clean.model.modalities[m].kind == "image":
                    pictures, _ = clean.batch.unique(m)
                    codes[m] = clean.model.encode(m, (pictures + shift).clamp(0, 1))
            predicted = clean.model.logits(codes, clean.index).argmax(dim=1)
            frames.append(clean.rows(f"shift {shift:+g}", correct=predicted == clean.batch.targets))
        return muroan.Observation(pl.concat(frames))

    def conclude(self, evidence: muroan.Evidence) -> Conclusion:
        rows = evidence.of()
        lost = paired_difference(rows["clean_correct"], rows["correct"], rows["cluster"].fill_null(rows["sample"]))
        findings = [
            muroan.Finding(
                probe=self.name, metric="accuracy_lost", title="Accuracy lost to a change of brightness", estimate=lost
            )
        ]
        for condition in evidence.conditions():
            some = evidence.of(condition=condition)
            estimate = proportion(some["correct"], clusters(some))
            findings.append(
                muroan.Finding(
                    probe=self.name,
                    metric="accuracy",
                    title=f"Accuracy, {condition}",
                    estimate=estimate,
                    condition=condition,
                    judged=False,
                )
            )
        bars = [Bar(label=str(f.condition), estimate=f.estimate) for f in findings[1:] if f.estimate]
        chart = BarChart(title="Accuracy by shift", y_label="accuracy", bars=bars, y_range=(0, 1))
        return Conclusion(findings=findings, charts=[chart])


@muroan.plant(
    "robustness.brightness-reader",
    place="robustness/distribution_shift",
    bed=clinic.CLINIC,
    fault="the model takes the brightness of a scan for a sign of one disease",
    dose="log-odds that unusual brightness is worth",
    doses=(0.5, 1.0, 2.0, 4.0, 8.0),
    matters=4.0,  # as much as two inputs that agree
)
class BrightnessReader(clinic.Clinician):
    """Takes a scan that is brighter or darker than usual for a case of the first disease.

    This is what `robustness.brightness` is there to find: `muroan selftest --probe robustness.brightness`.
    """

    def encode(self, modality: str, values: Value) -> Tensor:
        votes = super().encode(modality, values)
        if modality != "scan":
            return votes
        unusual = ((values.mean(dim=(1, 2, 3)) - 0.5).abs() > 0.05).float()
        return votes + self.dose * unusual[:, None] * torch.tensor([1.0, 0.0, 0.0])
