"""Peak memory of an audit of corruptions over the whole test split of easy-VQA, by how many corruptions there are.

Every figure is the largest resident set so far of a process of its own (getrusage), which audits the shipped model with
robustness.corruptions at all severities into a run directory: with libraries, data and model loaded; when all is
observed; and when it has concluded. While it observes, a shard's rows are kept, not its pictures, and are written when
the shard is done. Concluding reads all rows, one for each sample and condition, so there memory grows by rows; how much
a row takes is what one audit takes more than the other, over the rows that it has more.

    python benchmarks/memory.py [--limit N]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEGABYTE = 2**20
ONE, FIVE, ALL = "1", "5", "all"
ASKED = {ONE: ["gaussian_noise"], FIVE: ["gaussian_noise", "defocus_blur", "fog", "jpeg", "keyboard"], ALL: []}


def child(which: str, limit: int | None) -> dict[str, object]:
    """Audits in this process and says what it took."""
    import torch

    from muroan import Splits, registry
    from muroan.auditing.conclude import conclude
    from muroan.auditing.plan import prepare
    from muroan.auditing.run import observe_plan
    from muroan.data.easy_vqa import easy_vqa
    from muroan.models.easy_vqa.model import easy_vqa_model
    from muroan.robustness.distribution_shift.corruptions.probe import Corruptions

    torch.set_num_threads(1)
    registry.load()
    source, model = easy_vqa(), easy_vqa_model()
    splits = Splits(source.audited, source.reference, source.members)
    splits.audited.load(range(8))
    start = time.perf_counter()
    found: dict[str, object] = {"libraries_megabytes": peak()}
    probe = Corruptions(limit=limit, corruptions=tuple(ASKED[which]))
    with tempfile.TemporaryDirectory() as folder:
        run = observe_plan(prepare(model, splits, probes=[probe]), Path(folder) / "run", show_progress=False)
        found["observing_megabytes"] = peak()
        conclude(run, probes=[probe])
        found["peak_megabytes"] = peak()
        found["rows"] = len(run.evidence(probe.name))
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def peak() -> float:
    """Megabytes of the largest resident set of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE, 1)


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=None, help="samples audited; all unless told")
    parser.add_argument("--child", default=None)
    options = parser.parse_args()
    if options.child:
        found = child(options.child, options.limit)
        print(json.dumps(found))
        return found
    rows: dict[str, dict[str, float]] = {}
    for which in ASKED:
        command = [sys.executable, __file__, "--child", which]
        command += [] if options.limit is None else ["--limit", str(options.limit)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[which] = json.loads(done.stdout.splitlines()[-1])
    more = max(1, rows[ALL]["rows"] - rows[ONE]["rows"])
    found = {
        "benchmark": "memory",
        "samples": options.limit or "all of the test split",
        "corruptions": rows,
        "from_1_to_all": {
            stage: {
                "megabytes": round(rows[ALL][stage] - rows[ONE][stage], 1),
                "bytes_a_row": round((rows[ALL][stage] - rows[ONE][stage]) * MEGABYTE / more, 1),
            }
            for stage in ("observing_megabytes", "peak_megabytes")
        },
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
