"""Accuracy versus uncertainty (Krishnan and Tickoo 2020): the metric, on scanned digits and on easy-VQA.

AvU at a threshold that is fitted on held-out data, against the same uncertainties in random order; and the soft counts
of the paper's loss against the hard ones, where they must agree. Training with that loss (AvUC) is not measured here.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from _digits_views import world

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.estimate import Estimate, mean, proportion
from muroan.model import Model
from muroan.models.easy_vqa import easy_vqa_model
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.calibration.probe import Calibration
from muroan.monitoring.reliability.scored import conditions, judged, scored


def over_random_order(sure: Any, correct: Any, clusters: Any) -> Estimate:
    """AvU less its mean over all orders of the uncertainties, which is sure · right + unsure · wrong in shares.

    The difference is twice the covariance of being sure and being right, and a mean of products about the means.
    """
    return mean(2 * (sure - sure.mean()) * (correct - correct.mean()), clusters)


def soft_avu_counts(uncertainty: Any, confidence: Any, correct: Any, threshold: float) -> selective.Counts:
    """The differentiable stand-ins of the four counts (Krishnan and Tickoo 2020): each sample weighs
    p or 1 − p, times tanh(u) or 1 − tanh(u). Equal to `selective.avu_counts` where p is 0 or 1 and u is 0 or large."""
    u, p = uncertainty, confidence
    sure, right = u <= threshold, correct.astype(bool)
    weights = (p * (1 - np.tanh(u)), p * np.tanh(u), (1 - p) * (1 - np.tanh(u)), (1 - p) * np.tanh(u))
    cells = (right & sure, right & ~sure, ~right & sure, ~right & ~sure)
    return selective.Counts(*(float(w[cell].sum()) for w, cell in zip(weights, cells, strict=True)))


def auc_avu(uncertainty: Any, correct: Any, steps: int = 21) -> float:
    """The area under AvU over thresholds that sweep from the least to the largest uncertainty in `steps` points.

    It depends on the two extreme samples, so it compares models only with this caveat.
    """
    t = np.linspace(0.0, 1.0, steps)
    thresholds = uncertainty.min() + t * np.ptp(uncertainty)
    thresholds[-1] = uncertainty.max()
    return float(np.trapezoid([selective.avu_counts(uncertainty, correct, at).avu for at in thresholds], t))


def measured(model: Model, splits: Splits, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """Per subset of the inputs: AvU at the reference's threshold, the four counts, and the control."""
    probe = Calibration(limit=limit)
    evidence = observe_all([probe], model, splits)[0][probe.name]
    reference = judged(scored(evidence, "reference"))
    threshold = selective.uncertainty_threshold(reference["entropy"], reference["correct"])
    out = {}
    for condition in conditions(evidence):
        s = judged(scored(evidence, "audited", condition))
        sure = (s["entropy"] <= threshold).astype(float)
        agrees = (sure == s["correct"]).astype(float)
        above = over_random_order(sure, s["correct"], s.clusters)
        counts = selective.avu_counts(s["entropy"], s["correct"], threshold)
        out[condition] = {
            "avu": str(proportion(agrees, s.clusters)),
            "above uncertainties in random order": str(above),
            "apart": above.low > 0,
            "apart below": above.high < 0,
            "right sure, right unsure, wrong sure, wrong unsure": [int(c) for c in counts],
            "accuracy": round(float(s["correct"].mean()), 4),
            "area under AvU, 21 thresholds": round(auc_avu(s["entropy"], s["correct"]), 4),
        }
    return out


def soft_error() -> float:
    """The largest difference of soft and hard AvU where confidence is 0 or 1 and uncertainty 0 or large."""
    worst = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        right, u = rng.random(500) < rng.random(), np.where(rng.random(500) < rng.random(), 40.0, 0.0)
        hard, soft = selective.avu_counts(u, right, 1.0), soft_avu_counts(u, right, right, 1.0)
        worst = max(worst, abs(hard.avu - soft.avu))
    return worst


def run() -> dict[str, Any]:
    beds = {"digits, 3 views": measured(*world()), "easy-VQA": measured(easy_vqa_model(), easy_vqa(), limit=4000)}
    golden = selective.Counts(50, 10, 15, 25).avu
    soft = soft_error()
    metric = golden == 0.75 and soft < 1e-6 and not any(bed["clean"]["apart below"] for bed in beds.values())
    apart = all(bed["clean"]["apart"] for bed in beds.values())
    return {
        "row": "M30",
        "claim": "Uncertainty warns of errors: AvU at a held-out threshold is above that of the same in random order",
        "source": "Krishnan and Tickoo 2020",
        "measured": {
            "golden": golden,
            "soft AvU off hard AvU at most": soft,
            **beds,
            "training with the AvUC loss": "not measurable here: no training with this loss yet",
        },
        "verdict": ("holds" if apart else "undecided") if metric else "does not hold here",
        "command": "python reproductions/m30.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
