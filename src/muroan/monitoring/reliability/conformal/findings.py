"""What conformal prediction concludes from its evidence: thresholds, sets, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from muroan.estimate import Estimate, auc, mean, paired_difference, proportion
from muroan.estimate.clusters import design
from muroan.estimate.interval import around
from muroan.finding import Finding
from muroan.monitoring.reliability.calibration_error import tempered
from muroan.monitoring.reliability.conformal import sets as cs
from muroan.monitoring.reliability.missing_inputs import CLEAN, single
from muroan.monitoring.reliability.scored import SMALLEST_GROUP, Scored
from muroan.monitoring.reliability.sum_of_gaps import sum_of_gaps
from muroan.randomness import choose, sample_keys

Floats = NDArray[np.float64]

STRATA = ((0, 1), (2, 3), (4, 10), (11, 100), (101, None))
"""Set sizes that are judged together. Empty sets are with those of one label: alone they are wrong by definition."""


@dataclass(frozen=True)
class Recipe:
    """A score by name, with what was tuned for it. spent: clusters of the reference that tuning has used up
    (samples, where there are no clusters)."""

    name: str
    spent: frozenset[str] = frozenset()
    tuned: cs.Tuned | None = None

    def scores(self, s: Scored) -> Floats:
        """Scores of all labels [N, K]."""
        if self.name == "LAC":
            return cs.lac(s.log_probabilities)
        u, t = s.rows["u"].to_numpy(), self.tuned or cs.Tuned(1.0, 0.0, 0)
        # To 3 decimals: labels that are equally likely must tie, whatever the sample was batched with.
        p = np.exp(np.round(tempered(s.log_probabilities, t.temperature), 3))
        return cs.raps(p, u, penalty=t.penalty, free=t.free)

    def kept(self, reference: Scored) -> Scored:
        """The reference samples that tuning has not seen."""
        if not self.spent:
            return reference
        return reference.take(np.array([n not in self.spent for n in units(reference)]))


def units(s: Scored) -> list[str]:
    """What is drawn from: the cluster of each sample, or the sample itself."""
    names: list[str] = s.rows["sample"].to_list() if s.clusters is None else s.clusters.tolist()
    return names


def recipes(reference: Scored, alpha: float, tuning: float, seed: int, notes: list[str]) -> dict[str, Recipe]:
    """LAC and APS on the whole reference; RAPS tuned on a part of it, drawn by cluster, that no threshold sees."""
    out = {name: Recipe(name) for name in ("APS", "LAC")}
    names = units(reference)
    every = sorted(set(names))
    spent = frozenset(every[i] for i in choose(every, int(tuning * len(every)), "conformal tuning", seed))
    if not spent or len(spent) == len(every):
        notes.append("The reference is too small to tune RAPS on a part of it: untuned.")
        return out | {"RAPS": Recipe("RAPS", tuned=cs.Tuned(1.0, 0.1, 1))}
    part = reference.take(np.array([n in spent for n in names]))
    tuned = cs.tune_raps(part.log_probabilities, part.rows["u"].to_numpy(), part.targets, alpha)
    notes.append(
        f"RAPS tuned on {len(part)} samples of the reference that its threshold does not see: temperature "
        f"{tuned.temperature:.3g}, penalty {tuned.penalty:g} above rank {tuned.free}."
    )
    return out | {"RAPS": Recipe("RAPS", spent, tuned)}


@dataclass(frozen=True)
class Calibrated:
    """What a recipe's threshold is taken from: the true labels' scores [M] and clusters of reference samples."""

    recipe: Recipe
    scores: Floats
    clusters: NDArray[Any] | None
    targets: NDArray[np.int64]
    alpha: float

    @staticmethod
    def on(recipe: Recipe, reference: Scored, alpha: float) -> Calibrated:
        """Calibrated on the reference samples that tuning has not seen."""
        kept = recipe.kept(reference)
        return Calibrated(recipe, cs.own(recipe.scores(kept), kept.targets), kept.clusters, kept.targets, alpha)

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def threshold(self) -> float:
        return cs.quantile(self.scores, self.alpha)

    def apply(self, s: Scored) -> Applied:
        """The sets of these samples."""
        scores = self.recipe.scores(s)
        sizes = cs.sets(scores, self.threshold).sum(axis=1).astype(np.float64)
        return Applied(self, s.rows["sample"].to_numpy(), cs.own(scores, s.targets), sizes, s.targets, s.clusters)


@dataclass(frozen=True)
class Applied:
    """Prediction sets of N samples: the true labels' scores and the number of labels in each set."""

    by: Calibrated
    samples: NDArray[Any]
    scores: Floats
    sizes: Floats
    targets: NDArray[np.int64]
    clusters: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def hits(self) -> Floats:
        """1 where a set holds the true label [N]."""
        return np.asarray(self.scores <= self.by.threshold, dtype=np.float64)

    @property
    def count(self) -> int | None:
        """How many clusters the samples come in; None if they are independent."""
        return None if self.clusters is None else len(np.unique(self.clusters))

    def take(self, mask: NDArray[np.bool_]) -> Applied:
        names = None if self.clusters is None else self.clusters[mask]
        return replace(
            self,
            samples=self.samples[mask],
            scores=self.scores[mask],
            sizes=self.sizes[mask],
            targets=self.targets[mask],
            clusters=names,
        )

    def promising(self, alpha: float) -> Applied:
        """The same samples under the threshold of another alpha; sizes are not computed again."""
        return replace(self, by=replace(self.by, alpha=alpha), sizes=np.full(len(self), np.nan))

    def coverage(self, level: float) -> Estimate:
        return proportion(self.hits, self.clusters, level=level)

    def size(self, level: float) -> Estimate:
        return mean(self.sizes, self.clusters, level=level)

    def shortfall(self, level: float) -> Estimate:
        return cs.shortfall(self.scores, self.by.scores, self.by.alpha, self.clusters, self.by.clusters, level=level)

    def by_chance(self, level: float) -> Estimate:
        """The coverage that exchangeable data would show here: the Beta law, then as many samples as these."""
        by = self.by
        fitted = cs.effective(by.scores <= by.threshold, by.clusters)
        seen = cs.effective(self.hits, self.clusters)
        a, b = cs.beta_law(fitted, by.alpha)
        low, high = cs.chance_band(fitted, seen, by.alpha, level)
        method = f"Beta law at {fitted:.0f} of {len(by)} samples, then {seen:.0f} of {len(self)} draws"
        return around(a / (a + max(b, 0.0)), low, high, level=level, n=len(self), method=method)


