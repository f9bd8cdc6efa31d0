"""Audits killed (SIGKILL) at random moments and asked again: the same findings, and how much is redone?

Each round starts an audit of the shipped model in a process of its own, kills it at a random moment, and starts it
again until it has been killed as often as asked. Counted: shards that were complete before a kill and observed again
after it (must be none), and files that kills left half-written (they are swept away, never read).

    python benchmarks/kills.py [--kills 30]
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from muroan import audit
from muroan.auditing.store import Run

PROBES = ["controllability.fairness", "monitoring.calibration", "robustness.missing_modality", "robustness.decoupling"]
LIMIT, SHARD = 600, 40
CODE = (
    "from muroan import audit; print('up', flush=True); "
    "audit('easy-vqa', 'easy-vqa', probes={probes!r}, out={out!r}, limit={limit}, shard={shard}, show_progress=False)"
)


def essence(out: Path) -> str:
    """The findings without times, costs and places."""
    document = json.loads((out / "findings.json").read_text())
    for key in ("created", "command", "plan"):
        document.pop(key)
    for probe in document["probes"]:
        probe.pop("cost")
    return json.dumps(document, sort_keys=True)


def shards(out: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in out.glob("evidence/*/*.parquet")}


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        start = time.perf_counter()
        audit("easy-vqa", "easy-vqa", probes=PROBES, out=whole, limit=LIMIT, shard=SHARD, show_progress=False)
        seconds = time.perf_counter() - start
        total = len(shards(whole))
        kills = same = rounds = redone = lost = 0
        while kills < options.kills:
            out = Path(folder) / f"round-{rounds}"
            rounds += 1
            here = 0
            while kills < options.kills and here < 6:
                before = shards(out)
                code = CODE.format(probes=PROBES, out=str(out), limit=LIMIT, shard=SHARD)
                process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(rng.uniform(0.0, seconds * 0.5))
                finished = process.poll() is not None
                process.send_signal(signal.SIGKILL)
                process.communicate()
                after = shards(out)
                redone += sum(after[p] != t for p, t in before.items())
                if finished:
                    break
                kills += 1
                here += 1
                lost += len(list(out.glob("evidence/*/.*.parquet.*"))) if (out / "evidence").is_dir() else 0
            before = shards(out)
            audit("easy-vqa", "easy-vqa", probes=PROBES, out=out, limit=LIMIT, shard=SHARD, show_progress=False)
            redone += sum(shards(out)[p] != t for p, t in before.items())
            same += essence(out) == essence(whole)
            assert Run(out).exists
        found = {
            "benchmark": "kills",
            "kills": kills,
            "audits": rounds,
            "audits_with_the_same_findings": same,
            "shards_an_audit": total,
            "finished_shards_observed_again": redone,
            "half_written_files_left_by_kills": lost,
            "at_most_lost_a_kill": "the clean pass and the probe of the one shard in work",
        }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
