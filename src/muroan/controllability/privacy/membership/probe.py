"""Can somebody tell which samples the model was trained on?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.clean import Clean
from muroan.controllability.privacy.membership.blind import blind_scores, features
from muroan.controllability.privacy.membership.likelihood_ratio import lira, logit_confidence
from muroan.estimate import Estimate, auc, auc_difference, paired_difference, proportion
from muroan.evidence import AUDITED, MEMBERS, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Line, LineChart, Metric
from muroan.meter import Metered
from muroan.model import Capability, Model, Shadow
from muroan.probe import Observation, Probe
from muroan.randomness import sample_keys, uniform
from muroan.registry import register

CLEAN = "clean"
_shadows: WeakKeyDictionary[Model, list[Shadow]] = WeakKeyDictionary()

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Low:
    """A threshold for few false positives, fitted on some of the non-members [M] and scored on the others.

    fitted bool [M]; the units are what samples are dependent by (members, and those of the others that are scored).
    """

    fitted: NDArray[np.bool_]
    false_positives: float
    member_units: list[str] | None
    held_units: list[str] | None

    @staticmethod
    def of(
        members: pl.DataFrame, others: pl.DataFrame, false_positives: float, evidence: Evidence, purpose: str
    ) -> _Low | None:
        """None where there are too few non-members for the rate."""
        units = clusters(others)
        names = units or others["sample"].to_list()
        half = uniform(sample_keys(names, evidence.about.seed, purpose, "threshold"))[...] < 0.5
        if half.sum() < 1 / false_positives or half.all():
            return None
        held = [u for u, h in zip(names, half, strict=True) if not h] if units else None
        return _Low(half, false_positives, clusters(members), held)

    def hits(self, members: Floats, others: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which members, and which of the others held back, score above the threshold."""
        fitted = others[self.fitted]
        # The k-th largest of n is exceeded by a new one with probability k / (n + 1), as in conformal prediction.
        threshold = np.sort(fitted)[::-1][int((len(fitted) + 1) * self.false_positives + 1e-9) - 1]
        return members > threshold, others[~self.fitted] > threshold


