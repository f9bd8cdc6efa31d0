"""What the gradient attack's evidence says: success with its controls, alone and together, by budget and by group."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from muroan.estimate import Estimate
from muroan.robustness.adversarial.attack_probe import SUCCESS
from muroan.robustness.adversarial.gradient.cells import JOINT, Cells
from muroan.robustness.adversarial.gradient.frontier import cheapest
from muroan.robustness.adversarial.gradient.health import health
from muroan.rows import SMALLEST_GROUP, Floats, Rows
from muroan.say import Say

HEADLINE = "Right answers turned by attacking all inputs together"


def conclude(say: Say, cells: Cells, stays: Estimate, untouched: Estimate) -> list[str]:
    """Success with its controls and its health, then what is cheapest, then the details; returns notes.

    stays, untouched: the shares of all samples that are right under the attack, and without it.
    """
    joint, chance, checks = cells.rows[JOINT], cells.chance(cells.full), Say(say.probe)
    sick = health(checks, cells)
    doubt = f" Health check failed ({'; '.join(sick)}): a lower bound, not judged." if sick else ""
    success = SUCCESS(joint)
    controls = {"random change of equal size": SUCCESS(chance), "no change": SUCCESS(cells.attacked)}
    of = f"Of {len(joint)} right answers among {cells.attacked.seen} samples"
    note = f"{of}; success: the decision changes.{doubt}"
    say("success", HEADLINE, success, controls=controls, note=note, judged=not sick or success.low > 0.5)
    more = joint.gained_over(chance, "success")
    say("excess", "What choosing the changes adds over random ones", more, controls=controls, judged=not sick)
    say.findings += checks.findings
    if len(cells.names) > 1:
        _together(say, cells, judged=not sick)
    title = "Samples that stay right when all inputs are attacked"
    say.detail("robust_accuracy", title, stays, controls={"untouched": untouched})
    for cell, c in cells.conditions.items():
        if c != JOINT and set(cell) <= {0.0, 1.0}:
            control = {"random change of equal size": SUCCESS(cells.chance(cell))}
            title = f"Right answers turned by attacking {c}"
            say.detail("success", title, cells.rates[cell], controls=control, modality=c)
    notes = cheapest(say, cells)
    _groups(say, joint)
    return notes


def _together(say: Say, cells: Cells, *, judged: bool) -> None:
    """Is attacking together more than the strongest input alone, than any of them, than all of them added up?"""
    joint, singles = cells.rows[JOINT], {m: cells.at(cells.alone(m)) for m in cells.names}
    best = max(singles, key=lambda m: SUCCESS(singles[m]).value)
    say.detail(
        "interaction",
        f"What attacking together adds over {best} alone, the strongest input",
        joint.gained_over(singles[best], "success"),
        note="The strongest input is chosen on the same samples (oracle): the interaction is understated.",
    )
    alone = np.stack([rows["success"] for rows in singles.values()])
    guessed = np.stack([cells.chance(cells.alone(m))["success"] for m in singles]).max(axis=0)
    say(
        "together_only",
        "Right answers that give way to all inputs together and to none alone",
        joint.share(joint["success"] > alone.max(axis=0)),
        controls={"random change of equal size": joint.share(cells.chance(cells.full)["success"] > guessed)},
        note="At full budgets, sample by sample. Two inputs that only add up give some of this as well: answers "
        "whose margin lies beyond the reach of each and within that of both.",
        judged=judged,
    )
    summed = alone.sum(axis=0)
    say.detail(
        "beyond_sum",
        "What attacking together adds over the sum of what each input alone reaches",
        _beyond(joint, summed, len(singles)),
        controls={f"{m} alone": SUCCESS(rows) for m, rows in singles.items()},
        note="The sum counts at most 1." + (" It reaches 1 here." if summed.mean() >= 1 else ""),
    )


def _beyond(joint: Rows, summed: Floats, inputs: int) -> Estimate:
    """Joint success minus min(1, sum of single ones): paired where the sum is below 1, else short of certainty."""
    if summed.mean() < 1:
        # Together is never below any input alone, so a sample's difference is at least 1 - inputs.
        return joint.mean(joint["success"] - summed, (min(-1.0, 1.0 - inputs), 1.0))
    rate = SUCCESS(joint)
    return rate.model_copy(update={k: getattr(rate, k) - 1 for k in ("value", "low", "high")})


def _groups(say: Say, joint: Rows) -> None:
    """Success of every value of a group, and the largest difference between them."""
    for name, values in groupby(joint.groups(), key=lambda each: each[0]):
        for _, value, rows in values:
            title = f"Right answers turned, {name} {value}"
            say.detail("success", title, SUCCESS(rows), group=f"{name}={value}")
        gap = joint.gap("success", name)
        if gap is not None:
            who = f"Most: {gap.highest}; least: {gap.lowest}. " if gap.estimate.value else ""
            note = f"{who}Simultaneous over all pairs of values of at least {SMALLEST_GROUP} right answers."
            say.detail("group_gap", f"Success differs by {name}", gap.estimate, group=name, note=note)