def one_per_cluster(s: Scored, seed: int) -> Scored:
    """One sample of each cluster, drawn by its id: independent samples, if clusters are."""
    if s.clusters is None:
        return s
    order = np.argsort(sample_keys(s.rows["sample"].to_list(), "one per cluster", seed), kind="stable")
    first = np.unique(s.clusters[order], return_index=True)[1]
    mask = np.zeros(len(s), dtype=bool)
    mask[order[first]] = True
    return s.take(mask)


def own_odds(s: Scored) -> Floats:
    """The log odds of each sample's true label [N], to 2 decimals: equal inputs tie whatever they were batched with."""
    lp = s.log_probabilities
    at = s.targets[:, None]
    mine = np.take_along_axis(lp, at, axis=1)[:, 0]
    np.put_along_axis(lp, at, -np.inf, axis=1)
    return np.asarray(np.round(mine - logsumexp(lp, axis=1), 2))


@dataclass(frozen=True)
class Findings:
    """Makes the findings of one audit. notes: what they rest on, added to as they are made."""

    probe: str
    modalities: Sequence[str]
    level: float
    seed: int
    notes: list[str]

    def finding(self, metric: str, title: str, estimate: Estimate, **more: Any) -> Finding:
        condition = more.get("condition")
        return Finding(
            probe=self.probe,
            metric=metric,
            title=title,
            estimate=estimate,
            modality=single(condition, self.modalities),
            **more,
        )

    def headline(self, sets: Applied, exact: Applied | None) -> list[Finding]:
        """exact: the same with one sample per cluster on both sides, where there are clusters."""
        by, chance, coverage = sets.by, sets.by_chance(self.level), sets.coverage(self.level)
        controls = {"coverage": coverage, "coverage by chance, data alike": chance}
        self.notes.append(
            f"{by.recipe.name} sets with alpha {by.alpha:g}, threshold {by.threshold:.4g} from {len(by)} samples of "
            f"the reference; {len(sets)} samples audited. At the effective sizes chance leaves a coverage between "
            f"{chance.low:.3f} and {chance.high:.3f} ({chance.method})."
        )
        if np.isinf(by.threshold):
            self.notes.append(f"The reference is too small for alpha {by.alpha:g}: every set holds every label.")
        if exact is not None:
            controls["coverage, one sample per cluster"] = exact.coverage(self.level)
            self._exact(exact)
        return [
            self.finding("shortfall", "coverage short of the promise", sets.shortfall(self.level), controls=controls),
            self.finding(
                "coverage",
                f"prediction sets hold the truth, {1 - by.alpha:.0%} promised",
                coverage,
                controls={"by chance, data alike": chance},
            ),
        ]

    def _exact(self, sets: Applied) -> None:
        """Independent samples on both sides: the Beta-binomial law is no approximation."""
        from scipy.stats import betabinom

        m, n, alpha = len(sets.by), len(sets), sets.by.alpha
        a, b = cs.beta_law(m, alpha)
        if b <= 0:
            return
        law, k = betabinom(n, a, b), int(sets.hits.sum())
        p = min(1.0, 2 * min(float(law.cdf(k)), float(law.sf(k - 1))))
        low, high = cs.chance_band(m, n, alpha, self.level)
        self.notes.append(
            f"One sample per cluster on both sides: {k} of {n} covered ({k / n:.3f}) by a threshold from {m}; the "
            f"Beta-binomial law leaves {low:.3f} to {high:.3f} to chance, p = {p:.2g}."
        )

    def missing(self, audited: Mapping[str, Applied]) -> list[Finding]:
        """Inputs missing, threshold fitted with all of them.

        On the same samples and under the same threshold, so that what the threshold and these samples have by luck
        cancels. What is covered beyond the promise with all inputs, beyond doubt, may be lost for nothing.
        """
        whole = audited[CLEAN]
        spare = max(0.0, -whole.shortfall(self.level).high)
        out = []
        for condition, sets in audited.items():
            if condition == CLEAN:
                continue
            before = whole.take(np.isin(whole.samples, sets.samples))
            lost = paired_difference(before.hits, sets.hits, sets.clusters, level=self.level)
            out.append(
                self.finding(
                    "missing_shortfall",
                    f"coverage lost {condition}",
                    around(
                        lost.value - spare,
                        lost.low - spare,
                        lost.high - spare,
                        level=self.level,
                        n=lost.n,
                        method=lost.method,
                        clusters=lost.clusters,
                    ),
                    condition=condition,
                    controls={
                        "coverage": sets.coverage(self.level),
                        "coverage short of the promise": sets.shortfall(self.level),
                        "labels in a set": sets.size(self.level),
                    },
                    note="The threshold was fitted with all inputs present, and is the same for both."
                    + (f" {spare:.3f} is covered beyond the promise before, and not counted." if spare else ""),
                )
            )
        return out

    def exchangeable(self, audited: Scored, reference: Scored) -> list[Finding]:
        """Whether the model knows the reference better than the audited data: then no threshold from it can be kept."""
        estimate = auc(own_odds(reference), own_odds(audited), reference.clusters, audited.clusters, level=self.level)
        note = "The promise rests on both being alike. Above 0.5: the reference was trained on, say, or is easier."
        return [self.finding("reference_easier", "the reference is known better", estimate, note=note)]

    def per_pattern(self, audited: Mapping[str, Applied]) -> list[Finding]:
        """Inputs missing, and a threshold of its own for each pattern of missing inputs (Mondrian)."""
        return [
            self.finding(
                "shortfall",
                f"coverage short of the promise {condition}, with a threshold of its own",
                sets.shortfall(self.level),
                condition=condition,
                controls={
                    "coverage": sets.coverage(self.level),
                    "coverage by chance, data alike": sets.by_chance(self.level),
                    "labels in a set": sets.size(self.level),
                },
                note=f"Threshold {sets.by.threshold:.4g} from the reference {condition}.",
            )
            for condition, sets in audited.items()
        ]

    def groups(self, sets: Applied, groups: Mapping[str, Mapping[str, NDArray[np.bool_]]]) -> list[Finding]:
        compared, values = [], []
        for name, members in groups.items():
            parts = {value: sets.take(mask) for value, mask in members.items()}
            # Bonferroni: the largest of several shortfalls is large by chance.
            level = 1 - (1 - self.level) / len(parts)
            each = {value: part.shortfall(level) for value, part in parts.items()}
            worst = max(each, key=lambda v: each[v].value)
            compared.append(
                self.finding(
                    "group_shortfall",
                    f"coverage short of the promise at the worst {name}",
                    around(
                        each[worst].value,
                        max(e.low for e in each.values()),
                        max(e.high for e in each.values()),
                        level=self.level,
                        n=len(sets),
                        method=f"Bonferroni over {len(each)}, {each[worst].method}",
                        clusters=sets.count,
                    ),
                    group=name,
                    note=f"Worst: {worst}, n = {len(parts[worst])}.",
                )
            )
            values += [
                self.finding(
                    "coverage",
                    f"prediction sets hold the truth where {name} is {value}",
                    part.coverage(self.level),
                    group=f"{name}={value}",
                    judged=False,
                    controls={"labels in a set": part.size(self.level)},
                )
                for value, part in parts.items()
            ]
        if compared:
            self.notes.append(
                f"Groups of fewer than {SMALLEST_GROUP} samples are left out. The promise is made for all samples "
                "together; only a threshold per group would make it to groups."
            )
        return compared + values

    def sizes(self, sets: Applied) -> list[Finding]:
        found = [
            self.finding("set_size", "labels in a prediction set", sets.size(self.level)),
            self.finding("singletons", "sets of one label", self._share(sets, 1)),
            self.finding("empty", "sets of no label", self._share(sets, 0)),
        ]
        strata = by_size(sets, self.level)
        if strata:
            promised = 1 - sets.by.alpha
            each = [e for _, e in by_size(sets, 1 - (1 - self.level) / len(strata))]
            gaps = [abs(e.value - promised) for e in each]
            worst = int(np.argmax(gaps))
            estimate = around(
                gaps[worst],
                max(max(0.0, e.low - promised, promised - e.high) for e in each),
                max(max(e.high - promised, promised - e.low) for e in each),
                level=self.level,
                n=len(sets),
                method=f"Bonferroni over {len(strata)}, {each[worst].method}",
                clusters=sets.count,
            )
            note = f"Worst with {strata[worst][0]} labels in a set, n = {each[worst].n}."
            title = "coverage off the promise at the worst size of sets"
            found.append(self.finding("size_gap", title, estimate, note=note))
        return found

    def _share(self, sets: Applied, size: int) -> Estimate:
        return proportion(sets.sizes == size, sets.clusters, level=self.level)

    def classes(self, sets: Applied, names: Sequence[str]) -> list[Finding]:
        by, k = sets.by, len(names)
        estimate, chance = class_gap(sets, sets.hits, k, self.level, self.seed)
        own = cs.quantiles_by(by.scores, by.targets, k, by.alpha)
        usable = np.isfinite(own[sets.targets])
        note, controls = f"By chance alone {chance:.3f}.", {}
        if usable.any():
            part = sets.take(usable)
            hits = np.asarray(part.scores <= own[part.targets], dtype=np.float64)
            controls["with a threshold per class"] = class_gap(part, hits, k, self.level, self.seed)[0]
        few = int(np.isinf(own).sum())
        if few:
            note += f" {few} of {k} classes have too few samples in the reference for a threshold of their own."
        title = "coverage off the promise, averaged over classes"
        return [self.finding("coverage_gap", title, estimate, controls=controls, note=note)]


