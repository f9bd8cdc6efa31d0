"""HateProof's idea (WWW 2023): what do tricks that anybody can do by hand cost? In its spirit, not its list of nine.

The shipped easy-VQA model on 600 test questions: texts misspelt, in leetspeak, with emoji, spaces or black bars;
pictures blurred, noisy, brightened, in newsprint dots, spread, under a sticker or a grey bar; and both at once.
"""

from __future__ import annotations

import json
from typing import Any

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.evidence import clusters
from muroan.interventions.attacks.low_skill import TRICKS
from muroan.models.easy_vqa import easy_vqa_model
from muroan.robustness.adversarial.low_skill.probe import LowSkill

SAMPLES = 600


def run() -> dict[str, Any]:
    """Observe, conclude, and hold the result against the conditions."""
    probe = LowSkill(limit=SAMPLES)
    evidence, quarantined = observe_all([probe], easy_vqa_model(), Splits(easy_vqa().audited))
    found = probe.conclude(evidence[probe.name]).findings
    worst = next(f for f in found if f.metric == "worst_drop")
    assert worst.estimate is not None
    drops = {f.condition: f for f in found if f.metric == "drop"}
    accuracy = {f.condition: f for f in found if f.metric == "accuracy_drop"}
    rows = evidence[probe.name].of()
    changed = {c: rows.filter(rows["condition"] == c)["changed"].mean() for c in drops}
    one = rows.filter(rows["condition"] == "nothing")
    apart = [c for c, f in drops.items() if f.estimate is not None and f.estimate.low > 0 and not f.note]
    conditions = {
        "every trick is listed, alone and the pairs": len(drops) == len(TRICKS) + 3,
        "every drop has its interval": all(f.estimate is not None for f in drops.values()),
        "at least one judged is apart from 0": bool(apart),
        "one of texts, one of pictures and one of both are apart from 0": all(
            any(c.startswith(start) if start else " + " in c for c in apart if c) for start in ("question", "image", "")
        ),
        "nothing changed, nothing lost": bool((one["correct"] == one["clean_correct"]).all()),
        "no sample was lost": not quarantined,
    }
    return {
        "row": "R24",
        "claim": "Each low-skill perturbation's macro-F1 drop is listed with its interval, uni- and multimodal, and at "
        "least one is apart from 0.",
        "source": "HateProof, WWW 2023 (arXiv 2302.05703); in the spirit of its nine perturbations",
        "measured": {
            "worst, chosen among those judged": f"{worst.title}: {worst.estimate}",
            "macro-F1 lost": {
                str(c): f"{f.estimate}" + (" (may hide the answer, not judged)" if f.note else "")
                for c, f in drops.items()
            },
            "accuracy lost": {str(c): str(f.estimate) for c, f in accuracy.items()},
            "share of inputs changed": {str(c): round(float(v), 3) for c, v in changed.items()},  # type: ignore[arg-type]
            "questions on pictures": f"{len(one)} in {len(set(clusters(one) or []))}",
            "conditions": conditions,
            "paper's figure, not a target here": "up to 10 points of macro-F1 on detectors of hateful memes",
            "not measured": "whether people still read what came out; the paper's countermeasures",
        },
        "verdict": "holds" if all(conditions.values()) else "does not hold here",
        "command": "python reproductions/r24.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
