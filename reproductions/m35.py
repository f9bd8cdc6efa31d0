"""Selective prediction on scanned digits as three views and on easy-VQA: AURC per subset of the inputs.

For every subset: the area under the risk-coverage curve with its interval, the least that its errors allow, and the
same errors with confidences in random order, whose area must be the error rate.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from _digits_views import world

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.model import Model
from muroan.models.easy_vqa import easy_vqa_model
from muroan.monitoring.reliability import selective
from muroan.monitoring.reliability.calibration.probe import Calibration
from muroan.monitoring.reliability.scored import conditions, judged, scored

PERMUTATIONS = 500


def areas(model: Model, splits: Splits, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """Per subset: AURC, the oracle's, the error rate, and the range of AURC of random confidences."""
    probe = Calibration(limit=limit)
    evidence = observe_all([probe], model, splits)[0][probe.name]
    rng = np.random.default_rng(0)
    out = {}
    for condition in conditions(evidence):
        s = judged(scored(evidence, "audited", condition))
        drawn = [selective.aurc(rng.random(len(s)), s["correct"]) for _ in range(PERMUTATIONS)]
        found = selective.aurc_estimate(s["sureness"], s["correct"], s.clusters)
        one = selective.aurc(rng.random(len(s)), s["correct"])
        low, high = np.quantile(drawn, [0.005, 0.995])
        out[condition] = {
            "aurc": str(found),
            "e-aurc": str(selective.excess_aurc_estimate(s["sureness"], s["correct"], s.clusters)),
            "oracle": round(selective.oracle_aurc(s["correct"]), 5),
            "error rate": round(float(1 - s["correct"].mean()), 5),
            "random confidence": round(float(one), 5),
            "99 % of random confidences": [round(float(low), 5), round(float(high), 5)],
            "not below oracle": found.value >= selective.oracle_aurc(s["correct"]) - 1e-12,
            "random in its interval": bool(low <= one <= high and low <= 1 - s["correct"].mean() <= high),
        }
    return out


def run() -> dict[str, Any]:
    measured = {"digits, 3 views": areas(*world()), "easy-VQA": areas(easy_vqa_model(), easy_vqa(), limit=4000)}
    each = [d for bed in measured.values() for d in bed.values()]
    golden = selective.aurc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1])
    holds = all(d["not below oracle"] and d["random in its interval"] for d in each) and abs(golden - 0.2708333) < 1e-7
    return {
        "row": "M35",
        "claim": "AURC is never below the oracle's; a random score's lies around the error rate; both per subset",
        "source": "Geifman and El-Yaniv 2017; Geifman et al. 2019",
        "measured": {"golden": golden, **measured},
        "verdict": "holds" if holds else "does not hold here",
        "command": "python reproductions/m35.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
