"""TeCoA: adversarial training of a picture's encoder against texts, contrastively."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.mitigations.robust_encoder import Climbed, Lowered, RobustEncoder, Tower
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class TeCoA(RobustEncoder):
    """min E CE(cos(φ(x + d), prompts) · scale, y), the attacker climbing the same loss; the text encoder is frozen.

    Where the model compares pairs, the texts are those of the batch and the right one is the input's own. Whether it
    helps on classes that were not trained on has to be measured on such classes.
    """

    name = "tecoa"
    does = "Trains an encoder so that attacked inputs still match their text best."
    source = "Mao et al., ICLR 2023, arXiv 2212.07016"
    removes = ("robustness.frail-tower-digits",)

    def losses(self, tower: Tower, batch: Batch) -> tuple[Climbed, Lowered]:
        anchors, right = tower.anchors(batch)

        def mismatch(x: Tensor, sample: Tensor) -> Tensor:
            return functional.cross_entropy(tower.logits(x, anchors), right[sample], reduction="none")

        return mismatch, lambda x: functional.cross_entropy(tower.logits(x, anchors), right, reduction="none")
