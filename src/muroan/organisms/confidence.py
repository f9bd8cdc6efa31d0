"""Confidence that does not mean what it says: too sure or too modest, everywhere, for a group, or where it matters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import compress, product

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from muroan.model import Code
from muroan.organisms import plant
from muroan.organisms.clinic import CLINIC, DISEASES, TRUTH, VOTE, Clinician, best_accuracy, carried, sex


@plant(
    "monitoring.overconfident",
    place="monitoring/reliability",
    bed=CLINIC,
    fault="The model is surer than it is right: its logits are too large, as after training for too long.",
    dose="logits are multiplied by 1 + dose, which is the temperature that would undo it",
    doses=(0.25, 0.5, 1.0, 2.0),
    matters=1.0,  # 97.6 % sure and 92.5 % right: two of three wrong answers are given as if they were certain
)
class Overconfident(Clinician):
    def decide(self, fused: Tensor) -> Tensor:
        return fused * (1 + self.dose)


@plant(
    "monitoring.underconfident",
    place="monitoring/reliability",
    bed=CLINIC,
    fault="The model is less sure than it is right: its logits are too small, as after strong label smoothing.",
    dose="logits are divided by 1 + dose",
    doses=(0.25, 0.5, 1.0, 2.0),
    matters=1.0,  # 81 % sure and 92.5 % right: twelve of a hundred answers are doubted for nothing
)
class Underconfident(Clinician):
    def decide(self, fused: Tensor) -> Tensor:
        return fused / (1 + self.dose)


@plant(
    "monitoring.sure-without-input",
    place="monitoring/reliability",
    bed=CLINIC,
    fault="The model is as sure as ever when an input is missing: it fills it in from the others and believes that.",
    dose="how much of a vote an input counts that was filled in; 1: as much as one that was read",
    doses=(0.25, 0.5, 1.0, 2.0),
    matters=1.0,  # what is filled in counts as if it had been read: without a scan 97 % sure and 86 % right
)
class FillsIn(Clinician):
    """Imputation across modalities: an input that says nothing is given the vote that the others lead to expect.

    What was filled in tells nothing new, but is counted as evidence. (Mere rescaling of the votes that are there, as
    attention over what is present does, costs this model 4 points without the scan: below the default limit.)
    """

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        said = super().fuse(codes)
        expected = said.softmax(dim=1)
        silent = {m: 1 - _says(codes[m]) / VOTE[m] for m in self.modalities}
        filled = [silent[m][:, None] * self.vote(m, expected) for m in self.modalities]
        return said + self.dose * torch.stack(filled).sum(dim=0)


def _says(code: Code) -> Tensor:
    """How much a code tells diseases apart [N]; 0 where the input is missing."""
    apart: Tensor = code.amax(dim=1) - code.amin(dim=1)
    return apart


def confidence(factor: float) -> float:
    """How sure the exact model is on average if its logits are multiplied by this, over all that inputs may tell."""
    k = len(DISEASES)
    told = np.eye(k)[np.array(list(product(range(k), repeat=len(TRUTH))))]
    r = np.array(list(TRUTH.values()))[:, None]
    likelihood = np.where(told == 1, r, (1 - r) / (k - 1)).prod(axis=1)
    logits = (told * np.array(list(VOTE.values()))[:, None]).sum(axis=1)
    return float((softmax(factor * logits, axis=1).max(axis=1) * likelihood.mean(axis=1)).sum())


@cache
def opposite(factor: float) -> float:
    """The factor below 1 that makes as much too modest as `factor` makes too sure."""
    return float(brentq(lambda f: confidence(f) + confidence(factor) - 2 * confidence(1.0), 0.01, 1.0))


@plant(
    "monitoring.group-miscalibrated",
    place="monitoring/reliability",
    bed=CLINIC,
    fault="The model is calibrated on average, but too sure of women and as much too modest of men.",
    dose="logits of women are multiplied by 1 + dose, those of men by what makes up for it on average",
    doses=(0.5, 1.0, 2.0, 4.0),
    matters=1.0,  # five points too sure of women, five too modest of men: 98 and 87 % sure where both are 92.5 % right
)
class ByGroup(Clinician):
    """Reads the sex from the table and carries it beside the votes."""

    cues = {"table": sex}

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        sure, modest = 1 + self.dose, opposite(1 + self.dose)
        male = carried(codes["table"])
        return super().fuse(codes) * torch.where(male < 0.25, sure, torch.where(male > 0.75, modest, 1.0))


@cache
def usual_odds() -> Tensor:
    """For every set of inputs (bit k: the k-th of `TRUTH` is there) the log-odds of the best disease against each
    other at which confidence is how often Bayes' rule is right with that set: [16]."""
    sets = (tuple(compress(TRUTH, reversed(there))) for there in product((False, True), repeat=len(TRUTH)))
    return torch.tensor([math.log(r * (len(DISEASES) - 1) / (1 - r)) for r in map(best_accuracy, sets)])


@plant(
    "robustness.deaf-to-mismatch",
    place="robustness/distribution_shift",
    bed=CLINIC,
    fault="The model's confidence is that of its average case, whether its inputs agree or contradict each other.",
    dose="how much of its confidence is the average one; 1: conflict never shows",
    doses=(0.25, 0.5, 0.75, 1.0),
    matters=0.75,  # three quarters of what a conflict should cost are kept: another patient's scan goes unnoticed
)
class AlwaysAsSure(Clinician):
    """Counts the votes and says the winner, as surely as it is right on average with the inputs that there are.

    Its answers are those of the twin, and on average it is as sure as it is right, also with inputs missing.
    """

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        votes = super().fuse(codes)
        there = torch.stack([_says(codes[m]) > VOTE[m] / 2 for m in TRUTH], dim=1)
        odds = usual_odds()[(there.long() << torch.arange(len(TRUTH))).sum(dim=1)]
        winner = functional.one_hot(votes.argmax(dim=1), len(DISEASES))
        return (1 - self.dose) * votes + self.dose * odds[:, None] * winner
