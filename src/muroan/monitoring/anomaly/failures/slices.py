"""Failing slices on arrays: places among a model's codes where it errs, and rules in words that say where that is.

What is fitted sees one half of the samples; what is scored is the other half. A sample is placed by its code alone:
placed also by its label and prediction, as the mixture could, every slice of wrong answers would have an error rate
near 1 by definition, on any model.

Errors count as far as they exceed those that the model's own confidence leads to expect. Where inputs contradict each
other an ideal model errs, and says so: by errors alone it would have a "failing" slice on every data set. Chosen by
inputs alone, in whatever way, errors less expected errors are 0 on average for a calibrated model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, difference, proportion
from muroan.estimate.interval import around
from muroan.monitoring.anomaly.domino import Domino
from muroan.randomness import sample_keys, uniform

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

_ALIKE = 1e-6
"""Directions with less than this share of the largest variance are rounding, not codes."""
TARGET, PREDICTED = "target", "predicted"
ALONE = "alone."
"""Source of what an input says alone, before the input's name."""
_RIGHT, _SAYS = "the right answer is {}", "the model says {}"
_SETTLED = 0.9
"""Share of one answer from which on an attribute decides what the model says, or what is right."""
_SUREST = 14.0
"""Log-odds of confidence beyond which float32 says nothing."""
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


def held_out(clusters: Sequence[str], audited: Flags, seed: int) -> Flags:
    """Which samples are scored: those audited whose cluster falls into a random half of clusters [N]."""
    names, at = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
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


def expected_errors(confidence: Floats, wrong: Flags, fitted: Flags) -> Floats:
    """How probably each answer is wrong by the model's own confidence, recalibrated on the fitted samples [N].

    Logistic regression of being wrong on the log-odds of confidence (Platt 1999, with his smoothed labels): that a
    model is too sure or too modest everywhere, or its labels noisy everywhere, is no slice. Doubt never lowers it.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    x = -np.clip(logit(np.clip(confidence, 0.0, 1.0)), -_SUREST, _SUREST)
    bad = float(wrong[fitted].sum())
    y = np.where(wrong[fitted], (bad + 1) / (bad + 2), 1 / (fitted.sum() - bad + 2))
    centre, spread = x[fitted].mean(), max(float(x[fitted].std()), 1e-6)
    u = (x - centre) / spread

    def loss(at: Floats) -> tuple[float, Floats]:
        score = at[0] + at[1] * u[fitted]
        slope = expit(score) - y
        value = float((np.logaddexp(0.0, score) - y * score).mean())
        return value, np.array([slope.mean(), (slope * u[fitted]).mean()])

    start = np.array([logit(y.mean()), 1.0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None)], tol=1e-12)
    return np.asarray(expit(found.x[0] + found.x[1] * u))


def excess(
    wrong: Flags,
    expected: Floats,
    inside: Flags,
    outside: Flags,
    clusters: NDArray[np.str_] | None,
    *,
    level: float,
) -> Estimate:
    """How many more errors than expected are made inside than outside: (error − expected) there minus here.

    What is expected is given by the inputs, so the interval is that of the error rates alone (Newcombe), moved.
    """
    a, b = (None, None) if clusters is None else (clusters[inside], clusters[outside])
    rates = difference(wrong[inside], wrong[outside], a, b, level=level)
    shift = float(expected[inside].mean() - expected[outside].mean())
    return around(
        rates.value - shift,
        rates.low - shift,
        rates.high - shift,
        level=level,
        n=rates.n,
        method=f"{rates.method}, less what confidence expects",
        clusters=rates.clusters,
    )


def discover(
    z: Floats,
    target: Ints,
    predicted: Ints,
    expected: Floats,
    *,
    fitted: Flags,
    clusters: Sequence[str] | None,
    classes: int,
    components: int,
    iterations: int,
    floor: float,
    gamma: float,
    fewest: int,
    seed: int,
) -> list[Flags]:
    """Slices [N] of all samples, those first where the fitted samples err most surely beyond what is `expected` [N].

    For each component of the mixture of the fitted samples: who has P(component | code) above a cut. The cut is where
    errors against expected errors tell most (`scan`) with at least `fewest` samples inside: the most likely component
    would not do, since a place where 30 % is wrong belongs to the 70 % that are right. Ranked by the lower bound of
    the error rate, less what is expected; a slice that mostly repeats an earlier one is left out.
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
    names = None if clusters is None else np.asarray(clusters, dtype=str)
    found: list[tuple[float, Flags]] = []
    for s in range(share.shape[1]):
        cut = _cut(share[fitted, s], wrong[fitted], expected[fitted], fewest)
        if cut is not None:
            inside = share[:, s] >= cut
            here = inside & fitted
            least = proportion(wrong[here], None if names is None else names[here], level=_SURE).low
            found.append((least - float(expected[here].mean()), inside))
    out: list[Flags] = []
    for _, inside in sorted(found, key=lambda f: -f[0]):
        if all((inside & o)[fitted].sum() <= _REPEATS * (inside | o)[fitted].sum() for o in out):
            out.append(inside)
    return out


