"""Scores by name, and the thresholds that are taken from the reference for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from muroan.estimate import Estimate
from muroan.estimate.interval import around
from muroan.monitoring.reliability.calibration_error import tempered
from muroan.monitoring.reliability.conformal import sets as cs
from muroan.monitoring.reliability.scored import log_probabilities, targets
from muroan.randomness import choose, sample_keys
from muroan.rows import Floats, Rows

APS = cs.Tuned(1.0, 0.0, 0)
UNTUNED = cs.Tuned(1.0, 0.1, 1)
"""RAPS where the reference is too small for tuning."""


@dataclass(frozen=True)
class Recipe:
    """A score by name, with what was tuned for it. spent: clusters of the reference that tuning has used up
    (samples, where there are no clusters)."""

    name: str
    spent: frozenset[str] = frozenset()
    tuned: cs.Tuned = APS

    def scores(self, rows: Rows) -> Floats:
        """Scores of all labels [N, K]."""
        if self.name == "LAC":
            return cs.lac(log_probabilities(rows))
        # To 3 decimals: labels that are equally likely must tie, whatever the sample was batched with.
        p = np.exp(np.round(tempered(log_probabilities(rows), self.tuned.temperature), 3))
        return cs.raps(p, rows["u"], penalty=self.tuned.penalty, free=self.tuned.free)

    def kept(self, reference: Rows) -> Rows:
        """The reference samples that tuning has not seen."""
        return reference.where([n not in self.spent for n in reference.units]) if self.spent else reference


def recipes(reference: Rows, alpha: float, tuning: float) -> tuple[dict[str, Recipe], str]:
    """LAC and APS on the whole reference; RAPS tuned on a part of it, drawn by cluster, that no threshold sees;
    and a note on that."""
    untuned = {name: Recipe(name) for name in ("APS", "LAC")}
    every = sorted(set(reference.units))
    drawn = choose(every, int(tuning * len(every)), "conformal tuning", reference.about.seed)
    spent = frozenset(every[i] for i in drawn)
    if not spent or len(spent) == len(every):
        note = "The reference is too small to tune RAPS on a part of it: untuned."
        return untuned | {"RAPS": Recipe("RAPS", tuned=UNTUNED)}, note
    part = reference.where([n in spent for n in reference.units])
    tuned = cs.tune_raps(log_probabilities(part), part["u"], targets(part), alpha)
    note = (
        f"RAPS tuned on {len(part)} samples of the reference that its threshold does not see: temperature "
        f"{tuned.temperature:.3g}, penalty {tuned.penalty:g} above rank {tuned.free}."
    )
    return untuned | {"RAPS": Recipe("RAPS", spent, tuned)}, note


@dataclass(frozen=True)
class Threshold:
    """What keeps a label out of a set. reference: samples that tuning has not seen, with the true labels' `score`."""

    recipe: Recipe
    reference: Rows
    alpha: float

    @staticmethod
    def on(recipe: Recipe, reference: Rows, alpha: float) -> Threshold:
        kept = recipe.kept(reference)
        return Threshold(recipe, kept.having(score=cs.own(recipe.scores(kept), targets(kept))), alpha)

    @cached_property
    def value(self) -> float:
        return cs.quantile(self.reference["score"], self.alpha)

    def sets(self, rows: Rows) -> Rows:
        """The same samples with the true label's `score`, the `size` of each set, and whether it is a `hit`."""
        scores = self.recipe.scores(rows)
        own = cs.own(scores, targets(rows))
        return rows.having(score=own, size=cs.sets(scores, self.value).sum(axis=1), hit=own <= self.value)

    def shortfall(self, rows: Rows) -> Estimate:
        known, clusters = self.reference["score"], self.reference.clusters
        return cs.shortfall(rows["score"], known, self.alpha, rows.clusters, clusters, level=rows.level)

    def by_chance(self, rows: Rows) -> Estimate:
        """The coverage that exchangeable data would show here: the Beta law, then as many samples as these."""
        fitted, seen = (cs.effective(r["score"] <= self.value, r.clusters) for r in (self.reference, rows))
        a, b = cs.beta_law(fitted, self.alpha)
        low, high = cs.chance_band(fitted, seen, self.alpha, rows.level)
        method = f"Beta law at {fitted:.0f} of {len(self.reference)} samples, then {seen:.0f} of {len(rows)} draws"
        return around(a / (a + max(b, 0.0)), low, high, level=rows.level, n=len(rows), method=method)


def one_per_cluster(rows: Rows) -> Rows:
    """One sample of each cluster, drawn by its id: independent samples, if clusters are."""
    if rows.clusters is None:
        return rows
    keys = sample_keys(rows.frame["sample"].to_list(), "one per cluster", rows.about.seed)
    order = np.argsort(keys, kind="stable")
    mask = np.zeros(len(rows), dtype=bool)
    mask[order[np.unique(np.asarray(rows.clusters)[order], return_index=True)[1]]] = True
    return rows.where(mask)