@register
@dataclass(frozen=True, kw_only=True)
class Membership(Probe):
    """Attacks the model's privacy: scores each sample by how much it looks trained on, and compares members with
    samples that were not trained on.

    Two attacks. The loss attack takes the logit-scaled confidence in the true answer, φ = log p_y/(1 − p_y). The
    likelihood-ratio attack (LiRA) asks how φ compares with models of the same recipe trained with and without
    that sample; it needs a model that brings shadow models. Beside them stands the blind baseline, a
    cross-validated classifier of the bare inputs that never asks the model: only what an attack gains over it is
    evidence of membership, the rest says that the two sets differ.

    The decisive attack is fixed beforehand: the likelihood ratio where there are shadows, else the loss. It is judged
    twice. On average (AUC): a little for everybody. And where it is certain (Carlini et al. 2022, section II): a model
    that knows one patient in ten by heart moves the AUC by five points, and yet gives those patients away entirely. The
    threshold for few false positives is fitted on one half of the non-members and scored on the other.

    Known trade-offs (accepted): samples of the data audited count as non-members, which only holds if none of them was
    trained on; a few shadows underestimate what an attacker with hundreds could do.
    """

    name = "controllability.membership"
    question = "Can somebody tell which samples the model was trained on?"
    place = "controllability/privacy"
    source = (
        "Yeom et al. 2018 (loss attack); Carlini et al. 2022, LiRA, sections IV-V; blind baseline: survey section 8"
    )
    metrics = (
        Metric(
            name="gain_over_blind",
            says="How much better (in AUC) the attack tells members from others than a classifier that never asks "
            "the model. 0: no evidence of membership leaking; 0.5: members are given away entirely.",
            limit=0.05,
        ),
        Metric(
            name="given_away",
            says="Share of members that the attack gives away at a false-positive rate of 1 %, beyond those that a "
            "classifier gives away that never asks the model. 0: nobody is remembered; 1: everybody is.",
            limit=0.03,
        ),
        Metric(name="auc", says="How well an attack orders members before others. 0.5: guessing; 1: perfectly."),
        Metric(
            name="blind_auc",
            says="The same without asking the model. 0.5: members and others look alike, as they should; above: the "
            "sets differ, and attacks look stronger than they are.",
        ),
        Metric(
            name="tpr_at_low_fpr",
            says="Share of members that are given away at a false-positive rate of 1 %. 0.01: no better than chance.",
        ),
        Metric(name="fpr", says="False-positive rate that the threshold really had on samples it was not fitted on."),
    )
    finds = {
        "controllability.memorised-records": ("given_away", "gain_over_blind"),
        "controllability.memorised-detail": ("given_away", "gain_over_blind"),
        "controllability.memorised-digits": ("gain_over_blind",),
    }
    splits = (AUDITED, MEMBERS)
    needs = frozenset({Capability.SCORES})

    limit: int | None = 2000
    false_positives: float = 0.01
    """The low false-positive rate, 0 to 1."""
    per_modality: bool = True
    """Also attack with each modality removed: which input gives members away?"""

    def observe(self, clean: Clean) -> Observation:
        targets = clean.batch.targets
        phi = logit_confidence(clean.logits, targets)
        shadow_phi, shadow_in = self._shadowed(clean)
        frames = [
            clean.rows(
                CLEAN,
                phi=phi,
                shadow_phi=_arrays("shadow_phi", shadow_phi),
                shadow_in=_arrays("shadow_in", shadow_in),
                blind=_arrays("blind", features(clean.batch).numpy().astype(np.float32)),
            )
        ]
        if self.per_modality and len(clean.model.modalities) > 1:
            frames += [
                clean.rows(f"without {m}", phi=logit_confidence(clean.without(m), targets))
                for m in clean.model.modalities
            ]
        return Observation(pl.concat(frames, how="diagonal"))

    def _shadowed(self, clean: Clean) -> tuple[Floats, NDArray[np.bool_]]:
        """φ of every sample under every shadow [N, S], and which were trained on it [N, S]; S may be 0."""
        model = clean.model.model
        if Capability.SHADOWS not in model.capabilities:
            return np.zeros((len(clean), 0)), np.zeros((len(clean), 0), dtype=bool)
        if model not in _shadows:
            _shadows[model] = list(model.shadows())
        phis, inside = [], []
        for shadow in _shadows[model]:
            metered = Metered(shadow.model, clean.model.modalities)
            phis.append(logit_confidence(metered.of(clean.batch), clean.batch.targets).numpy())
            inside.append(shadow.trained_on(clean.batch.ids))
            for what, n in metered.meter.counts.items():
                clean.model.meter.add(f"shadow {what}", n)
            clean.model.meter.seconds += metered.meter.seconds
        return np.stack(phis, axis=1), np.stack(inside, axis=1)

    def conclude(self, evidence: Evidence) -> Conclusion:
        level = evidence.about.level
        members, others = evidence.of(MEMBERS, CLEAN), evidence.of(AUDITED, CLEAN)
        units = clusters(members), clusters(others)
        attacks = self._attacks(members, others)
        decisive = next(reversed(attacks))
        name, blind_in, blind_out = blind_scores(
            np.asarray(members["blind"].to_list(), dtype=float),
            np.asarray(others["blind"].to_list(), dtype=float),
            units[0] or members["sample"].to_list(),
            units[1] or others["sample"].to_list(),
            seed=evidence.about.seed,
        )
        blind = auc(blind_in, blind_out, *units, level=level)
        chance = {"blind baseline": blind}
        areas = {title: auc(a, b, *units, level=level) for title, (a, b) in attacks.items()}
        findings = [
            Finding(
                probe=self.name,
                metric="gain_over_blind",
                title=f"What the {decisive} attack gains over not asking the model",
                estimate=_gain(attacks[decisive], (blind_in, blind_out), units, level),
                controls={f"{decisive} attack": areas[decisive], **chance},
                note=f"blind baseline: {name}, 5-fold cross-validated by cluster; an AUC below 0.5 counts as 0.5",
            )
        ]
        low = _Low.of(members, others, self.false_positives, evidence, self.name)
        if low is not None:
            findings += self._few(low, attacks[decisive], (blind_in, blind_out), decisive, evidence)
        findings += [
            self._detail("auc", f"AUC of the {title} attack", area, controls=chance) for title, area in areas.items()
        ]
        findings.append(self._detail("blind_auc", f"AUC of the blind baseline ({name})", blind))
        removed = self._per_modality(evidence, units, low)
        findings += removed
        findings += self._per_group(attacks[decisive], members, others, evidence)
        charts: list[Chart] = [
            BarChart(
                title="Telling members from others",
                y_label="AUC",
                bars=[Bar(label=t, estimate=e) for t, e in areas.items()]
                + [
                    Bar(label=f"loss, {f.condition}", estimate=f.estimate)
                    for f in removed
                    if f.metric == "auc" and f.estimate
                ]
                + [Bar(label="blind", estimate=blind, control=True)],
                y_range=(0, 1),
                limit=0.5,
            ),
            _roc(attacks | {"blind": (blind_in, blind_out)}),
        ]
        return Conclusion(findings=findings, charts=charts, notes=self._notes(members, others, blind))

    def _attacks(self, members: pl.DataFrame, others: pl.DataFrame) -> dict[str, tuple[Floats, Floats]]:
        """Attack -> scores of members and of others; the decisive one last."""
        phi = members["phi"].to_numpy(), others["phi"].to_numpy()
        out = {"loss": phi}
        both = pl.concat([members, others])
        shadow_phi, shadow_in = _matrix(both["shadow_phi"]), _matrix(both["shadow_in"]).astype(bool)
        if shadow_phi.shape[1] >= 2 and not shadow_in.all(axis=1).any():
            score = lira(np.concatenate(phi), shadow_phi, shadow_in).score
            out["likelihood-ratio"] = score[: len(members)], score[len(members) :]
        return out

    def _few(
        self,
        low: _Low,
        scores: tuple[Floats, Floats],
        blind: tuple[Floats, Floats],
        attack: str,
        evidence: Evidence,
    ) -> list[Finding]:
        """Who is given away for certain: what an average over all members cannot show."""
        level = evidence.about.level
        hits, alarms = low.hits(*scores)
        by_chance, _ = low.hits(*blind)
        what = f"at a threshold for {self.false_positives:.0%} false positives, {attack} attack"
        tpr = proportion(hits, low.member_units, level=level)
        fpr = proportion(alarms, low.held_units, level=level)
        left = {c.removeprefix("without "): low.hits(*_phi(evidence, c))[0].mean() for c in _removed(evidence)}
        note = f"With one input removed the loss attack gives away: {_listed(left)}." if left else ""
        return [
            Finding(
                probe=self.name,
                metric="given_away",
                title=f"Members that the {attack} attack gives away, beyond those that show without asking the model",
                estimate=paired_difference(hits, by_chance, low.member_units, level=level),
                controls={
                    f"{attack} attack": tpr,
                    "blind baseline": proportion(by_chance, low.member_units, level=level),
                    "false positives": fpr,
                },
                note=note,
            ),
            self._detail("tpr_at_low_fpr", f"Members given away {what}", tpr, controls={"false positives": fpr}),
            self._detail("fpr", f"False positives {what}", fpr),
        ]

    def _per_modality(self, evidence: Evidence, units: Any, low: _Low | None) -> list[Finding]:
        """The loss attack with each input removed: where what it gains falls away, that input gives members away."""
        level = evidence.about.level
        out = []
        for condition in _removed(evidence):
            scores = _phi(evidence, condition)
            about = {"condition": condition}
            found = self._detail("auc", f"AUC of the loss attack {condition}", auc(*scores, *units, level=level))
            out.append(found.model_copy(update=about))
            if low is not None:
                tpr = proportion(low.hits(*scores)[0], low.member_units, level=level)
                title = f"Members given away {condition}, loss attack, {self.false_positives:.0%} false positives"
                out.append(self._detail("tpr_at_low_fpr", title, tpr).model_copy(update=about))
        return out

    def _per_group(
        self, scores: tuple[Floats, Floats], members: pl.DataFrame, others: pl.DataFrame, evidence: Evidence
    ) -> list[Finding]:
        out = []
        for name, values in evidence.about.groups.items():
            for value in values:
                a, b = (rows[f"group.{name}"].to_numpy() == value for rows in (members, others))
                if min(a.sum(), b.sum()) < 30:
                    continue
                units = [clusters(rows.filter(pl.Series(k))) for rows, k in ((members, a), (others, b))]
                area = auc(scores[0][a], scores[1][b], *units, level=evidence.about.level)
                found = self._detail("auc", f"AUC of the decisive attack, {name} {value}", area)
                out.append(found.model_copy(update={"group": f"{name}={value}"}))
        return out

    def _detail(
        self, metric: str, title: str, estimate: Estimate, controls: Mapping[str, Estimate] | None = None
    ) -> Finding:
        return Finding(
            probe=self.name,
            metric=metric,
            title=title,
            estimate=estimate,
            judged=False,
            controls=dict(controls or {}),
        )

    def _notes(self, members: pl.DataFrame, others: pl.DataFrame, blind: Estimate) -> list[str]:
        notes = [
            f"{len(members)} members against {len(others)} samples of the data audited, which count as non-members.",
        ]
        inside = _matrix(members["shadow_in"])
        if inside.shape[1]:
            notes.append(
                f"{inside.shape[1]} shadow models; a member is in {inside.sum(axis=1).mean():.1f} of them on average. "
                "Standard deviations are pooled over samples, as LiRA advises for few shadows."
            )
        else:
            notes.append("The likelihood-ratio attack needs shadow models of the same recipe; this model brings none.")
        if blind.low > 0.5:
            notes.append(
                f"Members and others can be told apart without the model (blind AUC {blind}): the sets differ, "
                "so plain attack figures overstate what leaks."
            )
        return notes


