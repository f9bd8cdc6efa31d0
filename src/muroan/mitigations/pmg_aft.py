"""PMG-AFT: TeCoA that is held to what the model said before, and to what it says of untouched inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.errors import AskedWrongly
from muroan.mitigations.robust_encoder import Climbed, Lowered, RobustEncoder, Tower
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class PMGAFT(RobustEncoder):
    """CE(p(x + d), y) + guided · KL(p(x + d) ‖ p_before(x + d)) + matched · KL(p(x + d) ‖ p(x)).

    The attacker climbs the cross-entropy. No gradient goes through the model as it was; through p(x) one does. The
    weights are 1, as the source's code is read.
    """

    name = "pmg_aft"
    does = "Adversarial training of an encoder that stays near what the model was, to keep it general."
    source = "Wang et al., CVPR 2024 (PMG-AFT)"
    removes = ("robustness.frail-tower-digits",)

    guided: float = 1.0
    matched: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guided < 0 or self.matched < 0:
            raise AskedWrongly("the weights of pmg_aft are at least 0")

    def losses(self, tower: Tower, batch: Batch) -> tuple[Climbed, Lowered]:
        anchors, right = tower.anchors(batch)
        untouched = batch.inputs[tower.modality]

        def mismatch(x: Tensor, sample: Tensor) -> Tensor:
            return functional.cross_entropy(tower.logits(x, anchors), right[sample], reduction="none")

        def guided(x: Tensor) -> Tensor:
            with torch.no_grad(), tower.before():
                before = tower.logits(x, anchors).log_softmax(dim=1)
            now = tower.logits(x, anchors).log_softmax(dim=1)
            clean = tower.logits(untouched, anchors).log_softmax(dim=1)
            loss = functional.nll_loss(now, right, reduction="none")
            return loss + self.guided * kl(now, before) + self.matched * kl(now, clean)

        return mismatch, guided


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) [N] of log-probabilities [N, K]."""
    return functional.kl_div(q, p, reduction="none", log_target=True).sum(dim=1)
