"""Failing slices on arrays: places among a model's codes where it errs, and rules in words that say where that is.

What is fitted sees one half of the samples; what is scored is the other half. A sample is placed by its code alone:
placed also by its label and prediction, as the mixture could, every slice of wrong answers would have an error rate
near 1 by definition, on any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import proportion
from muroan.monitoring.anomaly.domino import Domino
from muroan.randomness import sample_keys, uniform

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

_ALIKE = 1e-6
"""Directions with less than this share of the largest variance are rounding, not codes."""
TARGET, PREDICTED = "target", "predicted"
_RIGHT, _SAYS = "the right answer is {}", "the model says {}"
_SETTLED = 0.9
"""Share of one answer from which on an attribute decides what the model says."""
_EARNED = 3.84
"""A second condition has to add this much G² (5 % point of chi-squared with one degree) to be worth its words."""
_REPEATS = 0.5
"""Slices that share more than this part of their samples (of either) are one."""
_APART = 1e-6
"""Shares nearer than this are equal."""
_SURE = 0.999
"""Level of the bound by which slices are ranked: each is the best of many cuts, and the first the best of many."""
_FEWEST_HITS = 3
"""Errors below which a rule describes nothing."""


def held_out(units: Sequence[str], audited: Flags, seed: int) -> Flags:
    """Which samples are scored: those audited whose cluster falls into a random half of clusters [N]."""
    names, at = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    return audited & (uniform(sample_keys(names.tolist(), seed, "failing slices, held out")) < 0.5)[at.ravel()]


def principal(codes: Floats, fitted: Flags, most: int) -> Floats:
    """Codes [N, D] along the principal axes of the fitted samples [N, ≤ most]; directions without spread are left out.

    Raises ValueError if the codes of all fitted samples are alike.
    """
    centred = codes - codes[fitted].mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(centred[fitted], rowvar=False).reshape(codes.shape[1], -1))
    kept = np.flatnonzero(values > max(_ALIKE * values[-1], 1e-24))[::-1][:most]
    if not len(kept):
        raise ValueError("the model's codes of all samples are alike")
    return np.asarray(centred @ axes[:, kept])


def discover(
    z: Floats,
    target: Ints,
    predicted: Ints,
    fitted: Flags,
    units: Sequence[str] | None,
    *,
    classes: int,
    components: int,
    iterations: int,
    floor: float,
    gamma: float,
    fewest: int,
    seed: int,
) -> list[Flags]:
    """Slices [N] of all samples, those first where the fitted samples err most surely; none is found twice.

    For each component of the mixture of the fitted samples: who has P(component | code) above a cut. The cut is where
    inside against outside tells most about the fitted errors (G²) with at least `fewest` samples inside: the most
    likely component would not do, since a place where 30 % is wrong belongs to the 70 % that are right. Ranked by the
    lower bound of the error rate; a slice that mostly repeats an earlier one is left out.
    """
    mixture = Domino.fit(
        z[fitted],
        target[fitted],
        predicted[fitted],
        classes=classes,
        components=min(components, max(2, int(fitted.sum()) // fewest)),
        gamma=gamma,
        iterations=iterations,
        floor=floor,
        seed=seed,
    )
    share = mixture.predict_proba(z)
    wrong = target != predicted
    names = None if units is None else np.asarray(units, dtype=str)
    found: list[tuple[float, Flags]] = []
    for s in range(share.shape[1]):
        cut = _cut(share[fitted, s], wrong[fitted], fewest)
        if cut is not None:
            inside = share[:, s] >= cut
            here = inside & fitted
            found.append((proportion(wrong[here], None if names is None else names[here], level=_SURE).low, inside))
    out: list[Flags] = []
    for _, inside in sorted(found, key=lambda f: -f[0]):
        if all((inside & o)[fitted].sum() <= _REPEATS * (inside | o)[fitted].sum() for o in out):
            out.append(inside)
    return out


def _cut(share: Floats, wrong: Flags, fewest: int) -> float | None:
    """The share from which on inside against outside tells most about errors; None if none has more errors inside."""
    order = np.argsort(-share, kind="stable")
    ordered, hits = share[order], np.cumsum(wrong[order]).astype(float)
    n, total = float(len(share)), float(wrong.sum())
    support = np.arange(1.0, n + 1)
    below = np.append(ordered[1:], -np.inf)
    # Equal shares stay together, and so do shares that rounding could swap.
    allowed = (ordered - below > _APART) & (support >= fewest) & (support < n) & (hits * n > total * support)
    if not allowed.any():
        return None
    k = int(np.argmax(np.where(allowed, _g2(hits, support, total, n), -np.inf)))
    return float((ordered[k] + below[k]) / 2)


@dataclass(frozen=True)
class Attributes:
    """What can be said about a sample in words. names[a]; flags [N, A]; source[a]: where it comes from.

    Attributes of one source exclude each other, or are of one text. Those in `alone` are never combined.
    """

    names: list[str]
    sources: list[str]
    flags: Flags
    alone: frozenset[str] = frozenset()


def attributes(
    rows: pl.DataFrame, classes: Sequence[str], fitted: Flags, *, fewest: int, most_words: int
) -> Attributes:
    """Group values, true and predicted class, and words, where at least `fewest` fitted samples bear them.

    The predicted class stands alone. Together with something that gives the answer away (the true class, or a
    group that is the answer) it would describe an error by definition.
    """
    named: list[tuple[str, str, Flags]] = []

    def values(source: str, column: Sequence[Any] | pl.Series, said: str) -> None:
        found = np.asarray(column)
        named.extend((source, said.format(v), found == v) for v in np.unique(found) if v != "")

    for column in sorted(c for c in rows.columns if c.startswith("group.")):
        values(column, rows[column].fill_null("").to_list(), column.removeprefix("group.") + " is {}")
    values(TARGET, [classes[t] for t in rows["target"]], _RIGHT)
    values(PREDICTED, [classes[p] for p in rows["clean_predicted"]], _SAYS)
    for column in sorted(c for c in rows.columns if c.startswith("words.")):
        m = column.removeprefix("words.")
        for word, has in _words(rows[column], fitted, most_words):
            named.append((column, f"the {m} has “{word}”", has))
    n = int(fitted.sum())
    kept = [(s, name, f) for s, name, f in named if fewest <= f[fitted].sum() <= n - fewest]
    flags = np.stack([f for _, _, f in kept], axis=1) if kept else np.zeros((len(rows), 0), dtype=bool)
    return Attributes([name for _, name, _ in kept], [s for s, _, _ in kept], flags, frozenset({PREDICTED}))


def _words(column: pl.Series, fitted: Flags, most: int) -> list[tuple[str, Flags]]:
    """The words that most fitted samples have, and who has them."""
    has = pl.DataFrame({"row": np.arange(len(column)), "word": column}).explode("word").drop_nulls().unique()
    counts = (
        has.filter(pl.Series(fitted)[has["row"]]).group_by("word").len().sort("len", "word", descending=[True, False])
    )
    chosen = counts.head(most)["word"].to_list()
    out = []
    for word in chosen:
        flags = np.zeros(len(column), dtype=bool)
        flags[has.filter(pl.col("word") == word)["row"].to_numpy()] = True
        out.append((word, flags))
    return out


@dataclass(frozen=True)
class Rule:
    """One or two attributes, and how well they single out a slice's errors among the fitted samples.

    precision: share of the samples under the rule that are such errors; recall: share of such errors under it;
    lift: precision by the share of such errors among all.
    """

    text: str
    flags: Flags
    precision: float
    recall: float
    lift: float


def describe(wanted: Flags, fitted: Flags, known: Attributes, *, fewest: int) -> Rule | None:
    """The attribute, or pair of attributes, that tells most about `wanted` [N] among the fitted samples.

    Ranked by G² (twice the likelihood ratio of "wanted" inside against outside the rule), which weighs precision,
    recall and support against each other without a setting. None if nothing describes it.
    """
    a = known.flags[fitted].astype(np.float32)
    t = wanted[fitted].astype(np.float32)
    n, total = float(len(t)), float(t.sum())
    if not a.shape[1] or total < _FEWEST_HITS:
        return None
    support, hits = (a.T @ a).astype(float), (a.T @ (a * t[:, None])).astype(float)
    gain = _g2(hits, support, total, n)
    allowed = (support >= fewest) & (hits >= _FEWEST_HITS) & (hits * n > total * support)
    alone = np.array([s in known.alone for s in known.sources])
    one = np.eye(len(alone), dtype=bool)
    allowed &= one | ~(alone[:, None] | alone[None, :])
    allowed &= ~_errors_by_definition(known, support)
    gain = np.where(allowed, gain - np.where(one, 0.0, _EARNED), -np.inf)
    i, j = (int(k) for k in np.unravel_index(np.argmax(gain), gain.shape))
    if not np.isfinite(gain[i, j]):
        return None
    text = known.names[i] if i == j else f"{known.names[i]} and {known.names[j]}"
    precision = hits[i, j] / support[i, j]
    return Rule(
        text,
        known.flags[:, i] & known.flags[:, j],
        float(precision),
        float(hits[i, j] / total),
        float(precision * n / total),
    )


def _errors_by_definition(known: Attributes, support: Floats) -> Flags:
    """Pairs [A, A] of a right answer and an attribute under which the model nearly always gives another answer.

    "The right answer is cold, and the text has the word warm" only restates that the model, which goes by the word,
    was wrong: with noise in the labels it would be found in every model.
    """
    out = np.zeros(support.shape, dtype=bool)
    said = [k for k, s in enumerate(known.sources) if s == PREDICTED]
    if not said:
        return out
    share = support[:, said] / np.maximum(np.diag(support), 1.0)[:, None]
    settled = share.max(axis=1) >= _SETTLED
    answer = [known.names[said[k]].removeprefix(_SAYS.format("")) for k in share.argmax(axis=1)]
    for t, source in enumerate(known.sources):
        if source == TARGET:
            right = known.names[t].removeprefix(_RIGHT.format(""))
            out[t] = settled & np.array([a != right for a in answer])
    return np.asarray(out | out.T)


def _g2(hits: Floats, support: Floats, total: float, n: float) -> Floats:
    """2 · Σ observed · log(observed / expected) over the table (rule or not) × (wanted or not)."""
    from scipy.special import xlogy

    out = np.zeros_like(hits)
    for observed, row, column in (
        (hits, support, total),
        (support - hits, support, n - total),
        (total - hits, n - support, total),
        (n - total - support + hits, n - support, n - total),
    ):
        expected = np.maximum(row * column / n, 1e-12)
        out += 2 * xlogy(observed, np.maximum(observed, 1e-12) / expected)
    return out
