"""Runs the benchmarks, each in a process of its own, and keeps what they print in benchmarks/results.json.

python benchmarks/run.py [NAME ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main() -> int:
    names = sys.argv[1:] or sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("run", "__init__"))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    for name in names:
        start = time.perf_counter()
        print(f"{name} ...", end=" ", flush=True)
        # As the command line sets it, for peers too: threads that spin for long let a busy machine decide who is fast.
        environment = {"GOMP_SPINCOUNT": "1000", **os.environ}
        command = [sys.executable, str(HERE / f"{name}.py")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        print(f"{time.perf_counter() - start:.0f} s", "" if done.returncode == 0 else "FAILED")
        if done.returncode:
            failed.append(name)
            print(done.stderr[-2000:])
            continue
        text = done.stdout
        results[name] = json.loads(text[text.index("\n{") + 1 if "\n{" in text else text.index("{") :])
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
