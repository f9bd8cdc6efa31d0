"""Does the model survive a darker or a brighter picture? A probe of its own, and the planted fault that it finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import muroan
from muroan.figure import Bars, lost, share
from muroan.finding import Chart
from muroan.modality import Value
from muroan.organisms import clinic


@muroan.register
@dataclass(frozen=True)
class Shift(muroan.Intervention):
    """Only pictures are encoded again, each distinct one once; what else the model reads is taken from the clean pass.

    by: what is added to every pixel, in units of the full range.
    """

    name = "brightness_shift"
    does = "Makes every picture brighter, or darker."

    by: float = 0.2

    @property
    def condition(self) -> str:
        return f"shift {self.by:+g}"

    def arrives(self, clean: muroan.Clean) -> muroan.Arrived:
        codes = dict(clean.codes)
        for m, modality in clean.model.modalities.items():
            if modality.kind == "image":
                pictures, _ = clean.batch.unique(m)
                codes[m] = clean.model.encode(m, (pictures + self.by).clamp(0, 1))
        return muroan.Arrived(codes, clean.index)

    def nothing(self) -> Shift:
        return replace(self, by=0.0)


@muroan.register
@dataclass(frozen=True, kw_only=True)
class Brightness(muroan.Probe):
    """Shifts the brightness of every picture and compares decisions with those on the untouched ones."""

    name = "robustness.brightness"
    question = "Does the model survive a darker or a brighter picture?"
    place = "robustness/distribution_shift"
    source = "an example; brightness is one of the corruptions of Hendrycks and Dietterich 2019"
    figures = (
        muroan.Figure(
            "accuracy_lost",
            "Accuracy lost to a change of brightness",
            lost("clean_correct", "right"),
            says="Accuracy on untouched pictures minus accuracy on shifted ones. 0: brightness does not matter.",
            limit=0.1,
        ),
        muroan.Figure(
            "accuracy",
            "Accuracy",
            share("right"),
            judged=False,
            named=True,
            says="Share of right answers under one shift; 1: always right.",
            better="higher",
        ),
    )
    finds = {"robustness.brightness-reader": ("accuracy_lost",)}
    outcomes = {"right": "higher"}

    shifts: tuple[float, ...] = (-0.2, 0.2)
    """What is added to every pixel, in units of the full range."""

    def applies(self, model: muroan.Model, schema: muroan.Schema) -> str | None:
        pictures = any(schema.modalities[m].kind == "image" for m in model.modalities)
        return None if pictures else "the model reads no pictures"

    def asks(self, clean: muroan.Clean) -> Iterable[Shift]:
        return [Shift(by) for by in self.shifts]

    def lines(self, rows: Mapping[str, muroan.Rows]) -> Iterable[muroan.Figure]:
        over_all, under_one = self.figures
        return [over_all, *(replace(under_one, title=f"Accuracy, {c}", at=c) for c in rows)]

    def charts(self, rows: Mapping[str, muroan.Rows]) -> list[Chart]:
        return [Bars("Accuracy by shift", "accuracy", share("right"), dict.fromkeys(rows, "")).chart(rows)]


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
