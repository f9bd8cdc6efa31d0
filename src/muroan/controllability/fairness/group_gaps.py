"""For whom does the model work less well? Gaps between groups in accuracy, calibration and robustness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.controllability.fairness.group_metrics import equity_scaled_draws
from muroan.estimate import Estimate, Gap, bootstrap, by_group, max_gap, sum_by_cluster
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, MatrixChart, Metric
from muroan.model import Model
from muroan.probe import Observation, Probe
from muroan.registry import register


@dataclass(frozen=True)
class Joined:
    """A measure that another probe's evidence gives per sample.

    column: 0/1 or NaN-free numbers; where: keep rows for which this boolean column holds; conditions: keep these
    (None: all). A sample's value is the mean over its kept rows.
    """

    probe: str
    column: str
    title: str
    metric: str
    conditions: tuple[str, ...] | None = None
    where: str | None = None
    harm: bool = True
    """Whether more is worse."""

    def of(self, evidence: Evidence) -> pl.DataFrame:
        """One row a sample: its value with cluster and groups."""
        rows = evidence.of(AUDITED)
        if self.column not in rows.columns:
            return rows.clear()
        if self.conditions is not None:
            rows = rows.filter(pl.col("condition").is_in(self.conditions))
        if self.where is not None and self.where in rows.columns:
            rows = rows.filter(pl.col(self.where))
        keep = [pl.col(c).first() for c in rows.columns if c == "cluster" or c.startswith("group.")]
        value = pl.col(self.column).cast(pl.Float64).mean().alias("value")
        return rows.group_by("sample").agg(value, *keep).drop_nulls("value").sort("sample")


JOINED = (
    Joined("robustness.decoupling", "success", "fooled by decoupling", "robustness_gap", ("attack",), "attacked"),
    Joined("robustness.gradient", "success", "fooled by gradients", "robustness_gap", ("joint",), "attacked"),
    Joined("robustness.corruptions", "correct", "accuracy under corruptions", "robustness_gap", harm=False),
)
"""Robustness as the other probes saw it, sample by sample: no model call is made twice."""


@register
@dataclass(frozen=True, kw_only=True)
class GroupGaps(Probe):
    """Compares the groups of the data: accuracy, calibration, and how easily each is fooled.

    Every attribute (sex, site, question type) is judged by the largest difference between any two of its values, in
    how often it is right, in how sure it is beyond that, and in which answers it leans towards: a model that takes one
    group's inputs for signs of a disease errs only a little more often there, but always the same way. The largest of
    several noisy differences is biased upwards, so its interval is simultaneous over all pairs (max-t bootstrap over
    clusters): groups that are equally well served do not get an interval that excludes zero.
    Robustness gaps join the evidence of the attacks and corruptions in the same audit.

    Known trade-offs (accepted): groups are compared one attribute at a time, so what only exists where two
    attributes meet is left to the search for failing slices; groups below `fewest` samples are named and left out.
    """

    name = "controllability.fairness"
    question = "For whom does the model work less well?"
    place = "controllability/fairness"
    source = (
        "Hardt et al. 2016 (equalised odds); Kim et al. 2019 (multiaccuracy, here of decisions); equity-scaled "
        "accuracy: Luo et al. 2024 (FairCLIP); survey section 7"
    )
    metrics = (
        Metric(
            name="accuracy_gap",
            says="Accuracy of the best served group minus that of the worst. 0: all alike; 1: one always right, "
            "one always wrong.",
            limit=0.1,
        ),
        Metric(
            name="calibration_gap",
            says="How differently the model over- or underrates itself: the largest difference between groups of "
            "(mean confidence − accuracy). 0: equally well calibrated.",
            limit=0.05,
        ),
        Metric(
            name="leaning_gap",
            says="How differently the model leans towards an answer: how much more often it gives the answer to a "
            "group than it is right there, the largest difference between groups over all answers. 0: no answer is "
            "given to one group too readily; 1: one group always gets it wrongly, another never.",
            limit=0.05,
        ),
        Metric(
            name="robustness_gap",
            says="The share of samples fooled (or right under corruption) in the most affected group minus that "
            "in the least affected. 0: all groups are equally easy to attack.",
            limit=0.25,
        ),
        Metric(
            name="accuracy",
            says="Share of samples answered correctly.",
            better="higher",
        ),
        Metric(
            name="overconfidence",
            says="Mean confidence minus accuracy. 0: calibrated on average; above: it claims more than it holds.",
        ),
        Metric(
            name="equity_scaled_accuracy",
            says="Accuracy divided by 1 + the sum of the groups' distances from it: equal to accuracy if all "
            "groups are alike, lower the further they are apart.",
            better="higher",
        ),
        Metric(name="fooled", says="Share of a group's samples that an attack fooled, or got wrong when corrupted."),
    )
    finds = {
        "controllability.group-accuracy": ("accuracy_gap",),
        "controllability.group-attackable": ("robustness_gap",),
        "controllability.bias-one-modality": ("leaning_gap",),
        "controllability.bias-from-fusion": ("calibration_gap",),
        "monitoring.group-miscalibrated": ("calibration_gap",),
        "robustness.spurious-background": ("accuracy_gap", "calibration_gap"),
        "controllability.group-accuracy-vqa": ("accuracy_gap", "calibration_gap"),
        "controllability.smudged-paper-digits": ("accuracy_gap",),
        "monitoring.deaf-to-not-vqa": ("accuracy_gap",),
        "monitoring.spurious-paper-digits": ("leaning_gap",),
    }
    joins = tuple(dict.fromkeys(j.probe for j in JOINED))

    fewest: int = 30
    """Samples below which a group is left out of gaps."""

    def applies(self, model: Model, schema: Schema) -> str | None:
        return None if schema.groups else "the data declare no groups"

    def observe(self, clean: Clean) -> Observation:
        confidence = clean.probabilities.amax(dim=1)
        return Observation(clean.rows("clean", correct=clean.correct, confidence=confidence))

    def conclude(self, evidence: Evidence) -> Conclusion:
        rows = evidence.of(AUDITED, "clean")
        units = clusters(rows)
        correct = rows["correct"].cast(pl.Float64).to_numpy()
        over = rows["confidence"].to_numpy() - correct
        judged: list[Finding] = []
        details: list[Finding] = []
        notes: list[str] = []
        charts: list[Chart] = []
        matrix: dict[str, dict[str, float]] = {}
        columns = ["accuracy", "overconfidence"]
        joined = [(j, j.of(evidence.others[j.probe])) for j in JOINED if j.probe in evidence.others]
        for name in evidence.about.groups:
            labels = rows[f"group.{name}"].to_list()
            for metric, title, values in (
                ("accuracy_gap", "accuracy", correct),
                ("calibration_gap", "confidence minus accuracy", over),
            ):
                found = self._gap(values, labels, units, evidence, notes if metric == "accuracy_gap" else [], name)
                if found is not None:
                    judged.append(self._judged(metric, f"Gap in {title} between groups of {name}", found, name))
            if not any(f.group == name for f in judged):
                continue
            leaning = self._leaning(rows, labels, units, evidence, name)
            if leaning is not None:
                judged.append(leaning)
            accuracy = by_group(correct, labels, units, level=evidence.about.level)
            overs = by_group(over, labels, units, level=evidence.about.level)
            for value in accuracy:
                cell = matrix.setdefault(f"{name}={value}", {})
                cell["accuracy"], cell["overconfidence"] = accuracy[value].value, overs[value].value
                details.append(self._detail("accuracy", f"Accuracy, {name} {value}", accuracy[value], name, value))
                details.append(
                    self._detail("overconfidence", f"Overconfidence, {name} {value}", overs[value], name, value)
                )
            charts.append(_bars(name, accuracy))
            details.append(self._equity(correct, labels, units, evidence, name))
            for j, frame in joined:
                if not len(frame):
                    continue
                if j.title not in columns:
                    columns.append(j.title)
                theirs, values = frame[f"group.{name}"].to_list(), frame["value"].to_numpy()
                found = self._gap(values, theirs, clusters(frame), evidence, [], name)
                if found is not None:
                    judged.append(
                        self._judged(
                            "robustness_gap", f"Gap between groups of {name}: {j.title}", found, name
                        ).model_copy(update={"condition": j.title})
                    )
                for value, e in by_group(values, theirs, clusters(frame), level=evidence.about.level).items():
                    matrix.setdefault(f"{name}={value}", {})[j.title] = e.value
                    harm = e if j.harm else _complement(e)
                    title = f"{j.title.capitalize() if j.harm else 'Wrong under corruptions'}, {name} {value}"
                    details.append(
                        self._detail("fooled", title, harm, name, value).model_copy(update={"condition": j.title})
                    )
        if matrix:
            charts.append(_matrix(matrix, columns))
        unknown = {g: rows[f"group.{g}"].eq("").sum() for g in evidence.about.groups}
        notes += [
            f"{n} of {len(rows)} samples have no known {g} and are left out of its groups"
            for g, n in unknown.items()
            if n
        ]
        if not joined:
            notes.append("No attack or corruption was part of this audit, so robustness was not compared.")
        if not judged:
            notes.append(f"No attribute has two groups of at least {self.fewest} samples.")
        return Conclusion(findings=judged + details, charts=charts, notes=notes)

    def _leaning(
        self, rows: pl.DataFrame, labels: Sequence[str], units: Sequence[str] | None, evidence: Evidence, name: str
    ) -> Finding | None:
        """The answer that groups get most differently too often or too rarely.

        Simultaneous over answers too (Bonferroni), since the largest is named; answers that occur fewer than `fewest`
        times are left out.
        """
        given, true = rows["clean_predicted"].to_numpy(), rows["target"].to_numpy()
        often = [k for k in range(len(evidence.about.classes)) if ((given == k) | (true == k)).sum() >= self.fewest]
        level = 1 - (1 - evidence.about.level) / max(1, len(often))
        excess = {k: (given == k) * 1.0 - (true == k) for k in often}
        gaps = {k: self._gap(values, labels, units, evidence, [], name, level) for k, values in excess.items()}
        known = {k: gap for k, gap in gaps.items() if gap is not None}
        if not known:
            return None
        where = np.asarray(labels)
        # Of two answers the one is given too often where the other is too rarely: the former is named.
        most = max(known, key=lambda k: (round(known[k].estimate.low, 9), excess[k][where == known[k].highest].mean()))
        gap = known[most]
        answer = evidence.about.classes[most]
        method = f"{gap.estimate.method}, simultaneous over {len(often)} answers"
        honest = gap.estimate.model_copy(update={"level": evidence.about.level, "method": method})
        title = f"Gap between groups of {name} in how much too often the model says “{answer}”"
        return self._judged("leaning_gap", title, gap._replace(estimate=honest), name)

    def _gap(
        self,
        values: Any,
        labels: Sequence[str],
        units: Sequence[str] | None,
        evidence: Evidence,
        notes: list[str],
        name: str,
        level: float | None = None,
    ) -> Gap | None:
        known = [v for v in evidence.about.groups[name] if v in set(labels)]
        known += sorted(set(labels) - set(known) - {""})
        totals = group_totals(values, labels, known, units)
        try:
            found = max_gap(
                totals,
                known,
                level=level or evidence.about.level,
                seed=evidence.about.seed,
                min_count=self.fewest,
            )
        except ValueError:  # fewer than two groups large enough
            return None
        if found.left_out:
            notes.append(f"{name}: fewer than {self.fewest} samples, left out: {', '.join(found.left_out)}")
        return found

    def _judged(self, metric: str, title: str, gap: Gap, name: str) -> Finding:
        note = f"highest: {gap.highest}; lowest: {gap.lowest}"
        return Finding(probe=self.name, metric=metric, title=title, estimate=gap.estimate, group=name, note=note)

    def _detail(self, metric: str, title: str, estimate: Estimate, name: str, value: str) -> Finding:
        return Finding(
            probe=self.name, metric=metric, title=title, estimate=estimate, group=f"{name}={value}", judged=False
        )

    def _equity(
        self, correct: Any, labels: Sequence[str], units: Sequence[str] | None, evidence: Evidence, name: str
    ) -> Finding:
        known = sorted(set(labels) - {""})
        totals = group_totals(correct, labels, known, units)
        estimate = bootstrap(
            totals,
            equity_scaled_draws,
            n=int(totals[..., 1].sum()),
            level=evidence.about.level,
            seed=evidence.about.seed,
        )
        return Finding(
            probe=self.name,
            metric="equity_scaled_accuracy",
            title=f"Equity-scaled accuracy over {name}",
            estimate=estimate,
            group=name,
            judged=False,
        )


def group_totals(values: Any, labels: Sequence[str], known: Sequence[str], units: Sequence[str] | None) -> Any:
    """Per cluster and group the sum of the values and the count of samples: [C, G, 2]."""
    place = {v: k for k, v in enumerate(known)}
    at = np.array([place.get(v, -1) for v in labels])
    here = at >= 0
    totals = np.zeros((len(labels), len(known), 2))
    index = np.flatnonzero(here)
    totals[index, at[here], 0] = np.asarray(values, dtype=np.float64)[here]
    totals[index, at[here], 1] = 1
    return sum_by_cluster(totals, units)


def _complement(e: Estimate) -> Estimate:
    return e.model_copy(update={"value": 1 - e.value, "low": 1 - e.high, "high": 1 - e.low})


def _bars(name: str, accuracy: dict[str, Estimate]) -> BarChart:
    bars = [Bar(label=value, estimate=e) for value, e in accuracy.items()]
    return BarChart(title=f"Accuracy by {name}", y_label="accuracy", bars=bars, y_range=(0, 1))


def _matrix(cells: dict[str, dict[str, float]], columns: list[str]) -> MatrixChart:
    return MatrixChart(
        title="The same groups, question by question",
        rows=list(cells),
        columns=columns,
        values=[[row.get(c) for c in columns] for row in cells.values()],
        better="higher",
        value_range=(0, 1),
    )
