"""Reliability diagrams per subset of the inputs: 7 from one call on scanned digits as three views, 3 on easy-VQA.

Each diagram has its counts, leaves empty bins empty, and the weighted sum of its gaps is the ECE of that subset.
"""

from __future__ import annotations

import json
from typing import Any

from _digits_views import world

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.finding import LineChart
from muroan.interventions.removals import CLEAN
from muroan.model import Model
from muroan.models.easy_vqa import easy_vqa_model
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability.calibration.probe import Calibration
from muroan.monitoring.reliability.scored import conditions, judged, scored


def diagrams(model: Model, splits: Splits, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """Per subset: ECE, the sum of the diagram's gaps, samples, empty bins."""
    probe = Calibration(limit=limit)
    evidence = observe_all([probe], model, splits)[0][probe.name]
    conclusion = probe.conclude(evidence)
    drawn = {c.lines[0].label: c.lines[0] for c in conclusion.charts if isinstance(c, LineChart) and c.diagonal}
    out = {}
    for condition in conditions(evidence):
        s = judged(scored(evidence, "audited", condition))
        line = drawn["all inputs" if condition == CLEAN else condition]
        assert line.n is not None
        gaps = sum(n * abs(y - x) for x, y, n in zip(line.x, line.y, line.n, strict=True) if y is not None)
        out[condition] = {
            "ece": ce.ece(s["confidence"], s["correct"]),
            "weighted gaps": gaps / len(s),
            "n": sum(line.n),
            "empty bins": sum(y is None for y in line.y),
            "accuracy": round(float(s["correct"].mean()), 4),
        }
    return out


def run() -> dict[str, Any]:
    digits = diagrams(*world())
    vqa = diagrams(easy_vqa_model(), easy_vqa(), limit=4000)
    each = [*digits.values(), *vqa.values()]
    exact = all(abs(d["ece"] - d["weighted gaps"]) < 1e-12 for d in each)
    counted = all(d["n"] == 597 for d in digits.values()) and all(d["n"] == 4000 for d in vqa.values())
    return {
        "row": "M33",
        "claim": "One call draws a diagram for every non-empty subset of the inputs, its weighted gaps being the ECE",
        "source": "Guo et al. 2017 (reliability diagrams); per subset of inputs: this project",
        "measured": {"digits, 3 views": digits, "easy-VQA": vqa},
        "verdict": "holds" if len(digits) == 7 and len(vqa) == 3 and exact and counted else "does not hold here",
        "command": "python reproductions/m33.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
