"""Findings of the corruptions probe, from what came of each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from muroan.estimate import Estimate
from muroan.robustness.distribution_shift.corruptions.sides import UNDEFINED, Outcome, Side
from muroan.rows import Floats, Rows
from muroan.say import Say


def spoken(name: str) -> str:
    """A perturbation's name in a sentence; settings and evidence keep the one in code."""
    return name.replace("_", " ")


def say_all(say: Say, whole: Rows, sides: Sequence[Side], alike: float) -> None:
    """What perturbations cost over all modalities, then in each; alike: the cosine that the judge of meaning wants."""
    nulls = {s.modality: s.rows.lost("clean_correct", "correct") for s in sides}
    every = " or the ".join(nulls) if len(sides) < 3 else f"inputs, one of {len(sides)} at a time"
    note = "The mean over modalities, of each over its perturbations, of each of these over its severities."
    controls = {f"null change of the {m}": e for m, e in nulls.items()}
    _say_sides(say, say, whole, sides, every, controls, note)
    for side in sides:
        of = say.about(modality=side.modality)
        if len(sides) > 1:
            controls = {"null change": nulls[side.modality]}
            _say_sides(of, of.about(judged=False), whole, [side], side.modality, controls)
        details = of.about(judged=False)
        for c, o in side.of.items():
            details("drop", f"Accuracy lost under {spoken(c)} of the {side.modality}", _lost(side, o), condition=c)
        for c, o in side.of.items():
            _say_alike(details.about(condition=c), side.rows, spoken(c), o, alike)


def _say_sides(
    say: Say, more: Say, whole: Rows, sides: Sequence[Side], what: str, controls: Mapping[str, Estimate], note: str = ""
) -> None:
    """The impact, and through `more` the worst perturbation, flips and consistency, over some modalities."""
    of = f"perturbations of the {what}"
    has = np.sum([s.has for s in sides], axis=0)
    clean = [s.among_all(s.rows["clean_correct"]) for s in sides]
    right = [s.among_all(s.right) for s in sides]

    def counted(estimate: Estimate | None) -> Estimate | None:
        """Of all samples, those that have none of the modalities count for nothing."""
        return estimate and estimate.model_copy(update={"n": int((has > 0).sum())})

    impact = counted(whole.lost_share(clean, right))
    say("mmi", f"Share of accuracy lost under {of}", impact, reason=UNDEFINED, controls=controls, note=note)
    pairs = {
        (s.modality, c): (before, s.among_all(o.right.mean(axis=1)))
        for s, before in zip(sides, clean, strict=True)
        for c, o in s.of.items()
    }
    if (worst := whole.worst_lost_share(pairs)) is None:
        title = f"Share of accuracy lost under the worst perturbation of the {what}"
        more("worst_corruption", title, None, reason=UNDEFINED)
    else:
        modality, c = worst.name
        title = f"Share of accuracy lost under {spoken(c)} of the {modality}, the worst of {len(pairs)}"
        note = "Averaged over severities; the interval holds for all perturbations at once."
        more("worst_corruption", title, counted(worst.estimate), controls=controls, note=note)
    kept = [c * r for c, r in zip(clean, right, strict=True)]
    more(
        "flip_rate",
        f"Right answers that turn wrong under {of}",
        counted(whole.lost_share(clean, kept, "bootstrap of the share")),
        reason=UNDEFINED,
        note="Of the samples that are right on clean inputs, on average over severities, then perturbations.",
    )
    same = np.sum([s.among_all(s.same) for s in sides], axis=0)[has > 0] / has[has > 0]
    more("consistency", f"Answers that stay the same under {of}", whole.where(has > 0).mean(same, (0, 1)))


def _lost(side: Side, o: Outcome) -> Estimate:
    clean = side.rows["clean_correct"]
    if len(o.severities) > 1:
        return side.rows.mean(clean - o.right.mean(axis=1), (-1, 1))
    return side.rows.lost(clean, o.right[:, 0])


def _say_alike(say: Say, rows: Rows, name: str, o: Outcome, alike: float) -> None:
    """How alike a judge finds what was drawn, where one looked at it."""
    if o.judged is None:
        return
    cosine = rows.mean(o.judged.similarity.mean(axis=1, dtype=np.float64), (-1, 1))
    say("similarity", f"Cosine with the original after {name}", cosine)
    below: Floats = (o.judged.similarity < alike).mean(axis=1)
    unlike = rows.mean(below, (0, 1)) if len(o.severities) > 1 else rows.share(below)
    say("out_of_tries", f"Accepted after {name} though not alike", unlike)
