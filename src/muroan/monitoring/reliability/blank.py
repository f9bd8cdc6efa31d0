"""Is the model sure of an answer when it was shown nothing at all?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.data.pairs import FOUND
from muroan.figure import Figure, lost, mean
from muroan.intervention import Intervention
from muroan.interventions.removals import Nothing, Removal
from muroan.model import Capability, Model
from muroan.probe import Probe
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class Blank(Probe):
    """Takes all inputs away and asks again. What is left is what the model assumes: whoever is right as often as sure
    is then as sure as its guess is frequent, and no surer.

    Known trade-offs (accepted): blank inputs may be unlike anything in training, which is the question; all samples get
    one answer, so how sure the model is of another guess is not seen.
    """

    name = "monitoring.blank"
    question = "Is the model still sure of an answer when it was shown nothing at all?"
    place = "monitoring/reliability"
    source = "Hein et al., CVPR 2019 (arXiv 1812.05720): sure far from the training data; the figures are ours"
    needs = frozenset({Capability.SCORES})
    finds = {"robustness.missing-modality": ("unfounded",), "monitoring.overconfident-vqa": ("unfounded",)}
    figures = (
        Figure(
            "unfounded",
            "Confidence above accuracy when nothing is shown",
            lost("confidence", "right"),
            at="nothing",
            beside={"with all inputs": "clean"},
            by_group="Unfounded confidence",
            limit=0.1,
            unit="points",
            says="Mean confidence minus accuracy without inputs. 0: as sure as its guess is frequent; 1: sure, wrong.",
        ),
        Figure(
            "confidence",
            "Confidence when nothing is shown",
            mean("confidence", (0, 1)),
            at="nothing",
            says="Mean confidence without any input. 1 / classes: no answer is preferred; 1: certain.",
        ),
    )

    def applies(self, model: Model, schema: Schema) -> str | None:
        return "two blanks are no pair that should be found" if model.classes == FOUND else None

    def asks(self, clean: Clean) -> Iterable[Intervention]:
        return Removal(), Nothing()