def _cut(share: Floats, wrong: Flags, expected: Floats, fewest: int) -> float | None:
    """The share from which on errors exceed expected ones most tellingly; None if they do so nowhere."""
    order = np.argsort(-share, kind="stable")
    ordered, hits = share[order], np.cumsum(wrong[order]).astype(float)
    due = np.cumsum(expected[order])
    support = np.arange(1.0, len(share) + 1)
    below = np.append(ordered[1:], -np.inf)
    gain = scan(hits, due, float(hits[-1]), float(due[-1]))
    # Equal shares stay together, and so do shares that rounding could swap.
    allowed = (ordered - below > _APART) & (support >= fewest) & (support < len(share)) & (gain > 0)
    if not allowed.any():
        return None
    k = int(np.argmax(np.where(allowed, gain, -np.inf)))
    return float((ordered[k] + below[k]) / 2)


def scan(hits: Floats, due: Floats, total: float, total_due: float) -> Floats:
    """Kulldorff's scan statistic (1997): twice the log-likelihood ratio of `hits` errors where `due` were expected.

    Of `total` errors in all where `total_due` were expected. 0 where errors are no more than due.
    """
    from scipy.special import xlogy

    inside = np.maximum(due * total / max(total_due, 1e-12), 1e-12)
    rest, left = total - hits, np.maximum(total - inside, 1e-12)
    gain = 2 * (xlogy(hits, np.maximum(hits, 1e-12) / inside) + xlogy(rest, np.maximum(rest, 1e-12) / left))
    return np.asarray(np.where(hits > inside, gain, 0.0))


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
    """Group values, true and predicted class, what each input says alone, and words, where at least `fewest` fitted
    samples bear them.

    In a description the predicted class stands alone. Together with something that gives the answer away (the true
    class, or a group that is the answer) it would describe an error by definition.
    """
    named: list[tuple[str, str, Flags]] = []

    def values(source: str, column: Sequence[Any] | pl.Series, said: str) -> None:
        found = np.asarray(column)
        named.extend((source, said.format(v), found == v) for v in np.unique(found) if v != "")

    for column in sorted(c for c in rows.columns if c.startswith("group.")):
        values(column, rows[column].fill_null("").to_list(), column.removeprefix("group.") + " is {}")
    values(TARGET, [classes[t] for t in rows["target"]], _RIGHT)
    values(PREDICTED, [classes[p] for p in rows["clean_predicted"]], _SAYS)
    for column in sorted(c for c in rows.columns if c.startswith(ALONE)):
        m = column.removeprefix(ALONE)
        said = ["" if k is None else classes[k] for k in rows[column]]
        values(column, said, f"the {m} alone says {{}}")
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

    @staticmethod
    def of(known: Attributes, i: int, j: int, support: float, hits: float, total: float, n: float) -> Rule:
        """Attributes i and j (one, if they are the same) with their counts."""
        text = known.names[i] if i == j else f"{known.names[i]} and {known.names[j]}"
        precision = float(hits / support)
        flags = known.flags[:, i] & known.flags[:, j]
        return Rule(text, flags, precision, float(hits / total), float(precision * n / total))


