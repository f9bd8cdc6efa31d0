"""How many rows does a whole audit ask of the model, and how many that it asked before?

Every probe that applies to the shipped model observes the same samples, once with what was answered remembered and once
without, on the model taken apart and on the model asked as a whole. Counted by the meter: decisions, and codes.

    python benchmarks/asked.py [--limit 200] [--probe NAME]...
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import torch

from muroan import Splits, registry
from muroan.auditing.observe import clean_pass, observe, prepare, restricted, selection
from muroan.auditing.plan import why_not
from muroan.data.easy_vqa import easy_vqa
from muroan.meter import REMEMBERED, Meter, Metered
from muroan.model import Model
from muroan.models.easy_vqa.model import easy_vqa_model
from muroan.probe import Probe

SEARCHES = ("corruptions", "gradient", "mismatch", "universal", "worst_case")
"""Probes most of whose rows are pictures that were changed by a search, at random or with a donor: none comes twice."""


def counted(meter: Meter) -> dict[str, int]:
    """Decisions and codes that passed through the model, and those that were remembered; shadows are other models."""
    kinds = {"decisions": ("fuse", "predict"), "codes": ("encode image", "encode question")}
    sums = {k: sum(meter.counts.get(w, 0) for w in what) for k, what in kinds.items()}
    known = {k: sum(meter.counts.get(REMEMBERED + w, 0) for w in what) for k, what in kinds.items()}
    return sums | {f"{REMEMBERED}{k}": n for k, n in known.items()}


def asked(
    model: Model, data: Splits, probes: Sequence[Probe], limit: int, **options: bool
) -> dict[str, dict[str, float]]:
    """Probe -> what it asked of the samples of one shard, with what it prepared, and how long it took."""
    metered = Metered(model, data.audited.schema.modalities, **options)
    fitted = {p.name: prepare(p, metered, data.reference, 0) for p in probes}
    index = selection(data.audited, limit, 0, "audited")
    batch = data.audited.load(index).batch
    assert batch is not None
    metered.meter = Meter()
    start = time.process_time()
    pieces, _ = clean_pass(metered, batch, "audited", 0)
    out = {"the clean pass": counted(metered.meter) | {"seconds": round(time.process_time() - start, 3)}}
    for p in probes:
        wanted = selection(data.audited, min(limit, p.limit or limit), 0, "audited")
        start = time.process_time()
        found = observe(p, restricted(pieces, data.audited, index, set(wanted)), fitted[p.name])
        seconds = time.process_time() - start
        found.meter.merge(fitted[p.name].meter)
        out[p.name] = counted(found.meter) | {"seconds": round(seconds, 3)}
    return out


def compared(*request: object, apart: bool) -> dict[str, object]:
    """What is asked with and without memory, by probe and in all."""
    before = asked(*request, apart=apart, remember=False)  # type: ignore[arg-type]
    after = asked(*request, apart=apart)  # type: ignore[arg-type]

    def saved(kind: str, among: Sequence[str]) -> float:
        then, now = (sum(way[p][kind] for p in among) for way in (before, after))
        return round(1 - now / then, 3) if then else 0.0

    plain = [p for p in after if not p.endswith(SEARCHES)]
    return {
        "by probe": {p: {k: [before[p][k], after[p][k]] for k in ("decisions", "codes", "seconds")} for p in after},
        "decisions": [sum(way[p]["decisions"] for p in after) for way in (before, after)],
        "decisions saved": saved("decisions", list(after)),
        "decisions saved, without searches": saved("decisions", plain),
        "codes saved": saved("codes", list(after)),
        "seconds": [round(sum(way[p]["seconds"] for p in after), 2) for way in (before, after)],
    }


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--probe", action="append")
    options = parser.parse_args()
    model, data = easy_vqa_model(), easy_vqa()
    probes = [registry.probe(n)() for n in options.probe or registry.methods("probes")]
    probes = [p for p in probes if why_not(p, model, data) is None]
    request = model, data, probes, options.limit
    found = {
        "benchmark": "asked",
        "samples": options.limit,
        "threads": torch.get_num_threads(),
        "searches": SEARCHES,
        "without memory, then with": {
            "the model as a whole": compared(*request, apart=False),
            "taken apart": compared(*request, apart=True),
        },
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
