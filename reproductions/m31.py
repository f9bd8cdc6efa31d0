"""ECE and its bias (Guo et al. 2017) on scanned digits with 400 test pictures.

A perfectly calibrated scorer has an ECE above 0; the printed value by chance is held against labels redrawn one by
one. Then, for a model whose ECE is beyond chance: does one temperature, fitted on held-out pictures, lower its NLL on
the test pictures? Two models: a small network, and naive Bayes, which is known to be too sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from _digits_views import naive_bayes, network, world

from muroan.auditing.observe import observe_all
from muroan.monitoring.reliability import calibration_error as ce
from muroan.monitoring.reliability.calibration.probe import Calibration
from muroan.monitoring.reliability.scored import judged, scored

DRAWS, TOLERANCE = 2000, 0.005


def measured(fit: Callable[..., Any]) -> dict[str, Any]:
    """The figures of one model."""
    probe = Calibration()
    model, splits = world(trained=700, held_out=697, fit=fit)
    evidence = observe_all([probe], model, splits)[0][probe.name]
    found = {f.metric: f for f in probe.conclude(evidence).findings if f.condition is None and f.group is None}
    test = judged(scored(evidence, "audited"))
    assert len(test) == 400
    rng = np.random.default_rng(0)
    simulated = float(np.mean([ce.ece(test["confidence"], rng.random(400) < test["confidence"]) for _ in range(DRAWS)]))
    chance = found["ece"].controls["a perfectly calibrated model"]
    gain, excess = found["temperature_gain"], found["ece_excess"].estimate
    assert gain.estimate is not None
    assert excess is not None
    return {
        "ece": str(found["ece"].estimate),
        "ece of a perfectly calibrated model, printed": str(chance),
        f"the same, {DRAWS} simulations": round(simulated, 5),
        "the two agree": abs(chance.value - simulated) <= TOLERANCE,
        "ece beyond chance": str(excess),
        "miscalibrated": excess.low > 0,
        "nll won by the temperature": str(gain.estimate),
        "apart": gain.estimate.low > 0,
        "temperature": gain.note,
        "ece after": str(gain.controls["calibration error after"]),
    }


def run() -> dict[str, Any]:
    beds = {"network": measured(network), "naive Bayes": measured(naive_bayes)}
    golden = ce.ece([0.95, 0.85, 0.65, 0.55], [1, 1, 0, 1])
    agree = abs(golden - 0.325) < 1e-12 and all(b["the two agree"] for b in beds.values())
    to_correct = [b for b in beds.values() if b["miscalibrated"]]
    corrected = all(b["apart"] for b in to_correct)
    return {
        "row": "M31",
        "claim": "The printed null ECE is that of redrawn labels; where ECE is beyond it, one temperature fitted on "
        "held-out data lowers NLL",
        "source": "Guo et al. 2017, eq. 3 and temperature scaling",
        "measured": {"golden value": golden, **beds},
        "verdict": "does not hold here" if not (agree and corrected) else "holds" if to_correct else "undecided",
        "command": "python reproductions/m31.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
