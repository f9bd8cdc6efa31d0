"""R11: model soups (Wortsman et al., ICML 2022): the mean of eight fine-tunings, of those that help, and the best one.

Handwritten digits from two places (`_two_digit_sources`), as for R10: a network that was pretrained on a little of both
is fine-tuned eight times on one of them, with rates, weight decays, augmentations and orders drawn by seed. The greedy
soup and the best single run are chosen on 120 members that none of the runs trains on. Five pools, both directions.
Controls: the plain recipe alone, the mean of as many runs as the greedy soup kept, drawn at random, and the best run
drawn back to the start until it is as near to it as the uniform soup: a mean of runs lies nearer to where all began.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _two_digit_sources import SOURCES, bed
from torch import Tensor

from muroan.estimate import paired_difference, proportion
from muroan.mitigation import load_state, state
from muroan.mitigations.fine_tuning import Bench, right
from muroan.mitigations.soups import GreedySoup, UniformSoup
from muroan.mitigations.weight_space import State, average, interpolate
from muroan.model import Model
from muroan.randomness import choose
from muroan.training import Trainer

SEEDS = (0, 1, 2, 3, 4)
RUNS = 8
RECIPE: dict[str, Any] = {"runs": RUNS, "epochs": 20, "batch": 32, "rate": 2e-3}
BEST, UNIFORM, GREEDY, PLAIN, RANDOM = "best single run", "uniform", "greedy", "plain recipe alone", "runs at random"
BACK = "best single run, drawn back"


class Kept(UniformSoup):
    """The uniform soup, which shows its ingredients."""

    def stir(self, bench: Bench, before: State, states: Any, scores: Any) -> Any:
        KEPT.append(list(states))
        return super().stir(bench, before, states, scores)


KEPT: list[list[State]] = []


def length(a: State, b: State) -> float:
    """How far one state is from another."""
    return float(torch.stack([(a[n] - b[n]).square().sum() for n in a]).sum().sqrt())


def pool(own: str, seed: int) -> tuple[dict[str, tuple[Tensor, Tensor]], Any, dict[str, Any]]:
    """Right or not (in distribution, under the shift) of every candidate; the world; what the greedy soup did."""
    world = bed(own, seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(folder=Path(folder))
        uniform = Kept(**RECIPE).apply(copy.deepcopy(world.start), world.splits, trainer, seed=seed)
        # The second soup takes the runs that are finished.
        greedy = GreedySoup(**RECIPE).apply(copy.deepcopy(world.start), world.splits, trainer, seed=seed)
    states, scores = KEPT.pop(), [r["accuracy"] for r in greedy.facts["runs"]]
    assert scores == [r["accuracy"] for r in uniform.facts["runs"]]
    some = choose([str(k) for k in range(RUNS)], len(greedy.facts["kept"]), "r11", seed)
    best = states[max(range(RUNS), key=lambda k: (scores[k], -k))]
    start = state(world.start.trainable())
    back = min(1.0, length(uniform.tensors, start) / length(best, start))
    candidates: dict[str, State] = {
        BEST: best,
        BACK: interpolate(start, best, back),
        UNIFORM: uniform.tensors,
        GREEDY: greedy.tensors,
        PLAIN: states[0],
        RANDOM: average([states[k] for k in some]),
    }
    candidates |= {f"run {k + 1}": s for k, s in enumerate(states)}
    model: Model = copy.deepcopy(world.start)
    found = {"start": (right(model, world.splits.audited), right(model, world.shifted))}
    for name, weights in candidates.items():
        load_state(model.trainable(), weights)
        found[name] = right(model, world.splits.audited), right(model, world.shifted)
    return (
        found,
        world,
        {"kept": greedy.facts["kept"], "course": greedy.facts["course"], "runs": scores, "back": round(back, 2)},
    )


def one_way(own: str) -> dict[str, Any]:
    """All pools of one direction, with a digit as the cluster."""
    parts: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    ids: tuple[list[str], list[str]] = ([], [])
    stirred = []
    for seed in SEEDS:
        found, world, facts = pool(own, seed)
        for name, both in found.items():
            parts[name].append(both)
        ids[0].extend(world.splits.audited.ids)
        ids[1].extend(world.shifted.ids)
        stirred.append(facts)
    seen = {n: [torch.cat([p[side] for p in ps]) for side in (0, 1)] for n, ps in parts.items()}
    sides = ("test", "shifted test")

    def over(a: str, b: str) -> dict[str, Any]:
        return {side: paired_difference(seen[a][k], seen[b][k], ids[k]) for k, side in enumerate(sides)}

    runs = [n for n in seen if n.startswith("run ")]
    mean = {
        side: round(sum(float(seen[n][k].double().mean()) for n in runs) / len(runs), 4) for k, side in enumerate(sides)
    }
    conditions = {
        "validation accuracy never falls as ingredients come in": all(
            all(b > a for a, b in pairwise(s["course"])) for s in stirred
        ),
        "and is at least the best single run's": all(s["course"][-1] >= max(s["runs"]) for s in stirred),
    }
    return {
        "accuracy": {
            n: {side: str(proportion(seen[n][k], ids[k])) for k, side in enumerate(sides)}
            for n in (BEST, UNIFORM, GREEDY, PLAIN, RANDOM, BACK, "start")
        }
        | {"mean over single runs": mean},
        "uniform minus best single": over(UNIFORM, BEST),
        "greedy minus best single": over(GREEDY, BEST),
        "greedy minus uniform": over(GREEDY, UNIFORM),
        "best single minus the plain recipe": over(BEST, PLAIN),
        "greedy minus as many runs at random": over(GREEDY, RANDOM),
        "uniform minus the best run drawn back": over(UNIFORM, BACK),
        "how far back it was drawn (share of its way), by pool": [s["back"] for s in stirred],
        "kept by the greedy soup, by pool": [len(s["kept"]) for s in stirred],
        "validation accuracy (greedy; best single), by pool": [
            [round(s["course"][-1], 4), round(max(s["runs"]), 4)] for s in stirred
        ],
        "conditions": conditions,
    }


def verdicts(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    kept = all(all(f["conditions"].values()) for f in found.values())
    out = {"greedy never falls on validation and is at least the best": "holds" if kept else "does not hold here"}
    for name, way in found.items():
        for soup in (UNIFORM, GREEDY):
            for side, d in way[f"{soup} minus best single"].items():
                said = "holds" if d.low > 0 else "does not hold here" if d.high < 0 else "undecided"
                out[f"{soup} above the best single run, {name}, {side}"] = f"{said}: {d}"
    return out


def run() -> dict[str, Any]:
    """Both directions."""
    found = {f"fine-tuned on {own}": one_way(own) for own in SOURCES}
    return {
        "row": "R11",
        "claim": "The greedy soup's validation accuracy never falls as ingredients are added and is at least the best "
        "single run's; uniform and greedy soups are above the best single run on the test and on a shifted test.",
        "source": "Wortsman et al., ICML 2022 (arXiv 2203.05482)",
        "measured": {
            **found,
            "pools": len(SEEDS),
            "runs in a pool": RUNS,
            "what varies between runs": "order, rate (log-uniform, a factor of 3 either way), weight decay up to .1, "
            "share of pixels erased up to .2",
        },
        "verdict": verdicts(found),
        "command": "python reproductions/r11.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, default=str))
