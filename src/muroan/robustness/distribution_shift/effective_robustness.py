"""Does an intervention help under a shift by more than its clean accuracy explains? (Taori et al., NeurIPS 2020)

On the scale of a transform, accuracy under a shift is close to a line in clean accuracy over ordinary models. The line
is fitted to baselines alone; `effective_robustness_line` is how far other models lie above it, and
`relative_robustness_delta` what their accuracy under the shift gains over models without the intervention. An
intervention is useful if both are above 0. Accuracies are shares from 0 to 1. (MultiBench uses the same words for
unrelated figures: `curves`.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import linregress

from muroan.errors import AskedWrongly, unknown
from muroan.estimate import Estimate
from muroan.robustness.distribution_shift.two_test_sets import Drawn, ModelOutcomes, interval, widened

Floats = NDArray[np.float64]

TRANSFORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "logit": (logit, expit),
    "probit": (ndtri, ndtr),
    "linear": (np.asarray, np.asarray),
}
"""Name -> (transform, its inverse). Logit and probit are nearly alike; probit is the original's."""
EDGE = 1e-4
"""Accuracies are kept this far from 0 and 1, where logit and probit are infinite."""
FEWEST = 3
"""Baselines that a line needs."""
LOW_R = 0.9
"""Below this correlation a note says that the line explains little. Chosen here; a published fit has 0.15."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through `n` baselines on the scale of `transform`, with their correlation `r` there.

    low, high: the baselines' least and largest clean accuracy; beyond them the line is extrapolated.
    """

    transform: str
    slope: float
    intercept: float
    r: float
    n: int
    low: float
    high: float
    edge: float = EDGE

    def expected(self, clean: ArrayLike) -> Floats:
        """Accuracy under the shift that the line expects of models with these clean accuracies."""
        there = _scaled(_shares(clean, "clean"), self.transform, self.edge)
        return np.asarray(TRANSFORMS[self.transform][1](self.slope * there + self.intercept))

    def excess(self, clean: ArrayLike, shifted: ArrayLike) -> Floats:
        """Accuracy under the shift less what the line expects, as a difference of shares."""
        return np.asarray(_shares(shifted, "shifted") - self.expected(clean))

    def extrapolates(self, clean: ArrayLike) -> bool:
        """Whether any of these clean accuracies is beyond those of the baselines."""
        x = _shares(clean, "clean")
        return bool(((x < self.low) | (x > self.high)).any())

    def notes(self, clean: ArrayLike = ()) -> tuple[str, ...]:
        """What has to be said beside a figure that is read off this line."""
        out = [f"{self.n} baselines on the {self.transform} scale, r = {self.r:.3f}"]
        if not abs(self.r) >= LOW_R:
            out.append(f"r is below {LOW_R}: the line explains little, and so does a distance from it")
        if self.extrapolates(clean):
            reach = f"{self.low:.3f} to {self.high:.3f}: the line is extrapolated"
            out.append(f"a model's clean accuracy is outside of the baselines' {reach}")
        return tuple(out)


def line(clean: ArrayLike, shifted: ArrayLike, *, transform: str = "logit", edge: float = EDGE) -> Line:
    """The line of ordinary least squares through baselines' accuracies [M], models with an intervention left out."""
    if transform not in TRANSFORMS:
        raise unknown("transform", transform, TRANSFORMS)
    given = _shares(clean, "clean")
    x, y = (_scaled(v, transform, edge) for v in (given, _shares(shifted, "shifted")))
    if x.ndim != 1 or x.shape != y.shape:
        raise AskedWrongly(f"one clean and one shifted accuracy a model are needed, got {x.shape} and {y.shape}")
    if len(x) < FEWEST:
        raise AskedWrongly(f"a line needs at least {FEWEST} baselines, got {len(x)}")
    if np.ptp(x) == 0:
        raise AskedWrongly("the baselines' clean accuracies are all equal: take models of different size or training")
    fit = linregress(x, y)
    slope, intercept, r, low, high = map(float, (fit.slope, fit.intercept, fit.rvalue, given.min(), given.max()))
    return Line(transform=transform, slope=slope, intercept=intercept, r=r, n=len(x), low=low, high=high, edge=edge)


def _shares(accuracy: ArrayLike, what: str) -> Floats:
    x = np.asarray(accuracy, dtype=np.float64)
    if np.isnan(x).any() or (x < 0).any() or (x > 1).any():
        raise AskedWrongly(f"{what} accuracies are shares from 0 to 1, not percent; got {x.min():g} to {x.max():g}")
    return x


