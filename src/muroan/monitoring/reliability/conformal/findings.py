"""What conformal prediction concludes from its evidence: the findings, headline first.

Rows are sets: those of samples with the true label's `score`, the `size` of the set, and whether it is a `hit`; what
is noted beside findings is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from muroan.estimate import Estimate
from muroan.estimate.clusters import design
from muroan.estimate.interval import around
from muroan.monitoring.reliability.conformal import sets as cs
from muroan.monitoring.reliability.conformal.thresholds import Threshold
from muroan.monitoring.reliability.scored import FEWEST, log_odds, log_probabilities, targets, under
from muroan.monitoring.reliability.sum_of_gaps import GapSum, sum_of_gaps
from muroan.rows import Floats, Rows
from muroan.say import Say

STRATA = ((0, 1), (2, 3), (4, 10), (11, 100), (101, None))
"""Set sizes that are judged together. Empty sets are with those of one label: alone they are wrong by definition."""
PROMISE = "coverage short of the promise"
BY_CHANCE, SIZE = "coverage by chance, data alike", "labels in a set"


def headline(say: Say, by: Threshold, sets: Rows, exact: tuple[Threshold, Rows] | None) -> list[str]:
    """exact: the same with one sample per cluster on both sides, where there are clusters."""
    chance, coverage = by.by_chance(sets), sets.share("hit")
    controls = {"coverage": coverage, BY_CHANCE: chance}
    notes = [
        f"{by.recipe.name} sets with alpha {by.alpha:g}, threshold {by.value:.4g} from {len(by.reference)} samples of "
        f"the reference; {len(sets)} samples audited. At the effective sizes chance leaves a coverage between "
        f"{chance.low:.3f} and {chance.high:.3f} ({chance.method})."
    ]
    if np.isinf(by.value):
        notes.append(f"The reference is too small for alpha {by.alpha:g}: every set holds every label.")
    if exact is not None:
        controls["coverage, one sample per cluster"] = exact[1].share("hit")
        notes += _exact(*exact)
    say("shortfall", PROMISE, by.shortfall(sets), controls=controls)
    title = f"prediction sets hold the truth, {1 - by.alpha:.0%} promised"
    say("coverage", title, coverage, controls={"by chance, data alike": chance})
    return notes


def _exact(by: Threshold, sets: Rows) -> list[str]:
    """Independent samples on both sides: the Beta-binomial law is no approximation."""
    from scipy.stats import betabinom

    m, n = len(by.reference), len(sets)
    a, b = cs.beta_law(m, by.alpha)
    if b <= 0:
        return []
    law, k = betabinom(n, a, b), int(sets["hit"].sum())
    p = min(1.0, 2 * min(float(law.cdf(k)), float(law.sf(k - 1))))
    low, high = cs.chance_band(m, n, by.alpha, sets.level)
    return [
        f"One sample per cluster on both sides: {k} of {n} covered ({k / n:.3f}) by a threshold from {m}; the "
        f"Beta-binomial law leaves {low:.3f} to {high:.3f} to chance, p = {p:.2g}."
    ]


def exchangeable(say: Say, audited: Rows, reference: Rows) -> None:
    """Whether the model knows the reference better than the audited data: then no threshold from it can be kept."""
    here, there = (log_odds(log_probabilities(rows), targets(rows)) for rows in (reference, audited))
    note = "The promise rests on both being alike. Above 0.5: the reference was trained on, say, or is easier."
    say("reference_easier", "the reference is known better", reference.above(audited, here, there), note=note)


def missing(say: Say, by: Threshold, whole: Rows, without: Mapping[str, Rows]) -> None:
    """Inputs missing, threshold fitted with all of them.

    On the same samples and under the same threshold, so that what the threshold and these samples have by luck
    cancels. What is covered beyond the promise with all inputs, beyond doubt, may be lost for nothing.
    """
    spare = max(0.0, -by.shortfall(whole).high)
    note = "The threshold was fitted with all inputs present, and is the same for both."
    note += f" {spare:.3f} is covered beyond the promise before, and not counted." if spare else ""
    for condition, sets in without.items():
        controls = {"coverage": sets.share("hit"), PROMISE: by.shortfall(sets), SIZE: sets.mean("size")}
        lost = sets.lost(whole.of_samples(sets)["hit"], "hit").less(spare)
        here = under(say, condition, sets)
        here("missing_shortfall", f"coverage lost {condition}", lost, controls=controls, note=note)


def per_pattern(say: Say, refitted: Mapping[str, tuple[Threshold, Rows]]) -> None:
    """Inputs missing, and a threshold of its own for each pattern of missing inputs (Mondrian)."""
    for condition, (by, sets) in refitted.items():
        controls = {"coverage": sets.share("hit"), BY_CHANCE: by.by_chance(sets), SIZE: sets.mean("size")}
        title = f"{PROMISE} {condition}, with a threshold of its own"
        note = f"Threshold {by.value:.4g} from the reference {condition}."
        under(say, condition, sets)("shortfall", title, by.shortfall(sets), controls=controls, note=note)


def groups(say: Say, by: Threshold, sets: Rows) -> list[str]:
    parts: dict[str, dict[str, Rows]] = {}
    for name, value, rows in sets.groups(FEWEST):
        parts.setdefault(name, {})[value] = rows
    for name, members in parts.items():
        each = {value: by.shortfall(rows.at(_of_several(sets, members))) for value, rows in members.items()}
        worst, estimate = _worst(each, sets)
        note = f"Worst: {worst}, n = {len(members[worst])}."
        say("group_shortfall", f"{PROMISE} at the worst {name}", estimate, group=name, note=note)
    for name, value, rows in sets.groups(FEWEST):
        title, controls = f"prediction sets hold the truth where {name} is {value}", {SIZE: rows.mean("size")}
        say.detail("coverage", title, rows.share("hit"), group=f"{name}={value}", controls=controls)
    note = (
        f"Groups of fewer than {FEWEST} samples are left out. The promise is made for all samples together; only a "
        "threshold per group would make it to groups."
    )
    return [note] if parts else []


def sizes(say: Say, by: Threshold, sets: Rows) -> None:
    say("set_size", "labels in a prediction set", sets.mean("size"))
    say("singletons", "sets of one label", sets.share(sets["size"] == 1))
    say("empty", "sets of no label", sets.share(sets["size"] == 0))
    strata = by_size(sets)
    if strata:
        level, promised = _of_several(sets, strata), 1 - by.alpha
        each = {label: _distance(rows.at(level).share("hit"), promised) for label, rows in strata.items()}
        worst, estimate = _worst(each, sets)
        note = f"Worst with {worst} labels in a set, n = {each[worst].n}."
        say("size_gap", "coverage off the promise at the worst size of sets", estimate, note=note)


def by_size(sets: Rows) -> dict[str, Rows]:
    """The sets of each stratum of size that has enough of them."""
    strata = {}
    for low, high in STRATA:
        label = f"{low}" if low == high else f"{low} or more" if high is None else f"{low} to {high}"
        strata[label] = sets.where((sets["size"] >= low) & (sets["size"] <= (np.inf if high is None else high)))
    return {label: rows for label, rows in strata.items() if len(rows) >= FEWEST}


def classes(say: Say, by: Threshold, sets: Rows, names: Sequence[str]) -> None:
    k, true = len(names), targets(sets)
    gaps = _class_gap(sets, sets["hit"], k, by.alpha)
    own = cs.quantiles_by(by.reference["score"], targets(by.reference), k, by.alpha)
    note, controls = f"By chance alone {gaps.chance:.3f}.", {}
    usable = np.isfinite(own[true])
    if usable.any():
        part = sets.where(usable)
        found = _class_gap(part, (part["score"] <= own[true[usable]]).astype(np.float64), k, by.alpha)
        controls["with a threshold per class"] = _plain(found, part)
    few = int(np.isinf(own).sum())
    if few:
        note += f" {few} of {k} classes have too few samples in the reference for a threshold of their own."
    title = "coverage off the promise, averaged over classes"
    say("coverage_gap", title, _plain(gaps, sets), controls=controls, note=note)


def _class_gap(sets: Rows, hits: Floats, k: int, alpha: float) -> GapSum:
    """The mean over the classes that occur of |coverage − (1 − alpha)|."""
    true = targets(sets)
    count = np.bincount(true, minlength=k).astype(np.float64)
    seen = np.flatnonzero(count)
    d, column = len(seen), np.searchsorted(seen, true)
    covered = np.bincount(column, hits) / count[seen]
    weight = 1 / (d * count[seen])
    layout = design(sets.clusters, len(sets))
    moved = np.bincount(layout.codes * d + column, (hits - covered[column]) * weight[column], layout.count * d)
    return sum_of_gaps(
        (covered - (1 - alpha)) / d,
        moved.astype(np.float64).reshape(layout.count, d),
        least=alpha * (1 - alpha) * weight / d,
        independent=layout.trivial,
        level=sets.level,
        seed=sets.about.seed,
    )


def _plain(gaps: GapSum, sets: Rows) -> Estimate:
    return gaps.estimates(len(sets), _clusters(sets), sets.level).error


def _clusters(rows: Rows) -> int | None:
    return None if rows.clusters is None else len(set(rows.clusters))


def _of_several(rows: Rows, each: Mapping[str, Any]) -> float:
    """The level that makes several figures hold at once (Bonferroni): the largest is large by chance."""
    return 1 - (1 - rows.level) / len(each)


def _distance(coverage: Estimate, promised: float) -> Estimate:
    """How far coverage is from the promise, on either side."""
    low = max(0.0, coverage.low - promised, promised - coverage.high)
    high = max(coverage.high - promised, promised - coverage.low)
    return coverage.model_copy(update={"value": abs(coverage.value - promised), "low": low, "high": high})


def _worst(each: Mapping[str, Estimate], rows: Rows) -> tuple[str, Estimate]:
    """Name and size of the largest of several figures that hold at once."""
    worst = max(each, key=lambda name: each[name].value)
    return worst, around(
        each[worst].value,
        max(e.low for e in each.values()),
        max(e.high for e in each.values()),
        level=rows.level,
        n=len(rows),
        method=f"Bonferroni over {len(each)}, {each[worst].method}",
        clusters=_clusters(rows),
    )
