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
from muroan.estimate import Estimate, auc_difference
from muroan.evidence import AUDITED, MEMBERS, Evidence
from muroan.figure import Figure
from muroan.finding import Bar, BarChart, Conclusion, Line, LineChart
from muroan.intervention import outcome
from muroan.interventions.removals import Removal
from muroan.meter import Metered
from muroan.model import Capability, Model, Shadow
from muroan.probe import Observation, Probe
from muroan.randomness import sample_keys, uniform
from muroan.registry import register
from muroan.rows import SMALLEST_GROUP, Floats, Rows
from muroan.say import Say

CLEAN = "clean"
LOSS, RATIO, BLIND = "loss", "likelihood-ratio", "blind"
"""Scores of each sample, as columns: of the attacks, and of the baseline in the place of the inputs it is made of."""
FEWEST = 3 * SMALLEST_GROUP
"""Samples on either side from which on a group has a figure."""
_shadows: WeakKeyDictionary[Model, list[Shadow]] = WeakKeyDictionary()


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
    figures = (
        Figure(
            "gain_over_blind",
            says="How much better (in AUC) the attack tells members from others than a classifier that never asks "
            "the model. 0: no evidence of membership leaking; 0.5: members are given away entirely.",
            limit=0.05,
        ),
        Figure(
            "given_away",
            says="Share of members that the attack gives away at a false-positive rate of 1 %, beyond those that a "
            "classifier gives away that never asks the model. 0: nobody is remembered; 1: everybody is.",
            limit=0.03,
        ),
        Figure("auc", says="How well an attack orders members before others. 0.5: guessing; 1: perfectly."),
        Figure(
            "blind_auc",
            says="The same without asking the model. 0.5: members and others look alike, as they should; above: the "
            "sets differ, and attacks look stronger than they are.",
        ),
        Figure(
            "tpr_at_low_fpr",
            says="Share of members that are given away at a false-positive rate of 1 %. 0.01: no better than chance.",
        ),
        Figure("fpr", says="False-positive rate that the threshold really had on samples it was not fitted on."),
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
            for change in (Removal((m,)) for m in clean.model.modalities):
                logits = outcome(clean, change).logits
                frames.append(clean.rows(change.condition, phi=logit_confidence(logits, targets)))
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
        members, others, baseline = _scored(evidence)
        removed = {c: _sides(evidence, c) for c in evidence.conditions() if c != CLEAN}
        attacks = [a for a in (LOSS, RATIO) if a in members.frame.columns]
        attack, say = attacks[-1], Say(self.name)
        areas, blind = {a: members.above(others, a) for a in attacks}, members.above(others, BLIND)
        chance = {"blind baseline": blind}
        say(
            "gain_over_blind",
            f"What the {attack} attack gains over not asking the model",
            _gain(members, others, attack),
            controls={f"{attack} attack": areas[attack], **chance},
            note=f"blind baseline: {baseline}, 5-fold cross-validated by cluster; an AUC below 0.5 counts as 0.5",
        )
        half = self._half(others)
        left = {} if half is None else self._few(say, members, others, half, attack, removed)
        for name, area in areas.items():
            say.detail("auc", f"AUC of the {name} attack", area, controls=chance)
        say.detail("blind_auc", f"AUC of the blind baseline ({baseline})", blind)
        bars = [Bar(label=name, estimate=area) for name, area in areas.items()]
        for condition, (inside, outside) in removed.items():
            area = inside.above(outside, "phi")
            say.detail("auc", f"AUC of the loss attack {condition}", area, condition=condition)
            if condition in left:
                title = f"Members given away {condition}, loss attack, {self.false_positives:.0%} false positives"
                say.detail("tpr_at_low_fpr", title, left[condition], condition=condition)
            bars.append(Bar(label=f"loss, {condition}", estimate=area))
        for name, value, some in members.groups(FEWEST):
            against = others.where(pl.col(f"group.{name}") == value)
            if len(against) >= FEWEST:
                title, group = f"AUC of the decisive attack, {name} {value}", f"{name}={value}"
                say.detail("auc", title, some.above(against, attack), group=group)
        bars.append(Bar(label="blind", estimate=blind, control=True))
        title = "Telling members from others"
        chart = BarChart(title=title, y_label="AUC", bars=bars, y_range=(0, 1), limit=0.5)
        curves = _roc({a: (members[a], others[a]) for a in (*attacks, BLIND)})
        return Conclusion(findings=say.findings, charts=[chart, curves], notes=_notes(members, others, blind))

    def _half(self, others: Rows) -> NDArray[np.bool_] | None:
        """Which of the non-members a threshold is fitted on [M]; None where there are too few for the rate."""
        half = uniform(sample_keys(others.units, others.about.seed, self.name, "threshold")) < 0.5
        return None if half.sum() < 1 / self.false_positives or half.all() else half

    def _threshold(self, fitted: Floats) -> float:
        """What few non-members score above.

        The k-th largest of n is exceeded by a new one with probability k / (n + 1), as in conformal prediction.
        """
        return float(np.sort(fitted)[::-1][int((len(fitted) + 1) * self.false_positives + 1e-9) - 1])

    def _few(
        self,
        say: Say,
        members: Rows,
        others: Rows,
        half: NDArray[np.bool_],
        attack: str,
        removed: Mapping[str, tuple[Rows, Rows]],
    ) -> dict[str, Estimate]:
        """Who is given away for certain, which an average over all members cannot show: also with an input removed."""
        fitted, held = others.where(half), others.where(~half)
        least = {score: self._threshold(fitted[score]) for score in (attack, BLIND)}
        hits, by_chance = (members[score] > least[score] for score in (attack, BLIND))
        left = {
            condition: inside.share(inside["phi"] > self._threshold(outside.of_samples(fitted)["phi"]))
            for condition, (inside, outside) in removed.items()
        }
        tpr, fpr = members.share(hits), held.share(held[attack] > least[attack])
        listed = ", ".join(f"{e.value:.1%} ({condition})" for condition, e in left.items())
        say(
            "given_away",
            f"Members that the {attack} attack gives away, beyond those that show without asking the model",
            members.lost(hits, by_chance),
            controls={f"{attack} attack": tpr, "blind baseline": members.share(by_chance), "false positives": fpr},
            note=f"With one input removed the loss attack gives away: {listed}." if left else "",
        )
        what = f"at a threshold for {self.false_positives:.0%} false positives, {attack} attack"
        say.detail("tpr_at_low_fpr", f"Members given away {what}", tpr, controls={"false positives": fpr})
        say.detail("fpr", f"False positives {what}", fpr)
        return left


def _sides(evidence: Evidence, condition: str) -> tuple[Rows, Rows]:
    """Members and others under a condition."""
    return Rows.of(evidence, condition, split=MEMBERS), Rows.of(evidence, condition, split=AUDITED)


def _scored(evidence: Evidence) -> tuple[Rows, Rows, str]:
    """Members and others with a column for each attack that was possible and for the baseline, and its name."""
    members, others = _sides(evidence, CLEAN)
    both, n = pl.concat([members.frame, others.frame]), len(members)
    scores = {LOSS: both["phi"].to_numpy()}
    shadow_phi, inside = _matrix(both["shadow_phi"]), _matrix(both["shadow_in"]).astype(bool)
    if inside.shape[1] >= 2 and not inside.all(axis=1).any():
        scores[RATIO] = lira(scores[LOSS], shadow_phi, inside).score
    seen, units = _matrix(both["blind"]).astype(np.float64), [*members.units, *others.units]
    baseline, scores[BLIND] = blind_scores(seen, np.arange(len(both)) < n, units, seed=evidence.about.seed)
    ours, theirs = ({name: values[part] for name, values in scores.items()} for part in (slice(n), slice(n, None)))
    return members.having(**ours), others.having(**theirs), baseline


def _notes(members: Rows, others: Rows, blind: Estimate) -> list[str]:
    notes = [f"{len(members)} members against {len(others)} samples of the data audited, which count as non-members."]
    inside = _matrix(members.frame["shadow_in"])
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


def _gain(members: Rows, others: Rows, attack: str) -> Estimate:
    """AUC of the attack minus that of the baseline, a baseline below one half counting as guessing."""
    if members.above(others, BLIND).value <= 0.5:
        alone = members.above(others, attack).less(0.5)
        return alone.model_copy(update={"method": f"{alone.method}, minus 0.5"})
    ours, blind = (members[attack], others[attack]), (members[BLIND], others[BLIND])
    return auc_difference(*ours, *blind, members.clusters, others.clusters, level=members.level)


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
        thresholds = np.sort(outside)[::-1][np.minimum((rates * n).astype(int), n - 1)]
        hits = (inside[:, None] > thresholds).mean(axis=0).tolist()
        lines.append(Line(label=label, x=rates.tolist(), y=hits, control=label == BLIND))
    return LineChart(
        title="Members given away at each false-positive rate",
        x_label="false-positive rate",
        y_label="true-positive rate",
        lines=lines,
        diagonal=True,
        log_x=True,
        y_range=(0, 1),
    )
