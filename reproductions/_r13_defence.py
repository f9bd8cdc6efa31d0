"""The defence of R13 on digits in three views: codes pushed apart, then mixed with a memory of clean codes.

Each seed's network is defended in four ways: its training gone on with as long as the defence's (the control), the
dissimilarity term, the memory, and both. All are attacked as in the defence's source, PGD of ten steps of radius/8 from
the sample itself, and harder, of 20 steps from three starts; examples made for the plain network stand beside them.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from muroan import Budget, Model
from muroan.batch import Batch
from muroan.data.multiple_features import multiple_features
from muroan.dataset import Splits
from muroan.interventions.attacks.pgd import PGD
from muroan.losses import vectors
from muroan.mitigations.dissimilarity import Dissimilarity, mean_cosine
from muroan.mitigations.feature_memory import FeatureMemory, Remembering, objective, sparse_codes
from muroan.models.digit_views import train
from muroan.robustness.adversarial.adaptive import TOGETHER, Evaluated, defended
from muroan.training import Trainer

SEEDS = (0, 1, 2)
VIEWS = ("fourier", "profiles", "pixels")
RADIUS = 0.25
"""Standard deviations of each column: half of R25's, since all views are attacked at once."""
ITERATIONS = 60
ATTACKS = {
    "PGD as in the source": PGD(steps=10, step=10 / 8, restarts=1),
    "PGD-20, three starts": PGD(steps=20, restarts=3),
}
TERM, MEMORY, BOTH, CONTROL = "dissimilarity", "feature memory", "both", "longer training alone"


def hardened(base: Model, data: Splits, seed: int) -> dict[str, Model]:
    """The four models, by name."""

    def made(term: Dissimilarity) -> Model:
        return term.apply(copy.deepcopy(base), data, Trainer(), seed=seed).model

    def remembering(model: Model) -> Model:
        return FeatureMemory(iterations=ITERATIONS).apply(model, data, Trainer(), seed=seed).model

    apart = made(Dissimilarity())
    return {
        CONTROL: made(replace(Dissimilarity(), weight=0.0)),
        TERM: apart,
        MEMORY: remembering(base),
        BOTH: remembering(apart),
    }


def cosine(model: Model, batch: Batch) -> float:
    """The mean cosine of the views' codes."""
    with torch.no_grad():
        return float(mean_cosine(list(vectors(model, batch).values())))


def rises(model: Remembering, batch: Batch) -> float:
    """By how much the objective of sparse coding rises at most in any step, of any sample and view."""
    worst = -float("inf")
    with torch.no_grad():
        codes = vectors(model.inner, batch)
        for view, code in codes.items():
            atoms, step, sparsity = model.memory[view], model.facts["steps"][view], model.facts["sparsity"]
            before = objective(code.double(), torch.zeros(len(code), len(atoms)).double(), atoms.double(), sparsity)
            for k in range(1, 31):
                h = sparse_codes(code.double(), atoms.double(), sparsity=sparsity, step=step, iterations=k)
                after = objective(code.double(), h, atoms.double(), sparsity)
                worst, before = max(worst, float((after - before).max())), after
    return worst


def run() -> dict[str, Any]:
    """Figures of each defence under each attack, and the conditions."""
    data = multiple_features(VIEWS)
    batch = data.audited.load(range(0, len(data.audited), 2)).batch
    assert batch is not None
    budgets = {v: Budget(radius=RADIUS) for v in VIEWS}
    found: dict[str, dict[str, list[Evaluated]]] = {}
    cosines: dict[str, list[float]] = {}
    risen = []
    for seed in SEEDS:
        base, _ = train(VIEWS, seed=seed)
        cosines.setdefault("plain", []).append(cosine(base, batch))
        for name, model in hardened(base, data, seed).items():
            for attack, how in ATTACKS.items():
                found.setdefault(attack, {}).setdefault(name, []).append(
                    defended(base, model, batch, budgets, how, seed=seed)
                )
            if name in (CONTROL, TERM):
                cosines.setdefault(name, []).append(cosine(model, batch))
            if name == MEMORY and isinstance(model, Remembering):
                risen.append(rises(model, batch))
    ids = [list(batch.ids)] * len(SEEDS)
    table: dict[str, Any] = {}
    for attack, by_name in found.items():
        for name, parts in by_name.items():
            pooled = Evaluated.pooled(parts, ids)
            table.setdefault(attack, {})[name] = {
                "clean": pooled.clean,
                "clean, change": pooled.clean_change,
                **{
                    f"{c}: {w}": pooled.accuracy(c, w)
                    for c in (TOGETHER, *VIEWS)
                    for w in ("base", "static", "adaptive", "random")
                },
                "all views: gain": pooled.gain(TOGETHER),
                "all views: static minus adaptive": pooled.overstated(TOGETHER),
                "all views: broken by old examples alone": pooled.masked(TOGETHER),
            }
    hard = table["PGD-20, three starts"][BOTH]
    conditions = {
        "the mean cosine falls on every seed, and below longer training alone": all(
            a < min(b, c) for a, b, c in zip(cosines[TERM], cosines["plain"], cosines[CONTROL], strict=True)
        ),
        "the objective of sparse coding never rises (by more than 1e-9)": max(risen) <= 1e-9,
        "the attack through the defence misses at most a hundredth of what old examples break": (
            hard["all views: broken by old examples alone"].value <= 0.01
        ),
    }
    return {
        "robust accuracy": table,
        "mean cosine, by seed": cosines,
        "largest rise of the sparse coding objective": max(risen),
        "protects": hard["all views: gain"].low > 0,
        "gain": hard["all views: gain"],
        "conditions": conditions,
        "radius": f"{RADIUS} standard deviations of each column, L-infinity",
        "chosen here": f"{ITERATIONS} iterations at most, dictionaries of cluster centres, the term's schedule",
    }
