"""Failure directions (Jain et al. 2023) on scanned digits: is a planted failure found, and nothing where there is none?

A linear model trained on upright digits meets rotated 8s. The direction is fitted on one half of the evaluation 8s and
its ranking of rotated against upright 8s is scored on the other; with shuffled correctness there is nothing to find.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from _digits_slices import rotated

from muroan.estimate import auc, mean
from muroan.monitoring.anomaly.failure_directions import Whitening, failure_direction

SEEDS = range(5)
SHUFFLES = 10


def _measured(share: float) -> dict[str, Any]:
    strength, shuffled, fixed, area, accuracy = [], [], [], [], []
    for seed in SEEDS:
        bed = rotated(seed, share)
        eights = np.flatnonzero(bed.y == 8)
        z = Whitening.fit(bed.train)(bed.x[eights])
        correct, planted = bed.said[eights].argmax(axis=1) == 8, bed.planted[eights]
        accuracy.append(correct[planted].mean())
        strength.append(failure_direction(z, correct, seed=seed).balanced_accuracy)
        rng = np.random.default_rng(seed)
        shuffled += [failure_direction(z, rng.permutation(correct), seed=k).balanced_accuracy for k in range(SHUFFLES)]
        fixed += [
            failure_direction(z, rng.permutation(correct), strengths=(1.0,), seed=k).balanced_accuracy
            for k in range(SHUFFLES)
        ]
        half = rng.permutation(len(z)) % 2 == 0
        if min((~correct[half]).sum(), correct[half].sum()) < 2:
            continue
        score = -failure_direction(z[half], correct[half], seed=seed)(z[~half])
        area.append(auc(score[planted[~half]], score[~planted[~half]]).value)
    return {
        "accuracy on rotated 8s": round(float(np.mean(accuracy)), 3),
        "balanced accuracy, cross-validated": mean(strength),
        "the same, correctness shuffled": mean(shuffled),
        "the same, shuffled, C = 1 without a choice": mean(fixed),
        "AUROC for rotated, held-out 8s": mean(area),
    }


def run() -> dict[str, Any]:
    beds = {f"{share:.0%} of the 8s rotated": _measured(share) for share in (0.5, 0.1)}
    half = beds["50% of the 8s rotated"]
    holds = (
        half["balanced accuracy, cross-validated"].low > half["the same, correctness shuffled"].high
        and half["AUROC for rotated, held-out 8s"].low > 0.9
    )
    return {
        "row": "M02",
        "claim": "The direction separates right from wrong 8s far better than chance, recovers the rotated ones with "
        "AUROC above 0.9, and with shuffled correctness is close to chance",
        "source": "Jain et al., ICLR 2023",
        "measured": {name: {k: str(v) for k, v in bed.items()} for name, bed in beds.items()},
        "note": "Balanced accuracy is that of the best of seven values of C on the same folds, as in the source: with "
        "few errors it lies above 0.5 even where there is nothing to find.",
        "verdict": "holds" if holds else "does not hold here",
        "command": "python reproductions/m02.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
