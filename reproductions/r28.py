"""TeCoA (Mao et al., ICLR 2023): an encoder tuned against attacks stays robust on classes that it was not tuned on.

The shipped emoji towers: the picture's encoder is tuned on four groups of emoji, and audited on pictures of the other
four, zero-shot, by APGD with more steps than in training. Which groups is drawn by the seed; three seeds.
"""

from __future__ import annotations

import json
from typing import Any

from _emoji_encoders import ATTACK, RADIUS, SEEDS, TRAINING, evaluated, halves, shown, tuned

from muroan.mitigations.tecoa import TeCoA
from muroan.robustness.adversarial.adaptive import Evaluated


def run() -> dict[str, Any]:
    """Three seeds, pooled."""
    parts, ids = [], []
    for seed in SEEDS:
        base, after, batch = tuned(TeCoA(**TRAINING), seed)
        parts.append(evaluated(base, after, batch))
        ids.append(batch.ids)
    all_ = Evaluated.pooled(parts, ids)
    gains = [p.gain("image") for p in parts]
    holds = all_.gain("image").low > 0
    verdict = "holds" if holds else "undecided" if all_.gain("image").high > 0 else "does not hold here"
    return {
        "row": "r28",
        "claim": "Robust zero-shot accuracy under APGD on classes not used in tuning is above the untuned model's.",
        "source": "Mao et al., ICLR 2023, arXiv 2212.07016",
        "measured": {
            "on unseen groups": shown(all_),
            "gain by seed": [str(g) for g in gains],
            "groups not tuned on, by seed": [halves(s)[1] for s in SEEDS],
            "attack": f"APGD, {ATTACK.steps} steps, radius {RADIUS * 255:g}/255; trained with PGD of "
            f"{TRAINING['steps']} steps",
        },
        "verdict": verdict,
        "command": "python reproductions/r28.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
