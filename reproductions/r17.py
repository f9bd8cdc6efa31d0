"""AttackVLM (Zhao et al., NeurIPS 2023): pictures made to look like a target to a surrogate, seen by a second encoder.

Surrogate and judge are towers of different architecture and seed, both directions, three pairs of trainings. Targets
are pictures of other emoji. The query stage's estimate is measured where the true gradient is known, on surrogates.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from _emoji_towers import OTHER, SEEDS, pairs, tower

from muroan.budget import Budget
from muroan.estimate import mean, paired_difference, proportion
from muroan.interventions.attacks.attack_vlm import AttackVLM, random_gradient
from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Metered
from muroan.randomness import sample_keys

PAIRS, DRAWS = 150, 100
EPS = 8 / 255
ROUNDS = 8


def towards(architecture: Any, seed: int, judge_seed: int) -> dict[str, Any]:
    """Cosine with the target's code before, after, and after random noise of equal size, on surrogate and judge."""
    batch = pairs(PAIRS)
    pictures = batch.inputs["image"]
    wanted = {i: pictures[(k + 1) % PAIRS] for k, i in enumerate(batch.ids)}
    targets = torch.stack([wanted[i] for i in batch.ids])
    surrogate, judge = tower(architecture, seed), tower(OTHER[architecture], judge_seed)  # type: ignore[index]
    metered = Metered(judge, batch.modalities)
    budgets = {"image": Budget(radius=EPS)}
    attack = AttackVLM(target=wanted, surrogates=(surrogate,))
    done = attack.run(metered, batch, budgets)
    noise = batch.modalities["image"].random_change(pictures, float("inf"), EPS, sample_keys(batch.ids, "r17", seed))
    out: dict[str, Any] = {"clusters": list(batch.clusters or ())}
    for name, model in (("surrogate", surrogate), ("judge", judge)):
        with torch.no_grad():
            wanted_codes = model.encode("image", targets)
            for what, x in (("clean", pictures), ("attacked", done.batch.inputs["image"]), ("random", noise)):
                out[f"{name}, {what}"] = (model.encode("image", x) * wanted_codes).sum(dim=1).double().numpy()
    right = (metered.of(batch).argmax(dim=1) == 1).numpy()
    out["lost"] = done.success.numpy()[right]
    asked = Metered(judge, batch.modalities)
    queried = AttackVLM(target=wanted, surrogates=(surrogate,), rounds=ROUNDS).run(asked, batch, budgets)
    out["lost, queried"] = queried.success.numpy()[right]
    out["queries"] = queried.trace["queries"].double().numpy()[right]
    out["right"] = [c for c, r in zip(batch.clusters or (), right, strict=True) if r]
    # Decisions counted by the meter: labels twice, codes of the clean batch, the result, and the queries but the first.
    counted = asked.meter.counts["fuse"] - asked_without(judge, batch, attack, budgets)
    out["counted"] = counted == PAIRS + int((queried.trace["queries"] - (queried.trace["queries"] > 0).long()).sum())
    return out


def asked_without(judge: Any, batch: Any, attack: AttackVLM, budgets: Any) -> int:
    """Decisions that the attack without queries asks for."""
    metered = Metered(judge, batch.modalities)
    attack.run(metered, batch, budgets)
    return metered.meter.counts["fuse"]


def gradient_cosine(architecture: Any, seed: int) -> np.ndarray[Any, Any]:
    """Cosine of the estimate (20 directions, sigma 8/255) with the true gradient, 100 draws on one picture."""
    model, batch = tower(architecture, seed), pairs(1)
    labels = model.predict(batch.inputs).argmax(dim=1)
    text = model.encode("text", batch.inputs["text"]).detach()

    def f(values: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        codes = {"image": model.encode("image", values), "text": text.expand(len(values), -1)}
        return loss_of(model.decide(model.fuse(codes)), labels.expand(len(values)))

    x = batch.inputs["image"].clone().requires_grad_(True)
    here = f(x, torch.zeros(1).long())
    (true,) = torch.autograd.grad(here.sum(), [x])
    keys = sample_keys([str(k) for k in range(DRAWS)], "r17 gradient", seed)
    with torch.no_grad():
        found = random_gradient(
            f, x.detach().expand(DRAWS, -1, -1, -1), here.detach().expand(DRAWS), keys, directions=20, sigma=EPS
        )
    flat = true.flatten(1).expand(DRAWS, -1)
    cosine: np.ndarray[Any, Any] = torch.nn.functional.cosine_similarity(found.flatten(1), flat).double().numpy()
    return cosine


def run() -> dict[str, Any]:
    """Six ordered pairs of towers; the estimate on each surrogate."""
    runs, cosines = {}, {}
    for architecture in ("conv", "patch"):
        for k, seed in enumerate(SEEDS):
            other = SEEDS[(k + 1) % len(SEEDS)]
            runs[f"{architecture}, seed {seed} -> {OTHER[architecture]}, seed {other}"] = towards(  # type: ignore[index]
                architecture, seed, other
            )
            cosines[f"{architecture}, seed {seed}"] = mean(gradient_cosine(architecture, seed))
    by = [c for r in runs.values() for c in r["clusters"]]
    right = [c for r in runs.values() for c in r["right"]]

    def gain(where: str, first: str, second: str) -> Any:
        return mean(np.concatenate([r[f"{where}, {first}"] - r[f"{where}, {second}"] for r in runs.values()]), by)

    over_random = gain("judge", "attacked", "random")
    lost = {k: np.concatenate([r[k] for r in runs.values()]) for k in ("lost", "lost, queried")}
    conditions = {
        "the cosine rises on the second encoder": gain("judge", "attacked", "clean").low > 0,
        "apart from random noise of equal size": over_random.low > 0,
        "the estimate has a positive cosine with the true gradient, on every surrogate": all(
            c.low > 0 for c in cosines.values()
        ),
        "every query is counted": all(r["counted"] for r in runs.values()),
    }
    return {
        "row": "R17",
        "claim": "The cosine with the target's code rises on a second encoder, apart from noise of equal size; the "
        "random gradient-free estimate has a positive cosine with the true gradient; every query is counted.",
        "source": "Zhao et al., NeurIPS 2023",
        "measured": {
            "cosine gained on the surrogate": str(gain("surrogate", "attacked", "clean")),
            "cosine gained on the second encoder": str(gain("judge", "attacked", "clean")),
            "the same over random noise": str(over_random),
            "by pair of models, over random noise": {
                n: round(float((r["judge, attacked"] - r["judge, random"]).mean()), 4) for n, r in runs.items()
            },
            "cosine of the estimate with the gradient, 20 directions": {n: str(c) for n, c in cosines.items()},
            "found pairs lost on the second encoder (asr.flip_of_correct)": str(proportion(lost["lost"], right)),
            "the same after the query stage": str(proportion(lost["lost, queried"], right)),
            "what queries add": str(paired_difference(lost["lost, queried"], lost["lost"], right)),
            "queries a pair": str(mean(np.concatenate([r["queries"] for r in runs.values()]), right)),
            "constants": f"radius 8/255, 100 steps of 1/255; {ROUNDS} rounds of 20 directions, sigma 8/255",
            "conditions": conditions,
            "what this shows": "what holds for two small towers; it is no evidence about large models",
        },
        "verdict": "holds" if all(conditions.values()) else "does not hold here",
        "command": "python reproductions/r17.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
