"""What calibration concludes from its evidence: the findings, headline first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from muroan.estimate import Estimate, auc, max_gap, mean, paired_difference, proportion, sum_by_cluster
from muroan.finding import Chart, Finding, TableChart, Verdict
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.missing_inputs import CLEAN, shown, single
from muroan.monitoring.reliability.scored import SMALLEST_GROUP, Scored

Floats = NDArray[np.float64]

MOST_CLASSES = 48
"""Classes of which the class-wise error is computed: the likeliest ones; the others have next to no samples."""


@dataclass(frozen=True)
class Findings:
    """Makes the findings of one audit. notes: what they rest on, added to as they are made."""

    probe: str
    modalities: Sequence[str]
    bins: int
    level: float
    seed: int
    notes: list[str]

    def finding(
        self,
        metric: str,
        title: str,
        estimate: Estimate | None,
        *,
        condition: str | None = None,
        group: str | None = None,
        judged: bool = True,
        controls: dict[str, Estimate] | None = None,
        note: str = "",
        reason: str = "",
    ) -> Finding:
        return Finding(
            probe=self.probe,
            metric=metric,
            title=title,
            estimate=estimate,
            modality=single(condition, self.modalities),
            group=group,
            condition=condition,
            judged=judged,
            controls=controls or {},
            note=note,
            verdict=Verdict.MEASURED if estimate is not None else Verdict.NOT_APPLICABLE,
            reason=reason,
        )

    def overconfidence(self, s: Scored) -> Estimate:
        return mean(s.confidence - s.correct, s.clusters, level=self.level)

    def error(self, s: Scored, where: NDArray[np.int64] | None = None) -> ce.CalibrationError:
        return ce.calibration_error(
            s.confidence,
            s.correct,
            s.clusters,
            where=where,
            bins=self.bins,
            level=self.level,
            seed=self.seed,
        )

    def chance(self, s: Scored, where: NDArray[np.int64] | None = None) -> Estimate:
        """What a perfectly calibrated model with these confidences would show."""
        drawn = ce.null_ece(s.confidence, where=where, bins=self.bins, seed=self.seed)
        low, high = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(
            value=float(drawn.mean()),
            low=min(float(low), float(drawn.mean())),
            high=max(float(high), float(drawn.mean())),
            level=self.level,
            n=len(s),
            method=f"labels redrawn from the confidences, {len(drawn)} draws",
        )

    def claims(self, s: Scored) -> dict[str, Estimate]:
        return {
            "mean confidence": mean(s.confidence, s.clusters, level=self.level),
            "accuracy": proportion(s.correct, s.clusters, level=self.level),
        }

    def headline(self, clean: Scored) -> list[Finding]:
        error, chance = self.error(clean), self.chance(clean)
        return [
            self.finding(
                "overconfidence",
                "confidence above accuracy",
                self.overconfidence(clean),
                controls=self.claims(clean),
            ),
            self.finding(
                "ece_excess",
                "distance of confidence from accuracy, beyond chance",
                error.excess,
                controls={"a perfectly calibrated model": chance, "before chance is taken off": error.error},
                note="The interval is that of the error which endless samples would show in these bins.",
            ),
            self.finding(
                "ece",
                "expected calibration error",
                error.error,
                controls={"a perfectly calibrated model": chance},
                note="Noise adds to this figure; its interval knows that and may reach down to 0.",
            ),
        ]

    def missing(self, audited: dict[str, Scored]) -> list[Finding]:
        clean = self.overconfidence(audited[CLEAN])
        return [
            self.finding(
                "overconfidence_missing",
                f"confidence above accuracy {condition}",
                self.overconfidence(s),
                condition=condition,
                controls=self.claims(s) | {"all inputs present": clean},
            )
            for condition, s in audited.items()
            if condition != CLEAN
        ]

    def groups(self, clean: Scored) -> list[Finding]:
        gap = clean.confidence - clean.correct
        compared, single = [], []
        for name, values in clean.groups().items():
            members = np.stack(list(values.values()), axis=1).astype(np.float64)
            if len(values) > 1:
                totals = sum_by_cluster(np.stack([members * gap[:, None], members], axis=2), clean.clusters)
                found = max_gap(totals, list(values), level=self.level, seed=self.seed, min_count=1)
                compared.append(
                    self.finding(
                        "calibration_gap",
                        f"overconfidence differs by {name}",
                        found.estimate,
                        group=name,
                        note=f"Most overconfident: {found.highest}; least: {found.lowest}.",
                    )
                )
            single += [
                self.finding(
                    "overconfidence",
                    f"confidence above accuracy where {name} is {value}",
                    self.overconfidence(part := clean.take(mask)),
                    group=f"{name}={value}",
                    judged=False,
                    controls=self.claims(part),
                )
                for value, mask in values.items()
            ]
        if compared:
            self.notes.append(f"Groups of fewer than {SMALLEST_GROUP} samples are left out.")
        return compared + single

    def other_errors(self, clean: Scored, classes: Sequence[str]) -> list[Finding]:
        where = ce.equal_mass(clean.confidence, self.bins)
        p, targets = clean.probabilities, clean.targets
        if p.shape[1] > MOST_CLASSES:
            likely = np.sort(np.argsort(-p.sum(axis=0), kind="stable")[:MOST_CLASSES])
            self.notes.append(f"Class-wise calibration is over the {MOST_CLASSES} likeliest of {len(classes)} classes.")
            targets = np.where(np.isin(targets, likely), np.searchsorted(likely, targets), -1)
            p = p[:, likely]
        by_class = ce.classwise_error(p, targets, clean.clusters, bins=self.bins, level=self.level, seed=self.seed)
        return [
            self.finding(
                "adaptive_ece",
                "calibration error over bins of equal mass",
                self.error(clean, where).error,
                controls={"a perfectly calibrated model": self.chance(clean, where)},
            ),
            self.finding(
                "classwise_ece",
                "calibration error averaged over classes",
                by_class.error,
                controls={"less what chance adds": by_class.excess},
            ),
            self.finding(
                "nll", "negative log-likelihood", self._mean(ce.nll(clean.log_probabilities, clean.targets), clean)
            ),
            self.finding("brier", "Brier score", self._mean(ce.brier(clean.probabilities, clean.targets), clean)),
        ]

    def _mean(self, values: Floats, s: Scored) -> Estimate:
        return mean(values, s.clusters, level=self.level)

    def fitted(self, audited: dict[str, Scored], reference: Scored | None) -> tuple[list[Finding], list[Chart]]:
        """What needs a threshold or a temperature: fitted on the reference, scored on the audited data."""
        clean = audited[CLEAN]
        if reference is None:
            reason = "the reference has no usable samples"
            return [
                self.finding(m, t, None, reason=reason)
                for m, t in (
                    ("temperature_gain", "likelihood won by a temperature"),
                    ("avu", "accuracy versus uncertainty"),
                    ("fpr95", "errors let through"),
                )
            ], []
        temperature = ce.fit_temperature(reference.log_probabilities, reference.targets)
        cooled = ce.tempered(clean.log_probabilities, temperature)
        before, after = ce.nll(clean.log_probabilities, clean.targets), ce.nll(cooled, clean.targets)
        error = ce.calibration_error(
            np.exp(cooled.max(axis=1)),
            clean.correct,
            clean.clusters,
            bins=self.bins,
            level=self.level,
            seed=self.seed,
        )
        self.notes.append(f"Temperature fitted on the reference: {temperature:.3g} (1: none needed; above: too sure).")
        findings = [
            self.finding(
                "temperature_gain",
                "likelihood won by one temperature",
                paired_difference(before, after, clean.clusters, level=self.level),
                controls={
                    "calibration error after": error.error,
                    "beyond chance after": error.excess,
                    "negative log-likelihood after": self._mean(after, clean),
                },
                note=f"Temperature {temperature:.3g}.",
            )
        ]
        right, wrong = bool(reference.correct.any()), not bool(reference.correct.all())
        rows: list[list[str | float | int | None]] = []
        if right and wrong:
            threshold = selective.uncertainty_threshold(reference.entropy, reference.correct)
            self.notes.append(
                f"Sure means an entropy of at most {threshold:.3g} nats (half way between right and wrong "
                "answers of the reference)."
            )
            for condition, s in audited.items():
                n = selective.avu_counts(s.entropy, s.correct, threshold)
                rows.append([shown(condition), float(s.correct.mean()), *(int(x) for x in n), n.avu])
                findings.append(
                    self.finding(
                        "avu",
                        "accuracy versus uncertainty" + ("" if condition == CLEAN else f" {condition}"),
                        proportion((s.entropy <= threshold) == (s.correct > 0), s.clusters, level=self.level),
                        condition=None if condition == CLEAN else condition,
                        judged=condition == CLEAN,
                        controls={"always sure (accuracy)": proportion(s.correct, s.clusters, level=self.level)},
                    )
                )
        else:
            reason = f"all answers on the reference are {'right' if right else 'wrong'}, so no threshold can be fitted"
            findings.append(self.finding("avu", "accuracy versus uncertainty", None, reason=reason))
        findings.append(self._fpr95(clean, reference))
        if not rows:
            return findings, []
        columns = ["inputs", "accuracy", "right, sure", "right, unsure", "wrong, sure", "wrong, unsure", "AvU"]
        return findings, [TableChart(title="Right or wrong against sure or unsure", columns=columns, rows=rows)]

    def _fpr95(self, clean: Scored, reference: Scored) -> Finding:
        title = "errors let through with 95 % of the right answers"
        wrong = clean.correct == 0
        if not wrong.any() or not reference.correct.any():
            reason = "no answer is wrong" if not wrong.any() else "no answer on the reference is right"
            return self.finding("fpr95", title, None, reason=reason)
        threshold = selective.threshold_accepting(reference.sureness, reference.correct)
        through = clean.sureness >= threshold
        names = clean.clusters
        return self.finding(
            "fpr95",
            title,
            proportion(through[wrong], None if names is None else names[wrong], level=self.level),
            controls={"all answers let through": proportion(through, names, level=self.level)},
            note=f"Of {int(wrong.sum())} errors; from a confidence of {expit(threshold):.4g} on, by the reference.",
        )

    def selective(self, clean: Scored) -> list[Finding]:
        right, names = clean.correct > 0, clean.clusters
        rate = proportion(1 - clean.correct, names, level=self.level)
        findings = [
            self.finding(
                "aurc",
                "mean error rate over the surest answers",
                selective.aurc_estimate(clean.sureness, clean.correct, names, level=self.level),
                controls={"error rate of all answers": rate},
            ),
            self.finding(
                "e_aurc",
                "mean error rate above the least these errors allow",
                selective.excess_aurc_estimate(clean.sureness, clean.correct, names, level=self.level),
                controls={"error rate of all answers": rate},
                note="Not comparable between models of different accuracy.",
            ),
        ]
        if right.all() or not right.any():
            reason = f"all answers are {'right' if right.all() else 'wrong'}"
            return [*findings, self.finding("error_auc", "confidence tells right from wrong", None, reason=reason)]
        c = clean.sureness
        sides = (None, None) if names is None else (names[right], names[~right])
        found = auc(c[right], c[~right], *sides, level=self.level)
        return [*findings, self.finding("error_auc", "confidence tells right from wrong", found)]

    def details(self, audited: dict[str, Scored]) -> list[Finding]:
        """The same figures with inputs missing."""
        out = []
        full = audited[CLEAN].rows.select("sample", full="confidence")
        for condition, s in audited.items():
            if condition == CLEAN:
                continue
            both = s.rows.select("sample", "confidence").join(full, on="sample", how="left")
            rises = selective.confidence_rises(both["full"].to_numpy(), both["confidence"].to_numpy())
            out += [
                self.finding(
                    "confidence_rises",
                    f"surer {condition} than with it",
                    proportion(rises, s.clusters, level=self.level),
                    condition=condition,
                    judged=False,
                ),
                self.finding(
                    "ece_excess",
                    f"distance of confidence from accuracy {condition}",
                    self.error(s).excess,
                    condition=condition,
                    judged=False,
                    controls={"a perfectly calibrated model": self.chance(s)},
                ),
                self.finding(
                    "aurc",
                    f"mean error rate over the surest answers {condition}",
                    selective.aurc_estimate(s.sureness, s.correct, s.clusters, level=self.level),
                    condition=condition,
                    judged=False,
                    controls={"error rate of all answers": proportion(1 - s.correct, s.clusters, level=self.level)},
                ),
            ]
        return out
