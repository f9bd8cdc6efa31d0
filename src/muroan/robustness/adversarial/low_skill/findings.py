"""What the evidence of the low-skill probe says: macro-F1 and accuracy lost by trick, and the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, paired_difference
from muroan.estimate.totals import Totals, figure, totals, worst
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, TableChart

if TYPE_CHECKING:
    from muroan.robustness.adversarial.low_skill.probe import LowSkill

NULL = "nothing"

Floats = NDArray[np.float64]


def macro_f1(right: Floats, said: Floats, true: Floats) -> Floats:
    """Mean over classes that occur of 2 · right / (said + true), from counts [..., K] -> [...]: 1 all right, 0 none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(true > 0, 2 * right / (said + true), np.nan)
        # A class that a resample has none of says nothing in it.
        return np.asarray(np.nansum(each, axis=-1) / (true > 0).sum(axis=-1))


def counts(target: Sequence[int], answers: Sequence[Sequence[int]], k: int, by: Sequence[str] | None) -> Totals:
    """Outcomes [N, (1 + 2 · A) · K]: the truth, then of each of A answers what was said and what of it was right.

    The imaginary samples of `totals` are of the most frequent class: right in the first answer alone, or in all but it.
    """
    truth = np.eye(k)[np.asarray(target)]
    tables = [truth]
    for answer in answers:
        said = np.eye(k)[np.asarray(answer)]
        tables += [said, said * truth]
    common = np.eye(k)[int(truth.sum(axis=0).argmax())]
    ways = []
    for first in (1.0, 0.0):
        here = [first] + [1 - first] * (len(answers) - 1)
        ways.append(np.concatenate([common, *(h * common for h in here for _ in range(2))]))
    return totals(np.concatenate(tables, axis=1), by, np.array(ways))


def drops(table: Floats, k: int) -> Floats:
    """Macro-F1 of the first answer minus that of each other, from totals [B, (1 + 2 · A) · K]: [B, A − 1]."""
    parts = table.reshape(len(table), -1, k)
    f1 = macro_f1(parts[:, 2::2], parts[:, 1::2], parts[:, :1])
    return np.asarray(f1[:, :1] - f1[:, 1:])


def conclude(probe: LowSkill, evidence: Evidence) -> Conclusion:
    """The worst judged trick, then every trick."""
    level, seed, k = evidence.about.level, evidence.about.seed, len(evidence.about.classes)
    by = {c: evidence.of(AUDITED, c).sort("sample") for c in evidence.conditions()}
    null = by.pop(NULL)
    target, clean, of = null["target"].to_list(), null["clean_predicted"].to_list(), clusters(null)
    hides = {c: str(rows["hides"][0]) for c, rows in by.items()}
    judged = [c for c in by if not hides[c]]
    nothing = {"null change": paired_difference(null["clean_correct"], null["correct"], of, level=level)}
    findings: list[Finding] = []
    if judged:
        table = counts(target, [clean, *(by[c]["predicted"].to_list() for c in judged)], k, of)
        found = worst(table, lambda t: drops(t, k), bounds=(-1, 1), seed=seed, level=level)
        findings.append(
            Finding(
                probe=probe.name,
                metric="worst_drop",
                title=f"Macro-F1 lost under {judged[found.at]}, the worst of {len(judged)}",
                estimate=found.estimate,
                controls=nothing,
                note="Chosen on the same samples; the interval holds for all tricks at once.",
            )
        )
    else:
        reason = "every trick that was asked for may hide the answer from a person too"
        findings.append(
            Finding(probe=probe.name, metric="worst_drop", title="Macro-F1 lost under the worst trick", reason=reason)
        )
    lost: dict[str, Estimate] = {}
    for c, rows in by.items():
        pair = counts(target, [clean, rows["predicted"].to_list()], k, of)
        lost[c] = figure(pair, lambda t: drops(t, k)[:, 0], seed=seed, method="paired bootstrap", level=level)
        accuracy = paired_difference(rows["clean_correct"], rows["correct"], of, level=level)
        findings += [
            Finding(
                probe=probe.name,
                metric=metric,
                title=f"{what} lost under {c}",
                estimate=estimate,
                condition=c,
                judged=False,
                note=f"Never judged: {hides[c]}." if hides[c] else "",
            )
            for metric, what, estimate in (("drop", "Macro-F1", lost[c]), ("accuracy_drop", "Accuracy", accuracy))
        ]
    return Conclusion(findings=findings, charts=_charts(by, lost, hides), notes=_notes(by, hides))


def _input(condition: str) -> str:
    """What a trick is done to: "image: blur" to the image, "typos + blur" to several inputs."""
    return condition.partition(": ")[0] if ": " in condition else "several inputs"


def _charts(by: dict[str, pl.DataFrame], lost: dict[str, Estimate], hides: dict[str, str]) -> list[Chart]:
    bars = [
        Bar(label=c, estimate=e, of="may hide the answer" if hides[c] else _input(c), control=bool(hides[c]))
        for c, e in lost.items()
    ]
    rows: list[list[str | float | int | None]] = [
        [
            c,
            lost[c].value,
            lost[c].low,
            lost[c].high,
            float(r["correct"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            float(r["changed"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            len(r),
        ]
        for c, r in by.items()
    ]
    return [
        BarChart(title="Macro-F1 lost by trick", y_label="macro-F1 lost", bars=bars),
        TableChart(
            title="Tricks, paired with unchanged samples",
            columns=["trick", "macro-F1 lost", "low", "high", "accuracy", "inputs changed", "samples"],
            rows=rows,
        ),
    ]


def _notes(by: dict[str, pl.DataFrame], hides: dict[str, str]) -> list[str]:
    out = ["Tricks in the spirit of HateProof; nobody was asked whether they still read what came out: look at it."]
    hidden = [c for c in by if hides[c]]
    if hidden:
        out.append(f"Shown, never judged, since a person may lose the answer too: {', '.join(hidden)}.")
    return out
