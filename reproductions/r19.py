"""M-Attack (Li et al. 2025): do random crops of picture and target help on a model that no surrogate is like?

Two surrogates, one of each architecture; held out is a third training of either architecture. Targets are pictures of
other emoji. 16/255, steps of 1/255, a third of the paper's steps, with crops of 0.5 to 0.9 of the area and without.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from _emoji_towers import SEEDS, pairs, tower

from muroan.budget import Budget
from muroan.estimate import mean
from muroan.interventions.attacks.m_attack import MAttack
from muroan.meter import Metered
from muroan.randomness import sample_keys

PAIRS, STEPS = 100, 100
EPS = 16 / 255


def crafted(k: int) -> dict[str, Any]:
    """Cosines with the target's code on held-out towers, by how the picture was made."""
    first, second, third = (SEEDS[(k + j) % len(SEEDS)] for j in range(3))
    batch = pairs(PAIRS)
    pictures = batch.inputs["image"]
    wanted = {i: pictures[(n + 1) % PAIRS] for n, i in enumerate(batch.ids)}
    targets = torch.stack([wanted[i] for i in batch.ids])
    surrogates = (tower("conv", first), tower("patch", second))
    made = {"clean": pictures}
    for name, crop in (("crops", (0.5, 0.9)), ("no crops", ())):
        attack = MAttack(steps=STEPS, target=wanted, surrogates=surrogates, crop=crop)
        judged = Metered(tower("conv", third), batch.modalities)
        made[name] = attack.run(judged, batch, {"image": Budget(radius=EPS)}).batch.inputs["image"]
    keys = sample_keys(batch.ids, "r19", k)
    made["random"] = batch.modalities["image"].random_change(pictures, float("inf"), EPS, keys)
    out: dict[str, Any] = {"clusters": list(batch.clusters or ())}
    judges = {"conv": tower("conv", third), "patch": tower("patch", third), "surrogates": surrogates}
    with torch.no_grad():
        for name, judge in judges.items():
            models = judge if isinstance(judge, tuple) else (judge,)
            for how, x in made.items():
                cosines = [(m.encode("image", x) * m.encode("image", targets)).sum(dim=1) for m in models]
                out[f"{name}, {how}"] = torch.stack(cosines).mean(dim=0).double().numpy()
    return out


def run() -> dict[str, Any]:
    """Three rotations of the trainings; the held-out model shares an architecture, but no seed, with a surrogate."""
    runs = [crafted(k) for k in range(len(SEEDS))]
    by = [c for r in runs for c in r["clusters"]]

    def over(judge: str, first: str, second: str) -> Any:
        return mean(np.concatenate([r[f"{judge}, {first}"] - r[f"{judge}, {second}"] for r in runs]), by)

    held_out = {j: over(j, "crops", "no crops") for j in ("conv", "patch")}
    conditions = {f"crops help on the held-out {j} towers, apart": e.low > 0 for j, e in held_out.items()}
    verdict = {
        f"held-out {j}": "holds" if e.low > 0 else "does not hold here" if e.high < 0 else "undecided"
        for j, e in held_out.items()
    }
    return {
        "row": "R19",
        "claim": "With two surrogates, a held-out third model's cosine with the target is higher with random crops of "
        "picture and target than without, apart, at equal radius and steps.",
        "source": "Li et al. 2025 (arXiv 2503.10635)",
        "measured": {
            "cosine gained on the held-out towers": {
                j: {how: str(over(j, how, "clean")) for how in ("crops", "no crops", "random")}
                for j in ("conv", "patch")
            },
            "cosine gained on the surrogates (white box)": {
                how: str(over("surrogates", how, "clean")) for how in ("crops", "no crops")
            },
            "crops minus no crops": {j: str(e) for j, e in held_out.items()},
            "by rotation": {
                j: [round(float((r[f"{j}, crops"] - r[f"{j}, no crops"]).mean()), 4) for r in runs] for j in held_out
            },
            "constants": f"radius 16/255, {STEPS} steps of 1/255 (paper: 300)",
            "conditions": conditions,
            "what this shows": "what holds for small towers on pictures of 32 by 32; nothing about large models",
        },
        "verdict": verdict,
        "command": "python reproductions/r19.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
