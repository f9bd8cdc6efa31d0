"""Findings, charts and notes of groups of wordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from muroan.estimate import Estimate
from muroan.finding import Line, LineChart
from muroan.robustness.distribution_shift.consistency.scores import flips
from muroan.robustness.distribution_shift.consistency.wordings import Wordings, all_right
from muroan.rows import Rows
from muroan.say import Say

BOUNDS = (0, 1)


def say_groups(say: Say, wordings: Wordings, ks: list[int]) -> None:
    """Disagreement, contradiction, and what it costs if several wordings have to be right; ks: how many, rising."""
    groups, k = wordings.groups, ks[-1]
    accuracy = groups.mean(all_right(groups, 1), BOUNDS)
    apart = through(accuracy, lambda a: 2 * a * (1 - a), 0.5, "2 a (1 - a)")
    say(
        "disagreement",
        "How often two wordings of one question get different answers",
        groups.mean("apart", BOUNDS),
        controls={"if every wording failed on its own": apart},
        note=f"{len(groups)} groups of {len(wordings.each)} wordings. The control is of right and wrong alone.",
    )
    say(
        "contradiction",
        "Questions that get two answers, depending on how they are put",
        groups.share(pl.col("answers") > 1),
        note="Larger groups have more chances to contradict themselves.",
    )
    most = wordings.of_size(k)
    alone = through(accuracy, lambda a: a - a**k, k ** (-1 / (k - 1)), f"a - a^{k}")
    say(
        "consensus_gap",
        f"Accuracy on one wording that is lost if {k} have to be right",
        most.mean(all_right(most, 1) - all_right(most, k), BOUNDS),
        controls={f"if every one of {k} failed on its own": alone},
        note=f"Of the {len(most)} groups of at least {k} wordings.",
    )
    for j in ks:
        enough = wordings.of_size(j)
        say.detail(
            "consensus",
            f"Any {j} wordings of a question are all answered right, CS({j})",
            enough.mean(all_right(enough, j), BOUNDS),
            condition=f"{j} wordings",
            note=f"{len(groups) - len(enough)} groups of fewer wordings are left out.",
        )


def say_flips(say: Say, pairs: Rows) -> None:
    """What an edit does to the answer, among those that were right, or wrong, on the original."""
    for kind, (hits, among) in flips(pairs["before"], pairs["predicted"], pairs["target"]).kinds.items():
        if among.any():
            title, before = f"Answers that an edit turns from {kind}", kind.partition(" ")[0]
            estimate, note = pairs.where(among).share(hits[among]), f"Of the pairs that were {before} on the original."
            say.detail("flips", title, estimate, condition=kind, note=note)


def through(of: Estimate, figure: Callable[[float], float], peak: float, method: str) -> Estimate:
    """What follows from an estimate by a figure that rises up to `peak` and falls beyond it."""
    value, *ends = (figure(x) for x in (of.value, of.low, of.high))
    high = figure(peak) if of.low <= peak <= of.high else max(ends)
    changed = {"value": value, "low": min(*ends, value), "high": max(high, value), "method": f"{method} of {of.method}"}
    return of.model_copy(update=changed)


def chart(wordings: Wordings, ks: list[int], where: str) -> LineChart:
    """CS(k) by k: of all groups that have so many wordings, of the same groups at every point, and of chance."""

    def line(label: str, groups: list[Rows]) -> Line:
        return Line.of(label, ks, [g.mean(all_right(g, k), BOUNDS) for g, k in zip(groups, ks, strict=True)])

    own = line("groups of at least so many wordings", [wordings.of_size(k) for k in ks])
    same = f"only groups of at least {ks[-1]}, at every point"
    single = float(own.y[0] or 0.0)
    alone = Line(label="if every wording failed on its own", x=own.x, y=[single**k for k in ks], control=True)
    return LineChart(
        title=f"Wordings of one question that are all answered right{where}",
        x_label="wordings that have to be right",
        y_label="share of their subsets",
        lines=[own, line(same, [wordings.of_size(ks[-1])] * len(ks)), alone],
        y_range=(0, 1),
    )


def notes(wordings: Wordings, modality: str | None) -> Iterator[str]:
    """modality: the text that alone may differ; None where the data name the groups."""
    where = "the groups that the data name" if modality is None else f"the same but for the {modality}"
    yield (
        f"{len(wordings.groups)} groups of two or more wordings ({where}); {wordings.alone} samples have no other "
        f"wording, and {wordings.repeated} repeat one word for word: they are left out."
    )
    if wordings.split:
        yield (
            f"{wordings.split} groups hold samples of different right answers, which cannot be one question: each "
            "answer is a group of its own."
        )
    if modality is not None:
        yield (
            "Samples are grouped that share all other inputs and the right answer. They need not ask the "
            "same: name a group, or a function that says what a text asks, where wordings are known."
        )
