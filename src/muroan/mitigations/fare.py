"""FARE: an encoder whose codes hardly move when its inputs are attacked, trained without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from muroan.batch import Batch
from muroan.mitigations.robust_encoder import Climbed, Lowered, RobustEncoder, ShowsVectors, Tower
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class FARE(RobustEncoder):
    """min E max ‖φ(x + d) − φ_before(x)‖²: the worst codes are pulled to where the untouched ones were before.

    Codes are those before they are made of length 1, the target that of the encoder as it was, never of the one in
    training. Labels and texts are not used, so whatever was built on the codes keeps working.
    """

    name = "fare"
    does = "Holds an encoder's codes where they were under attack, without labels; heads stay usable."
    source = "Schlarmann, Singh, Croce & Hein, ICML 2024, arXiv 2402.12336"
    removes = ("robustness.frail-tower-digits",)

    def losses(self, tower: Tower, batch: Batch) -> tuple[Climbed, Lowered]:
        target = tower.vectors_before(batch.inputs[tower.modality])

        def shift(x: Tensor, sample: Tensor) -> Tensor:
            return (tower.vectors(x) - target[sample]).square().sum(dim=1)

        return shift, lambda x: (tower.vectors(x) - target).square().sum(dim=1)

    def notes(self, tower: Tower) -> Sequence[str]:
        if isinstance(tower.model, ShowsVectors):
            return ()
        return (f"{tower.model.name} shows codes of length 1 only, so it is those that are held; the source's are not",)