def by_size(sets: Applied, level: float) -> list[tuple[str, Estimate]]:
    """Coverage by stratum of set size, strata of at least `SMALLEST_GROUP` samples."""
    out = []
    for low, high in STRATA:
        inside = (sets.sizes >= low) & (sets.sizes <= (np.inf if high is None else high))
        if inside.sum() >= SMALLEST_GROUP:
            label = f"{low}" if low == high else f"{low} or more" if high is None else f"{low} to {high}"
            out.append((label, sets.take(inside).coverage(level)))
    return out


def class_gap(sets: Applied, hits: Floats, k: int, level: float, seed: int) -> tuple[Estimate, float]:
    """The mean over the classes that occur of |coverage − (1 − alpha)|, and how much of it chance adds."""
    alpha, n = sets.by.alpha, len(sets)
    count = np.bincount(sets.targets, minlength=k).astype(np.float64)
    seen = np.flatnonzero(count)
    d, column = len(seen), np.searchsorted(seen, sets.targets)
    covered = np.bincount(column, hits) / count[seen]
    weight = 1 / (d * count[seen])
    layout = design(sets.clusters, n)
    moved = np.bincount(layout.codes * d + column, (hits - covered[column]) * weight[column], layout.count * d)
    found = sum_of_gaps(
        (covered - (1 - alpha)) / d,
        moved.astype(np.float64).reshape(layout.count, d),
        least=alpha * (1 - alpha) * weight / d,
        independent=layout.trivial,
        level=level,
        seed=seed,
    )
    clusters = None if sets.clusters is None else layout.count
    method = "directional delta" + ("" if clusters is None else ", cluster-robust")
    estimate = around(found.value, found.low, min(1.0, found.high), level=level, n=n, method=method, clusters=clusters)
    return estimate, found.chance
