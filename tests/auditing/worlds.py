"""What a test audits: the planted world, as references that a command line and a killed process can name."""

from __future__ import annotations

from muroan import Splits
from muroan.checks import PlantedModel, planted

PROBES = ("controllability.fairness", "robustness.missing_modality")


def model() -> PlantedModel:
    return PlantedModel()


def data() -> Splits:
    return planted(240)


class Stumbling(PlantedModel):
    """Breaks on sentences of its own: raises, or returns NaN, or a wrong shape."""

    name = "stumbling"

    def __init__(self, how: str, word: str = "warm", once: str | None = None) -> None:
        super().__init__()
        self.how, self.once = how, once

    def predict(self, inputs, present=None):
        return super().predict(inputs, present)

    def embed(self, modality, values):
        if self.how == "raise" and self.once in values:
            raise RuntimeError("out of ink")
        return super().embed(modality, values)

    def encode(self, modality, values):
        code = super().encode(modality, values)
        if self.how == "nan" and modality == "text":
            code = code.clone()
            code[[v == self.once for v in values]] = float("nan")
        return code

    def decide(self, fused):
        logits = super().decide(fused)
        return logits[:, :1] if self.how == "shape" else logits


class SlowModel(PlantedModel):
    """Takes its time, so that a kill finds it at work."""

    def encode(self, modality, values):
        import time

        time.sleep(0.01)
        return super().encode(modality, values)


def slow() -> SlowModel:
    return SlowModel()


def noisy() -> PlantedModel:
    return PlantedModel(noise=30.0, seed=1)
