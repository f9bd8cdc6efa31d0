"""Intervals of accuracy by group and of its largest gap: Muroan beside Fairlearn's bootstrap, on one data set.

9,673 samples in 8 unequal groups, accuracies from 0.82 to 0.95, samples taken as independent (Fairlearn's bootstrap
knows no clusters). Three things are timed, in seconds of this process's processor time, Muroan's as the best of
several runs:

- `fairlearn`: MetricFrame(n_boot=..., ci_quantiles=[0.025, 0.975]), its intervals by group and of the difference;
- `same_method`: the same percentiles of the same number of draws by `bootstrap_draws`, so the bounds must agree up
  to the randomness of the draws: they are compared;
- `muroan`: what Muroan reports, `by_group` (Wilson) and `max_gap` (simultaneous over pairs) from raw arrays.

Where `--draws` draws would take Fairlearn more than a minute, it gets fewer and its time is scaled; the JSON says so.

    python benchmarks/group_intervals.py [--draws 1000]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import fairlearn
import numpy as np
from fairlearn.metrics import MetricFrame
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score

from muroan.estimate import bootstrap_draws, by_group, max_gap

SAMPLES = 9673
SHARES = (0.3, 0.2, 0.15, 0.12, 0.1, 0.07, 0.04, 0.02)
ACCURACY = (0.93, 0.92, 0.95, 0.9, 0.91, 0.88, 0.82, 0.9)
LEVEL = 0.95
Array = NDArray[np.float64]


def data(seed: int = 0) -> tuple[Array, NDArray[np.str_]]:
    """Correct or not [N], and the group of each sample [N]."""
    rng = np.random.default_rng(seed)
    group = rng.choice(len(SHARES), SAMPLES, p=SHARES)
    hits = (rng.random(SAMPLES) < np.array(ACCURACY)[group]).astype(float)
    return hits, np.array([f"group {g}" for g in group])


def totals(hits: Array, groups: NDArray[np.str_]) -> tuple[list[str], Array]:
    """Group names, and per sample and group its hit and its count [N, G, 2]."""
    names, codes = np.unique(groups, return_inverse=True)
    out = np.zeros((len(hits), len(names), 2))
    out[np.arange(len(hits)), codes, 0] = hits
    out[np.arange(len(hits)), codes, 1] = 1
    return [str(n) for n in names], out


def rates_and_gap(sums: Array) -> Array:
    """Totals [B, G, 2] to the G rates and their largest difference [B, G + 1]."""
    with np.errstate(invalid="ignore"):
        rates = sums[..., 0] / sums[..., 1]
    return np.concatenate([rates, (rates.max(axis=1) - rates.min(axis=1))[:, None]], axis=1)


def same_method(hits: Array, groups: NDArray[np.str_], draws: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    names, t = totals(hits, groups)
    drawn = bootstrap_draws(t, rates_and_gap, draws=draws, seed=seed)[1]
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip([*names, "gap"], low, high, strict=True)}


def muroan(hits: Array, groups: NDArray[np.str_], draws: int) -> dict[str, tuple[float, float]]:
    found = {name: (e.low, e.high) for name, e in by_group(hits, groups, level=LEVEL).items()}
    names, t = totals(hits, groups)
    gap = max_gap(t, names, level=LEVEL, draws=draws).estimate
    return {**found, "gap": (gap.low, gap.high)}


def fairlearns(hits: Array, groups: NDArray[np.str_], draws: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    frame = MetricFrame(
        metrics=accuracy_score,
        y_true=np.ones(len(hits), dtype=int),
        y_pred=hits.astype(int),
        sensitive_features=groups,
        n_boot=draws,
        ci_quantiles=[(1 - LEVEL) / 2, (1 + LEVEL) / 2],
        random_state=seed,
    )
    low, high = frame.by_group_ci
    gap = [float(g) for g in frame.difference_ci(method="between_groups")]
    return {**{str(k): (float(low[k]), float(high[k])) for k in low.index}, "gap": (gap[0], gap[1])}


def best_of(runs: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the fastest run, and its result."""
    fastest, result = float("inf"), None
    for _ in range(runs):
        start = time.process_time()
        result = call()
        fastest = min(fastest, time.process_time() - start)
    return fastest, result


def furthest(a: dict[str, tuple[float, float]], b: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Largest difference of bounds by group and of the gap's bounds."""
    apart = {k: max(abs(x - y) for x, y in zip(a[k], b[k], strict=True)) for k in a}
    return {"groups": max(v for k, v in apart.items() if k != "gap"), "gap": apart["gap"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    hits, groups = data()
    trial, _ = best_of(1, lambda: fairlearns(hits, groups, 10))
    affordable = max(20, int(10 * 60 / trial))
    theirs = min(args.draws, affordable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fair_seconds, fair = best_of(1, lambda: fairlearns(hits, groups, theirs))
    scaled = fair_seconds * args.draws / theirs
    same_seconds, same = best_of(args.runs, lambda: same_method(hits, groups, args.draws))
    ours_seconds, ours = best_of(args.runs, lambda: muroan(hits, groups, args.draws))
    # How far two runs of the same method are apart by the randomness of the draws alone.
    noise = furthest(same, same_method(hits, groups, theirs, seed=1))
    print(
        json.dumps(
            {
                "samples": SAMPLES,
                "groups": len(SHARES),
                "draws": args.draws,
                "fairlearn": {
                    "version": fairlearn.__version__,
                    "draws_run": theirs,
                    "seconds": round(fair_seconds, 3),
                    "seconds_at_draws": round(scaled, 3),
                    "scaled": theirs != args.draws,
                },
                "same_method": {
                    "seconds": round(same_seconds, 5),
                    "times_faster": round(scaled / same_seconds),
                    "largest_difference_of_bounds_to_fairlearn": furthest(same, fair),
                    "largest_difference_between_two_seeds": noise,
                },
                "muroan": {
                    "seconds": round(ours_seconds, 5),
                    "times_faster": round(scaled / ours_seconds),
                    "largest_difference_of_bounds_to_fairlearn": furthest(ours, fair)["groups"],
                },
                "gap": {"true": max(ACCURACY) - min(ACCURACY), "fairlearn": fair["gap"], "muroan": ours["gap"]},
                "python": platform.python_version(),
                "numpy": np.__version__,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
