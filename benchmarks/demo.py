"""`make demo` from a fresh clone: seconds of set-up, seconds of the run, peak memory of the run.

python benchmarks/demo.py
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "muroan"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        start = time.perf_counter()
        subprocess.run(["make", ".venv/.core"], cwd=clone, env=environment, check=True, capture_output=True)
        setup = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=clone, env=environment, check=True, capture_output=True)
        run = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        out = clone / "demo-run"
        document = json.loads((out / "findings.json").read_text())
        found = {
            "benchmark": "demo",
            "setup_seconds": round(setup, 1),
            "run_seconds": round(run, 1),
            "peak_memory_mib_largest_process": round(peak),
            "report_kb": round((out / "report.html").stat().st_size / 1000),
            "samples": {p["name"]: p["samples"] for p in document["probes"]},
            "seconds_by_probe": {p["name"]: round(p["cost"]["seconds"], 2) for p in document["probes"]},
            "verdicts": document["summary"]["verdicts"],
        }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
