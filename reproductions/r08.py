"""RobustMixGen (Kim et al., Neurocomputing 2024), our reading of its offline version, against MixGen under shift.

T-tower: emoji on photographs whose kind goes along with the caption in training and in the clean test, and is another
in the shifted one (see `_emoji_on_grounds`); boxes are those of the pasting. Three seeds, equally long, settings as
published. MMI is the share of the clean recall at rank 1 that is lost, on average over the shift of the ground and five
rows of the perturbation table at severity 3. The authors' own figure, 17.11 %, is theirs and is not measured here.
"""

from __future__ import annotations

import json
from typing import Any

from _emoji_on_grounds import BACKGROUND, LENGTH, ROWS, impact, recall, told

from muroan.estimate import Estimate, paired_difference
from muroan.mitigations.mixgen import MixGen
from muroan.mitigations.robust_mixgen import RobustMixGen

SETS = {"all": (BACKGROUND, *ROWS), "ground alone": (BACKGROUND,), "perturbations alone": ROWS}


def judged(less: Estimate, clean: Estimate) -> str:
    """less: MMI minus MixGen's; clean: recall minus MixGen's."""
    if less.high >= 0:
        return "undecided: MMI is not apart from MixGen's" if less.low <= 0 else "does not hold here: MMI is higher"
    if clean.high < 0:
        return "does not hold here: MMI is lower, but so is the clean recall"
    return "holds"


def run() -> dict[str, Any]:
    """All three trainings of each seed."""
    arms = {
        "no mixing": told(MixGen(part=0.0, **LENGTH)),
        "mixgen": told(MixGen(**LENGTH)),
        "robust_mixgen": told(RobustMixGen(boxes="python:_emoji_on_grounds:boxes", **LENGTH)),
    }
    robust = arms["robust_mixgen"]
    by = robust.clusters
    differences = {
        other: {name: impact([robust, arms[other]], conditions) for name, conditions in SETS.items()}
        for other in ("mixgen", "no mixing")
    }
    clean = {o: paired_difference(robust.clean, arms[o].clean, by) for o in differences}
    shift = {o: paired_difference(robust.shifted[BACKGROUND], arms[o].shifted[BACKGROUND], by) for o in differences}
    return {
        "row": "R08",
        "claim": "Under shift RobustMixGen loses a smaller share of recall (MMI) than MixGen, at equal clean recall.",
        "source": "Kim et al., Neurocomputing 2024, doi 10.1016/j.neucom.2024.129167; our reading, offline version",
        "measured": {
            "R@1": {name: recall(arm) for name, arm in arms.items()},
            "MMI": {
                arm: {name: str(impact([told_], conditions)[0]) for name, conditions in SETS.items()}
                for arm, told_ in arms.items()
            },
            "MMI, robust_mixgen minus the other": {
                other: {name: str(e[2]) for name, e in found.items()} for other, found in differences.items()
            },
            "clean R@1, robust_mixgen minus the other": {o: str(e) for o, e in clean.items()},
            "R@1 on another ground, robust_mixgen minus the other": {o: str(e) for o, e in shift.items()},
            "training": {name: list(arm.notes) for name, arm in arms.items()},
        },
        "verdict": {
            f"MMI over {name}": judged(found[2], clean["mixgen"]) for name, found in differences["mixgen"].items()
        },
        "command": "python reproductions/r08.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