def _scaled(shares: Floats, transform: str, edge: float) -> Floats:
    return np.asarray(TRANSFORMS[transform][0](np.clip(shares, edge, 1 - edge)), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """One figure with three intervals: over models drawn again, over samples drawn again, and over both at once.

    Of both at once the deviations are added, each widened for its own few units.
    """

    models: Estimate
    samples: Estimate
    both: Estimate

    @staticmethod
    def of(value: float, models: Floats, samples: Floats, drawn: Drawn, n: int, level: float) -> Sources:
        """From deviations [B] over each; `n` models."""
        return Sources(
            models=interval(value, models, "models", n=n, level=level),
            samples=interval(value, samples, "samples", level=level, **drawn.counts),
            both=interval(value, models + samples, "models and samples", level=level, **drawn.counts),
        )

    @property
    def value(self) -> float:
        return self.both.value


@dataclass(frozen=True, kw_only=True)
class EffectiveRobustness:
    """How far models lie above the line of the baselines, on average (points of accuracy: 0: on the line).

    expected: what the line expects of them on average; slope, intercept: with intervals over baselines drawn again.
    extrapolates: whether a model is outside of the range that the line was fitted on; notes say so, and a low r.
    """

    rho: Sources
    line: Line
    slope: Estimate
    intercept: Estimate
    expected: float
    extrapolates: bool
    notes: tuple[str, ...]


def effective_robustness_line(
    baselines: ModelOutcomes,
    models: ModelOutcomes,
    *,
    transform: str = "logit",
    edge: float = EDGE,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> EffectiveRobustness:
    """rho: mean over `models` of accuracy under the shift minus the line's expectation from clean accuracy.

    Both hold outcomes on the same two test sets. `baselines` are ordinary models, at least three; `models` one or
    more with the intervention, or one or more ordinary ones that were held out, as the control. Intervals are
    percentiles of the bootstrap, as the original's (there over baselines alone), widened for few as Student's t is.
    Of a single model none can be drawn again: over models, only the baselines vary then.
    """
    fitted = line(*baselines.accuracies, transform=transform, edge=edge)
    everything = baselines.joined(models)
    drawn = Drawn.of(everything, draws=draws, seed=seed)
    m, n = len(baselines), len(models)

    def figures(clean: Floats, shifted: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """rho, slope and intercept [B] of accuracies and weights of models [B, K]."""
        x, y = (_scaled(a, transform, edge) for a in (clean, shifted))
        w, v = weights[:, :m], weights[:, m:]
        w = w / w.sum(axis=1, keepdims=True)
        mx, my = ((w * s[:, :m]).sum(axis=1, keepdims=True) for s in (x, y))
        spread = (w * (x[:, :m] - mx) ** 2).sum(axis=1)
        together = (w * (x[:, :m] - mx) * (y[:, :m] - my)).sum(axis=1)
        # A draw that repeats one baseline has no line, but rounding may leave it a spread.
        slope = np.where(spread > 1e-12, together / np.where(spread > 1e-12, spread, 1), np.nan)
        intercept = my[:, 0] - slope * mx[:, 0]
        excess = shifted[:, m:] - TRANSFORMS[transform][1](slope[:, None] * x[:, m:] + intercept[:, None])
        return (v * excess).sum(axis=1) / v.sum(axis=1), slope, intercept

    weights, ones = drawn.weights(m, n), np.ones((len(drawn.accuracies[0]), m + n))
    ordinary = np.arange(m + n) < m
    value = float(figures(*drawn.fixed, ones[:1])[0][0])
    rho, slopes, intercepts = figures(*drawn.fixed, np.where(ordinary, weights, 1))
    of_models = widened(rho - value, m)
    if n > 1:
        of_models = of_models + widened(figures(*drawn.fixed, np.where(ordinary, 1, weights))[0] - value, n)
    of_samples = widened(figures(*drawn.accuracies, ones)[0] - value, drawn.clusters)

    def over_baselines(value: float, again: Floats) -> Estimate:
        return interval(value, widened(again - value, m), "baselines", n=m, level=level)

    clean = models.accuracies[0]
    return EffectiveRobustness(
        rho=Sources.of(value, of_models, of_samples, drawn, len(everything), level),
        line=fitted,
        slope=over_baselines(fitted.slope, slopes),
        intercept=over_baselines(fitted.intercept, intercepts),
        expected=float(fitted.expected(clean).mean()),
        extrapolates=fitted.extrapolates(clean),
        notes=fitted.notes(clean),
    )


def relative_robustness_delta(
    before: ModelOutcomes, after: ModelOutcomes, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Sources:
    """tau: accuracy under the shift that models gain by the intervention, on average (points; 0: nothing).

    Row k of `after` is row k of `before` with the intervention. A single pair says nothing about other models: its
    intervals over models are infinite.
    """
    if len(before) != len(after):
        raise AskedWrongly(f"each model is compared with itself, got {len(before)} before and {len(after)} after")
    drawn = Drawn.of(before.joined(after), draws=draws, seed=seed)
    k = len(before)

    def gain(shifted: Floats, weights: Floats) -> Floats:
        return np.asarray((weights * (shifted[:, k:] - shifted[:, :k])).sum(axis=1) / weights.sum(axis=1))

    weights = drawn.weights(k)
    value = float(gain(drawn.fixed[1], np.ones((1, k)))[0])
    of_models = widened(gain(drawn.fixed[1], weights) - value, k)
    of_samples = widened(gain(drawn.accuracies[1], np.ones_like(weights)) - value, drawn.clusters)
    return Sources.of(value, of_models, of_samples, drawn, k, level)


def useful(rho: Sources, tau: Sources) -> bool:
    """Whether both are above 0 with their whole intervals over models and samples."""
    return rho.both.low > 0 and tau.both.low > 0
