"""SGA (Lu et al., ICCV 2023): do sets of captions and scales make changes that another model falls for?

Made on towers of one architecture and seed, tried on towers of the other architecture and another seed, both
directions, three pairs of trainings. Held-out pairs that surrogate and target both find one way (R@1 among 25
distractors; the picture asks for its caption, and the other way round). Five captions of each emoji; 2/255, ten steps,
one word, the same for the attack with one caption and no scales.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from _emoji_towers import OTHER, SEEDS, pairs, tower

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.data.emoji import captions
from muroan.estimate import paired_difference, proportion
from muroan.interventions.attacks.controls import random_words
from muroan.interventions.attacks.sga import SGA
from muroan.interventions.attacks.transfer import transfer
from muroan.meter import Metered
from muroan.modality import Text
from muroan.randomness import sample_keys

CAPTIONS = 5
BUDGETS = {"image": Budget(radius=2 / 255), "text": Budget(words=1)}
WAYS = {"first": "picture to caption (TR R@1)", "second": "caption to picture (IR R@1)"}


def moved(architecture: Any, seed: int, target_seed: int) -> dict[str, Any]:
    """Success on surrogate and target, with and without sets, by way; only of pairs that both find."""
    batch = pairs()
    seen = [tower(a, s, way) for a, s in ((architecture, seed), (OTHER[architecture], target_seed)) for way in WAYS]  # type: ignore[arg-type]
    hits = torch.stack([Metered(m, batch.modalities).of(batch).argmax(dim=1) == 1 for m in seen])
    # Only these count in either way, so only these are attacked.
    batch = batch.take(((hits[0] & hits[2]) | (hits[1] & hits[3])).nonzero().flatten())
    further = dict(zip(batch.ids, captions(batch.ids, CAPTIONS), strict=True))
    surrogate = tower(architecture, seed)
    attacks = {"sets": SGA(captions=further), "one caption, no scales": SGA(scales=())}
    out: dict[str, Any] = {"calls": {}}
    for name, attack in attacks.items():
        for k, way in enumerate(WAYS):
            target = tower(OTHER[architecture], target_seed, way)  # type: ignore[arg-type]
            metered = Metered(target, batch.modalities)
            if k == 0:
                done = transfer(attack, surrogate, metered, batch, BUDGETS, seed=seed)
                out["calls"][name] = float(done.made.trace["calls"].double().mean())
            source = Metered(tower(architecture, seed, way), batch.modalities)  # type: ignore[arg-type]
            both = (source.of(batch).argmax(dim=1) == 1) & (metered.of(batch).argmax(dim=1) == 1)
            out.setdefault(way, {"clusters": [c for c, b in zip(batch.clusters or (), both, strict=True) if b]})
            out[way][name] = (metered.of(done.made.batch).argmax(dim=1) != 1)[both].numpy()
            out[way][f"{name}, on the surrogate"] = (source.of(done.made.batch).argmax(dim=1) != 1)[both].numpy()
            out[way]["random"] = (metered.of(_random(batch, seed)).argmax(dim=1) != 1)[both].numpy()
    return out


def _random(batch: Batch, seed: int) -> Batch:
    """One random change of equal size."""
    text = batch.modalities["text"]
    assert isinstance(text, Text)
    picture, words = (sample_keys(batch.ids, "r15", m, seed) for m in ("image", "text"))
    moved = batch.modalities["image"].random_change(batch.inputs["image"], float("inf"), 2 / 255, picture)
    return batch.with_inputs(image=moved, text=random_words(batch.inputs["text"], text, 1, words))


def run() -> dict[str, Any]:
    """Six ordered pairs of models, whose seeds and architectures differ."""
    runs = {}
    for architecture in ("conv", "patch"):
        for k, seed in enumerate(SEEDS):
            other = SEEDS[(k + 1) % len(SEEDS)]
            name = f"{architecture}, seed {seed} -> {OTHER[architecture]}, seed {other}"  # type: ignore[index]
            runs[name] = moved(architecture, seed, other)
    measured: dict[str, Any] = {}
    verdict: dict[str, str] = {}
    for way, said in WAYS.items():
        by = [c for r in runs.values() for c in r[way]["clusters"]]
        kinds = [k for k in next(iter(runs.values()))[way] if k != "clusters"]
        values = {k: np.concatenate([r[way][k] for r in runs.values()]) for k in kinds}
        difference = paired_difference(values["sets"], values["one caption, no scales"], by)
        over = paired_difference(values["sets"], values["random"], by)
        for what, e in (("sets above one caption and no scales", difference), ("sets above random", over)):
            undecided = f"undecided: the interval holds 0, more than {e.high:.2f} is excluded"
            verdict[f"{said}: {what}"] = "holds" if e.low > 0 else "does not hold here" if e.high < 0 else undecided
        measured[said] = {k: str(proportion(v, by)) for k, v in values.items()}
        measured[said] |= {
            "transfer, sets minus one caption and no scales": str(difference),
            "transfer, sets minus random": str(over),
            "by pair of models: sets, one caption": {
                name: [round(float(r[way][k].mean()), 3) for k in ("sets", "one caption, no scales")]
                for name, r in runs.items()
            },
        }
    return {
        "row": "R15",
        "claim": "Made on one model and tried on an independently trained other one, sets of captions and scales turn "
        "more pairs than one caption without scales at equal radius, steps and words, apart.",
        "source": "Lu et al., ICCV 2023 (arXiv 2307.14061)",
        "measured": {
            **measured,
            "codes a pair, forward and backward": {
                k: round(float(np.mean([r["calls"][k] for r in runs.values()])), 1)
                for k in ("sets", "one caption, no scales")
            },
            "success": "asr.flip_of_correct: of pairs that surrogate and target both find, at rank 1 of 26",
            "substitutes": "ten words that keep like company among the members' captions, or a slip of two letters",
            "what this shows": "what transfers between two small towers; it is no evidence about large ones",
        },
        "verdict": verdict,
        "command": "python reproductions/r15.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