def failing(
    wrong: Flags, expected: Floats, target: Ints, fitted: Flags, known: Attributes, *, fewest: int
) -> Rule | None:
    """The attribute, or pair of attributes, under which errors exceed the `expected` ones most (`scan`) when fitting.

    Only of what is known without the answer: the true class, and groups whose members nearly all have the same one,
    make errors by definition together with whatever the model goes by. None if errors are nowhere more than expected.
    """
    open_ = np.flatnonzero([s != TARGET for s in known.sources] & ~_answers(known, target, fitted))
    a = known.flags[np.ix_(fitted, open_)].astype(np.float32)
    t, e = wrong[fitted].astype(np.float32), expected[fitted].astype(np.float32)
    if not len(open_):
        return None
    support, hits, due = ((a.T @ (a * w[:, None])).astype(float) for w in (np.ones_like(t), t, e))
    one = np.eye(len(open_), dtype=bool)
    gain = scan(hits, due, float(t.sum()), float(e.sum())) - np.where(one, 0.0, _EARNED)
    gain = np.where((support >= fewest) & (hits >= _FEWEST_HITS) & (hits > due), gain, -np.inf)
    i, j = _best_pair(gain)
    if gain[i, j] <= 0:
        return None
    return Rule.of(known, int(open_[i]), int(open_[j]), support[i, j], hits[i, j], float(t.sum()), float(len(t)))


def _answers(known: Attributes, target: Ints, fitted: Flags) -> Flags:
    """Groups [A] that are as good as the answer: nearly all of their fitted members have the same true class."""
    out = np.zeros(len(known.names), dtype=bool)
    for k, source in enumerate(known.sources):
        if source.startswith("group."):
            counts = np.bincount(target[fitted & known.flags[:, k]])
            out[k] = counts.max() >= _SETTLED * counts.sum()
    return out


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
    i, j = _best_pair(gain)
    if not np.isfinite(gain[i, j]):
        return None
    return Rule.of(known, i, j, support[i, j], hits[i, j], total, n)


def _best_pair(gain: Floats) -> tuple[int, int]:
    """Where the gain [A, A] is largest, i ≤ j: a pair stands in it twice, and rounding must not say which is named
    first."""
    i, j = np.unravel_index(np.argmax(np.where(np.tri(len(gain), dtype=bool).T, gain, -np.inf)), gain.shape)
    return int(i), int(j)


def _errors_by_definition(known: Attributes, support: Floats) -> Flags:
    """Pairs [A, A] of a right answer and an attribute under which the model nearly always gives another answer.

    "The right answer is cold, and the text has the word warm" only restates that the model, which goes by the word,
    was wrong: with noise in the labels it would be found in every model. So does what an input says alone.
    """
    target = np.array([s == TARGET for s in known.sources], dtype=bool)
    out = np.asarray(target[:, None] & np.array([s.startswith(ALONE) for s in known.sources], dtype=bool)[None, :])
    said = [k for k, s in enumerate(known.sources) if s == PREDICTED]
    if not said:
        return np.asarray(out | out.T)
    share = support[:, said] / np.maximum(np.diag(support), 1.0)[:, None]
    settled = share.max(axis=1) >= _SETTLED
    answer = [known.names[said[k]].removeprefix(_SAYS.format("")) for k in share.argmax(axis=1)]
    for t, source in enumerate(known.sources):
        if source == TARGET:
            right = known.names[t].removeprefix(_RIGHT.format(""))
            out[t] |= settled & np.array([a != right for a in answer])
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
