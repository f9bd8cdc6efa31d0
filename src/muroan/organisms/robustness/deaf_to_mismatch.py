"""Sure of itself, however its inputs disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from muroan.model import Code
from muroan.organism import Organism, World
from muroan.organisms.clinic import CLINIC, DISEASES, TRUTH, VOTE, Clinician, world
from muroan.registry import register


@cache
def usual_odds() -> Tensor:
    """For every set of inputs (bit k: the k-th of `TRUTH` is there) the log-odds of the best disease against each
    other at which confidence is how often Bayes' rule is right with that set: [16]."""
    k, rates = len(DISEASES), list(TRUTH.values())
    out = []
    for there in product((False, True), repeat=len(rates)):
        kept = [r for r, here in zip(rates, reversed(there), strict=True) if here]
        right = 0.0
        for told in product(range(k), repeat=len(kept)):
            joint = [
                math.prod(r if t == d else (1 - r) / (k - 1) for r, t in zip(kept, told, strict=True)) for d in range(k)
            ]
            right += max(joint) / k
        out.append(math.log(right * (k - 1) / (1 - right)))
    return torch.tensor(out)


class AlwaysAsSure(Clinician):
    """Counts the votes and says the winner, as surely as it is right on average with the inputs that there are."""

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes = super().fuse(codes)
        there = torch.stack([_says(codes[m]) > VOTE[m] / 2 for m in TRUTH], dim=1)
        odds = usual_odds()[(there.long() << torch.arange(len(TRUTH))).sum(dim=1)]
        winner = functional.one_hot(votes.argmax(dim=1), len(DISEASES))
        return (1 - self.dose) * votes + self.dose * odds[:, None] * winner


def _says(code: Code) -> Tensor:
    """How much a code tells diseases apart [N]; 0 where the input is missing."""
    assert isinstance(code, Tensor)
    return code.amax(dim=1) - code.amin(dim=1)


@register
class DeafToMismatch(Organism):
    """Its answers are those of the twin, and on average it is as sure as it is right, also with inputs missing."""

    name = "robustness.deaf-to-mismatch"
    place = "robustness/distribution_shift"
    fault = "The model's confidence is that of its average case, whether its inputs agree or contradict each other."
    dose = "how much of its confidence is the average one; 1: conflict never shows"
    doses = (0.25, 0.5, 0.75, 1.0)
    # Three quarters of what a conflict should cost are kept: another patient's scan goes unnoticed.
    matters = 0.75
    bed = CLINIC

    def plant(self, dose: float, seed: int) -> World:
        return world(seed, AlwaysAsSure(dose))
