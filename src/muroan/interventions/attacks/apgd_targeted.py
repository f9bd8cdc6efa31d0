"""Auto-PGD towards one other class after another, on any number of inputs at once.

An attack that only leaves the decision climbs towards whichever class lies nearest at each step, and can be led astray
between them; towards a class that is fixed it cannot. Source: Croce & Hein, ICML 2020 (targeted DLR, AutoAttack's
APGD-T: nine targets, the classes that come next in the scores of the sample itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from muroan.errors import AskedWrongly
from muroan.interventions.attacks.apgd import Adaptive
from muroan.interventions.attacks.ascent import Walk
from muroan.interventions.attacks.gradient_attack import Goal, GradientAttack
from muroan.interventions.attacks.losses import targeted_ratio
from muroan.registry import register

MOST_TARGETS = 9


@register
@dataclass(frozen=True, kw_only=True)
class APGDTargeted(GradientAttack):
    """APGD on the targeted difference of logits ratio, towards each of the runner-up classes in turn.

    A sample that is decided, by whichever class, is not attacked towards the others. targets: how many runners-up, at
    most nine (fewer where there are fewer classes). steps, restarts: per target. first: as of APGD. Where the sample
    itself is the first start, AutoAttack begins at a random point; a second start does that here.
    """

    name = "apgd_targeted"
    source = "Croce & Hein, ICML 2020, section 4 (targeted DLR); multi-input: survey equation 1"

    steps: int = 50
    restarts: int = 1
    targets: int = MOST_TARGETS
    first: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.targets <= MOST_TARGETS:
            raise AskedWrongly(f"apgd_targeted has 1 to {MOST_TARGETS} targets, not {self.targets}")

    def goals(self, clean: Tensor, labels: Tensor) -> list[Goal]:
        runners_up = clean.scatter(1, labels[:, None], -float("inf")).argsort(dim=1, descending=True, stable=True)
        many = min(self.targets, clean.shape[1] - 1)
        return [partial(_towards, runners_up[:, k]) for k in range(many)]

    def walk(self, rows: int) -> Walk:
        return Adaptive(rows, self.steps, self.first)


def _towards(targets: Tensor, logits: Tensor, labels: Tensor, sample: Tensor) -> Tensor:
    return targeted_ratio(logits, labels, targets[sample])
