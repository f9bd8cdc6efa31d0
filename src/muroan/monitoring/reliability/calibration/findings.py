"""What calibration concludes from its evidence: the findings, headline first.

Rows are `judged` ones, with all inputs (clean) and by condition (audited); what is noted beside findings is returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from muroan.estimate import Estimate
from muroan.finding import Chart, TableChart
from muroan.interventions.removals import CLEAN
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.scored import FEWEST, judged, log_probabilities, shown, targets, under
from muroan.monitoring.reliability.sum_of_gaps import GapEstimates
from muroan.rows import ROUNDING, Rows
from muroan.say import Say

MOST_CLASSES = 48
"""Classes of which the class-wise error is computed: the likeliest ones; the others have next to no samples."""
TEMPERATURE, AVU = "likelihood won by one temperature", "accuracy versus uncertainty"
LET_THROUGH = "errors let through with 95 % of the right answers"
SUREST, TELLS = "mean error rate over the surest answers", "confidence tells right from wrong"


def headline(say: Say, clean: Rows, bins: int) -> None:
    error, excess = _error(clean, bins)
    chance = _chance(clean, bins)
    say("overconfidence", "confidence above accuracy", clean.mean("over"), controls=_claims(clean))
    say(
        "ece_excess",
        "distance of confidence from accuracy, beyond chance",
        excess,
        controls=chance | {"before chance is taken off": error},
        note="The interval is that of the error which endless samples would show in these bins.",
    )
    note = "Noise adds to this figure; its interval knows that and may reach down to 0."
    say("ece", "expected calibration error", error, controls=chance, note=note)


def missing(say: Say, audited: Mapping[str, Rows]) -> None:
    over = {"all inputs present": audited[CLEAN].mean("over")}
    for condition, rows in audited.items():
        if condition != CLEAN:
            title, controls = f"confidence above accuracy {condition}", _claims(rows) | over
            under(say, condition, rows)("overconfidence_missing", title, rows.mean("over"), controls=controls)


def groups(say: Say, clean: Rows) -> list[str]:
    gaps = {name: clean.gap("over", name, FEWEST) for name in clean.about.groups}
    for name, gap in gaps.items():
        if gap is not None:
            note = f"Most overconfident: {gap.highest}; least: {gap.lowest}."
            say("calibration_gap", f"overconfidence differs by {name}", gap.estimate, group=name, note=note)
    for name, value, rows in clean.groups(FEWEST):
        title, group = f"confidence above accuracy where {name} is {value}", f"{name}={value}"
        say.detail("overconfidence", title, rows.mean("over"), group=group, controls=_claims(rows))
    return [f"Groups of fewer than {FEWEST} samples are left out."] if any(gaps.values()) else []


def other_errors(say: Say, clean: Rows, bins: int) -> list[str]:
    where, log_p, true = ce.equal_mass(clean["confidence"], bins), log_probabilities(clean), targets(clean)
    error, chance = _error(clean, bins, where).error, _chance(clean, bins, where)
    say("adaptive_ece", "calibration error over bins of equal mass", error, controls=chance)
    p, classes, notes = np.exp(log_p), true, []
    if p.shape[1] > MOST_CLASSES:
        likely = np.sort(np.argsort(-p.sum(axis=0), kind="stable")[:MOST_CLASSES])
        notes.append(f"Class-wise calibration is over the {MOST_CLASSES} likeliest of {p.shape[1]} classes.")
        classes = np.where(np.isin(true, likely), np.searchsorted(likely, true), -1)
        p = p[:, likely]
    by_class = ce.classwise_error(p, classes, clean.clusters, bins=bins, level=clean.level, seed=clean.about.seed)
    controls = {"less what chance adds": by_class.excess}
    say("classwise_ece", "calibration error averaged over classes", by_class.error, controls=controls)
    say("nll", "negative log-likelihood", clean.mean(ce.nll(log_p, true)))
    say("brier", "Brier score", clean.mean(ce.brier(np.exp(log_p), true)))
    return notes


def fitted(say: Say, audited: Mapping[str, Rows], reference: Rows, bins: int) -> tuple[list[Chart], list[str]]:
    """What needs a temperature or a threshold: fitted on the reference, scored on the audited data."""
    if not len(reference):
        for metric, title in (("temperature_gain", TEMPERATURE), ("avu", AVU), ("fpr95", LET_THROUGH)):
            say(metric, title, None, reason="the reference has no usable samples")
        return [], []
    reference = judged(reference)
    fit = _temperature(say, audited[CLEAN], reference, bins)
    tables, sure = _uncertainty(say, audited, reference)
    _let_through(say, audited[CLEAN], reference)
    return tables, [fit, *sure]


def _temperature(say: Say, clean: Rows, reference: Rows, bins: int) -> str:
    log_p, true = log_probabilities(clean), targets(clean)
    temperature = ce.fit_temperature(log_probabilities(reference), targets(reference))
    cooled = ce.tempered(log_p, temperature)
    nll = ce.nll(cooled, true)
    error, excess = _error(clean.having(confidence=np.exp(cooled.max(axis=1))), bins)
    controls = {
        "calibration error after": error,
        "beyond chance after": excess,
        "negative log-likelihood after": clean.mean(nll),
    }
    won = clean.lost(ce.nll(log_p, true), nll)
    say("temperature_gain", TEMPERATURE, won, controls=controls, note=f"Temperature {temperature:.3g}.")
    return f"Temperature fitted on the reference: {temperature:.3g} (1: none needed; above: too sure)."


def _uncertainty(say: Say, audited: Mapping[str, Rows], reference: Rows) -> tuple[list[Chart], list[str]]:
    if why := _all_alike(reference):
        say("avu", AVU, None, reason=f"all answers on the reference are {why}, so no threshold can be fitted")
        return [], []
    threshold = selective.uncertainty_threshold(reference["entropy"], reference["correct"])
    halfway = "half way between right and wrong answers of the reference"
    note = f"Sure means an entropy of at most {threshold:.3g} nats ({halfway})."
    table: list[list[str | float | int | None]] = []
    for condition, rows in audited.items():
        n = selective.avu_counts(rows["entropy"], rows["correct"], threshold)
        table.append([shown(condition), float(rows["correct"].mean()), *(int(x) for x in n), n.avu])
        agrees = rows.share((rows["entropy"] <= threshold) == (rows["correct"] > 0))
        controls = {"always sure (accuracy)": rows.share("correct")}
        if condition == CLEAN:
            say("avu", AVU, agrees, controls=controls)
        else:
            under(say, condition, rows).detail("avu", f"{AVU} {condition}", agrees, controls=controls)
    columns = ["inputs", "accuracy", "right, sure", "right, unsure", "wrong, sure", "wrong, unsure", "AvU"]
    return [TableChart(title="Right or wrong against sure or unsure", columns=columns, rows=table)], [note]


def _let_through(say: Say, clean: Rows, reference: Rows) -> None:
    wrong = clean.where(clean["correct"] == 0)
    if not len(wrong) or not reference["correct"].any():
        reason = "no answer on the reference is right" if len(wrong) else "no answer is wrong"
        say("fpr95", LET_THROUGH, None, reason=reason)
        return
    threshold = selective.threshold_accepting(reference["sureness"], reference["correct"])
    controls = {"all answers let through": clean.share(clean["sureness"] >= threshold)}
    note = f"Of {len(wrong)} errors; from a confidence of {expit(threshold):.4g} on, by the reference."
    say("fpr95", LET_THROUGH, wrong.share(wrong["sureness"] >= threshold), controls=controls, note=note)


def surest(say: Say, clean: Rows) -> None:
    """Whether confidence orders answers: errors last."""
    controls = _error_rate(clean)
    say("aurc", SUREST, _aurc(clean), controls=controls)
    excess = selective.excess_aurc_estimate(clean["sureness"], clean["correct"], clean.clusters, level=clean.level)
    title, note = (
        "mean error rate above the least these errors allow",
        "Not comparable between models of different accuracy.",
    )
    say("e_aurc", title, excess, controls=controls, note=note)
    if why := _all_alike(clean):
        say("error_auc", TELLS, None, reason=f"all answers are {why}")
        return
    right, wrong = (clean.where(clean["correct"] == so) for so in (1, 0))
    say("error_auc", TELLS, right.above(wrong, "sureness"))


def details(say: Say, audited: Mapping[str, Rows], bins: int) -> None:
    """The same figures with inputs missing.

    Calibrating multimodal models by forbidding confidence to rise when an input goes is due to Ma et al. 2023; the
    share of samples on which it does is their violation rate. It is no fault by itself: the confidence of an ideal
    model falls on average, but on single samples it rises, where that input spoke against the others.
    """
    for condition, rows in audited.items():
        if condition == CLEAN:
            continue
        here = under(say, condition, rows)
        rises = rows["unrounded"] - audited[CLEAN].of_samples(rows)["unrounded"] > ROUNDING
        here.detail("confidence_rises", f"surer {condition} than with it", rows.share(rises))
        title = f"distance of confidence from accuracy {condition}"
        here.detail("ece_excess", title, _error(rows, bins).excess, controls=_chance(rows, bins))
        here.detail("aurc", f"{SUREST} {condition}", _aurc(rows), controls=_error_rate(rows))


def _claims(rows: Rows) -> dict[str, Estimate]:
    return {"mean confidence": rows.mean("confidence"), "accuracy": rows.share("correct")}


def _error_rate(rows: Rows) -> dict[str, Estimate]:
    return {"error rate of all answers": rows.share(1 - rows["correct"])}


def _all_alike(rows: Rows) -> str:
    """What all answers are, "right" or "wrong"; "" where some are right and some wrong."""
    right = rows["correct"] > 0
    return "right" if right.all() else "" if right.any() else "wrong"


def _error(rows: Rows, bins: int, where: NDArray[np.int64] | None = None) -> GapEstimates:
    how: dict[str, Any] = {"where": where, "bins": bins, "level": rows.level, "seed": rows.about.seed}
    return ce.calibration_error(rows["confidence"], rows["correct"], rows.clusters, **how)


def _chance(rows: Rows, bins: int, where: NDArray[np.int64] | None = None) -> dict[str, Estimate]:
    how: dict[str, Any] = {"where": where, "bins": bins, "level": rows.level, "seed": rows.about.seed}
    return {"a perfectly calibrated model": ce.chance_error(rows["confidence"], **how)}


def _aurc(rows: Rows) -> Estimate:
    return selective.aurc_estimate(rows["sureness"], rows["correct"], rows.clusters, level=rows.level)
