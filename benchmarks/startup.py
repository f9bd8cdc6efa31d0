"""How fast the command line answers: processor seconds and wall seconds of `muroan --help`, median of several runs.

python benchmarks/startup.py [--repeats 11]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    command = [sys.executable, "-c", "from muroan.cli import main; main()", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    cpu, wall = [], []
    for _ in range(options.repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - start)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    found = {
        "benchmark": "startup",
        "repeats": options.repeats,
        "cpu_seconds": {"median": statistics.median(cpu), "min": min(cpu), "max": max(cpu)},
        "wall_seconds": {"median": statistics.median(wall), "min": min(wall), "max": max(wall)},
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