def _gain(attack: tuple[Floats, Floats], blind: tuple[Floats, Floats], units: Any, level: float) -> Estimate:
    """AUC of the attack minus that of the baseline, a baseline below one half counting as guessing."""
    area = auc(*blind, *units, level=level)
    if area.value <= 0.5:
        alone = auc(*attack, *units, level=level)
        moved = {k: getattr(alone, k) - 0.5 for k in ("value", "low", "high")}
        return alone.model_copy(update={**moved, "method": f"{alone.method}, minus 0.5"})
    return auc_difference(*attack, *blind, *units, level=level)


def _removed(evidence: Evidence) -> list[str]:
    """The conditions under which an input was removed."""
    return [c for c in evidence.conditions() if c != CLEAN]


def _phi(evidence: Evidence, condition: str) -> tuple[Floats, Floats]:
    """φ of members and of others under a condition."""
    members, others = evidence.of(MEMBERS, condition)["phi"], evidence.of(AUDITED, condition)["phi"]
    return members.to_numpy(), others.to_numpy()


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} (without {name})" for name, share in shares.items())


def _arrays(name: str, values: NDArray[Any]) -> pl.Series:
    """Rows of a matrix as a list column (an array column of width 0 does not survive a Parquet file)."""
    return pl.Series(name, values.tolist(), dtype=pl.List(pl.Boolean if values.dtype == bool else pl.Float32))


def _matrix(column: pl.Series) -> NDArray[Any]:
    width = int(column.list.len().max() or 0)  # type: ignore[arg-type]
    return column.explode(empty_as_null=True).to_numpy().reshape(-1, width) if width else np.zeros((len(column), 0))


def _roc(scores: Mapping[str, tuple[Floats, Floats]]) -> LineChart:
    """True against false positives on a logarithmic axis, where privacy is decided."""
    lines = []
    for label, (inside, outside) in scores.items():
        n = len(outside)
        rates = np.unique(np.geomspace(max(1 / n, 1e-3), 1.0, 25))
        ordered = np.sort(outside)[::-1]
        thresholds = ordered[np.minimum((rates * n).astype(int), n - 1)]
        lines.append(
            Line(
                label=label,
                x=rates.tolist(),
                y=[float((inside > t).mean()) for t in thresholds],
                control=label == "blind",
            )
        )
    return LineChart(
        title="Members given away at each false-positive rate",
        x_label="false-positive rate",
        y_label="true-positive rate",
        lines=lines,
        diagonal=True,
        log_x=True,
        y_range=(0, 1),
    )
