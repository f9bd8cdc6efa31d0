"""MultiBench's noise curves (NeurIPS 2021 datasets and benchmarks) on three views of real tumours.

Breast-cancer data of scikit-learn in three views (means, errors, worst values). Early fusion is one logistic regression
on all columns, late fusion the sum of one per view. Each view gets white noise of 0, 0.1 .. 1 standard deviations of
its training columns; twenty splits. Curves are summed up by area and by the excess over late fusion.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from muroan.estimate import mean
from muroan.randomness import normal, sample_keys
from muroan.robustness.distribution_shift.curves import curve_area, curve_excess_over_baseline

VIEWS = {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)}
LEVELS = tuple(i / 10 for i in range(11))
SPLITS = 20


def curves(seed: int) -> dict[str, dict[str, list[float]]]:
    """Accuracy of both fusions at every level of noise in each view, on one split."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    early = LogisticRegression(max_iter=5000).fit(z[train], y[train])
    parts = {m: LogisticRegression(max_iter=5000).fit(z[train][:, at], y[train]) for m, at in VIEWS.items()}
    noise = normal(sample_keys([str(i) for i in test], "r12", seed), z.shape[1])
    out: dict[str, dict[str, list[float]]] = {"early": {}, "late": {}}
    for m, at in VIEWS.items():
        for level in LEVELS:
            noisy = z[test].copy()
            noisy[:, at] += level * noise[:, at]
            late = sum(part.decision_function(noisy[:, VIEWS[v]]) for v, part in parts.items())
            for name, score in (("early", early.decision_function(noisy)), ("late", late)):
                out[name].setdefault(m, []).append(float(((score > 0) == y[test]).mean()))
    return out


def run() -> dict[str, Any]:
    """Twenty splits, and the golden curves."""
    from scipy.stats import spearmanr

    found = [curves(seed) for seed in range(SPLITS)]
    measured: dict[str, Any] = {}
    spearman = []
    for name in ("early", "late"):
        for m in VIEWS:
            rows = np.array([f[name][m] for f in found])
            rho = float(spearmanr(LEVELS, rows.mean(axis=0)).statistic)
            spearman.append(rho)
            excess = [curve_excess_over_baseline(f[name][m], f["late"][m]) for f in found]
            measured[f"{name} fusion, noise in {m}"] = {
                "accuracy at noise 0, .1 .. 1": [round(float(v), 4) for v in rows.mean(axis=0)],
                "spearman": round(rho, 3),
                "area": str(mean([curve_area(r, LEVELS) for r in rows])),
                "excess over late fusion (sum over 11 levels)": str(mean(excess)),
            }
    late_excess = [curve_excess_over_baseline(f["late"][m], f["late"][m]) for f in found for m in VIEWS]
    raw = {
        n: {m: float(np.mean([curve_area(f[n][m], LEVELS) for f in found])) for m in VIEWS} for n in ("early", "late")
    }
    normalised = {
        m: {
            n: round((raw[n][m] - min(r[m] for r in raw.values())) / (abs(raw["early"][m] - raw["late"][m]) or 1.0), 3)
            for n in raw
        }
        for m in VIEWS
    }
    golden = {
        "eleven ones": curve_area(np.ones(11), LEVELS),
        "1 - 0.05 i": curve_area(1 - 0.05 * np.arange(11), LEVELS),
    }
    right = abs(golden["eleven ones"] - 1) < 1e-12 and abs(golden["1 - 0.05 i"] - 0.75) < 1e-12
    falls = max(spearman) <= -0.9
    return {
        "row": "R12",
        "claim": "Each view's curve falls with the noise; the golden areas hold; late fusion's own excess is 0.",
        "source": "Liang et al., NeurIPS 2021 datasets and benchmarks (MultiBench)",
        "measured": {
            **measured,
            "area, raw": {n: {m: round(v, 4) for m, v in r.items()} for n, r in raw.items()},
            "area, normalised over these two methods (the source's way; depends on what is compared)": normalised,
            "golden areas": golden,
            "largest |excess| of late fusion over itself": max(map(abs, late_excess)),
            "splits share cases": "halves of the same 569 cases, so intervals over splits are somewhat too narrow",
        },
        "every curve falls (Spearman at most -0.9)": {
            n: all(measured[f"{n} fusion, noise in {m}"]["spearman"] <= -0.9 for m in VIEWS) for n in raw
        },
        "verdict": "holds" if right and falls and not any(late_excess) else "does not hold here",
        "command": "python reproductions/r12.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
