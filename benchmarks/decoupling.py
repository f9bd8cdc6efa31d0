"""The decoupling attack through encode and fuse, against the same search through whole-model calls. Writes JSON.

    python benchmarks/decoupling.py [--samples 400] [--repeats 3]

Same model (the shipped one), same samples, same search, one thread, in one process, in turns; CPU seconds of the
search alone, the clean pass and the loading of data left out. Two beds: questions drawn at random, mostly one a
picture, as an audit with a limit has them; and all questions about as few pictures, which share regions.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.data.easy_vqa import easy_vqa
from muroan.interventions.attacks.decoupling import Decoupling
from muroan.interventions.attacks.removal import Removal
from muroan.interventions.attacks.subsets import Found
from muroan.meter import Meter, Metered
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import choose

SHARES = {"image": 0.5, "question": 0.5}


def search(clean: Clean) -> Found:
    removal, attack = Removal(clean), Decoupling(share=0.05)
    return attack.find(removal, attack.parts(removal, clean.correct, tuple(SHARES)), SHARES)


def measure(batch: Batch, repeats: int) -> dict[str, object]:
    model, modalities = easy_vqa_model(), batch.modalities
    ways = {"through fuse": True, "whole-model calls": False}
    cleans = {name: Clean.observe(Metered(model, modalities, apart=apart), batch) for name, apart in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    inside: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Found] = {}
    for turn in range(repeats + 1):  # the first, a warm-up, is not counted
        for name, clean in cleans.items():
            clean.model.meter = Meter()
            start = time.process_time()
            found[name] = search(clean)
            if turn:
                seconds[name].append(round(time.process_time() - start, 3))
                inside[name].append(round(clean.model.meter.seconds, 3))
    a, b = found.values()
    same = all(getattr(a, f).equal(getattr(b, f)) for f in ("success", "probes", "tries", "calls"))
    same &= all(x.equal(b.boxes[m]) for m, x in a.boxes.items())
    least = {name: min(s) for name, s in seconds.items()}
    return {
        "samples attacked": int(cleans["through fuse"].correct.sum()),
        "pictures": len(set(batch.clusters or batch.ids)),
        "removals asked about": int(a.calls.sum()),
        "decisions changed": int(a.success.sum()),
        "CPU seconds": seconds,
        "seconds inside the model": inside,
        "rows through the model": {name: c.model.meter.counts for name, c in cleans.items()},
        "times faster": round(least["whole-model calls"] / least["through fuse"], 2),
        "same results": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = easy_vqa().audited
    beds = {
        "questions drawn at random": choose(data.ids, asked.samples, "benchmark decoupling"),
        "all questions about few pictures": list(range(asked.samples)),
    }
    results: dict[str, object] = {}
    for name, picks in beds.items():
        batch = data.load(picks).batch
        assert batch is not None
        results[name] = measure(batch, asked.repeats)
    print(json.dumps({"benchmark": "decoupling", "torch": torch.__version__, **results}, indent=2))


if __name__ == "__main__":
    main()
